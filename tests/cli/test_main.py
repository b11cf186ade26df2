"""The front door: quick, and one sentence for every mistake."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from undiffuse import __version__
from undiffuse.cli import COMMANDS, main
from undiffuse.config.schema import TrainConfig

Command = Callable[..., Any]
"""The fixture `undiffuse`: words to what came of them."""

LIGHT = (
    "import sys; from undiffuse.cli import main; main({argv!r}); print('torch' in sys.modules, 'numpy' in sys.modules)"
)


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["--version"], ["train", "--help"], ["sample", "--help"], ["edit", "inpaint", "--help"], ["recipes"]],
)
def test_neither_help_nor_recipes_import_torch(argv: list[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-c", LIGHT.format(argv=argv)], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.splitlines()[-1].split()[0] == "False"
    if argv != ["recipes"]:
        assert said.stdout.splitlines()[-1] == "False False"


def test_python_m_undiffuse_is_the_command() -> None:
    said = subprocess.run([sys.executable, "-m", "undiffuse", "--version"], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (0, f"undiffuse {__version__}\n")


def test_help_names_every_command(undiffuse: Command) -> None:
    for argv in ([], ["--help"], ["-h"], ["help"]):
        said = undiffuse(*argv)
        assert said.status == 0
        assert all(name in said.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(undiffuse: Command, command: str) -> None:
    said = undiffuse(*command.split(), "--help")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(f"usage: undiffuse {command}")


def test_every_setting_of_a_training_is_an_option_with_help(undiffuse: Command) -> None:
    from undiffuse.config.flags import FLAGS
    from undiffuse.config.sections import sections

    said = undiffuse("train", "--help").out
    for name, section in sections(TrainConfig).items():
        if section != "distillation" and name not in ("source", "start_sha256"):
            assert f"{FLAGS.get(name, '--' + name.replace('_', '-'))} " in said.replace("\n", " ").replace(",", " "), (
                name
            )
    assert "Learning rate after the warm-up." in said


MISTAKES = [
    ("trian digits", "There is no command 'trian'; perhaps you meant 'train'"),
    ("animate", "undiffuse animate needs one of forward, reverse, brownian"),
    ("animate revers x", "perhaps you meant 'reverse'"),
    ("--vresion", "There is no command '--vresion'"),
    ("train digits --lrr 3", "undiffuse train has no option '--lrr'; perhaps you meant '--lr'"),
    ("train digits --lrr=3", "has no option '--lrr'; perhaps you meant '--lr'"),
    ("train --lrr", "has no option '--lrr'"),
    ("train digits --l 3", "has no option '--l'"),
    ("train digits -q", "has no option '-q'; see undiffuse train --help"),
    ("train", "This needs DATA"),
    ("train digits more", "There is no place for 'more'"),
    ("train digits --lr", "--lr needs a value after it"),
    ("train digits --lr fast", "--lr cannot be 'fast'; it takes a number"),
    ("train digits --lr nan", "--lr cannot be 'nan'"),
    ("train digits --batch 3.5", "--batch cannot be '3.5'; it takes a whole number"),
    ("train digits --multipliers 1,two", "--multipliers cannot be '1,two'; it takes whole numbers with commas between"),
    ("train digits --size 1,2,3", "--size cannot be '1,2,3'; it takes a whole number or 2 whole numbers or 'none'"),
    ("train digits --schedule linera", "--schedule cannot be 'linera'; perhaps you meant 'linear'"),
    ("train digits --flip=yes", "--flip takes no value, so not 'yes'"),
    ("train digits --recipe digist", "There is no recipe 'digist'; perhaps you meant 'digits'"),
    ("train digits --steps 0", "steps"),
    ("train nowhere/at/all", "nowhere/at/all"),
    ("train --resume nowhere", "there is no run runs/nowhere to resume"),
    ("train --resume a/b --name c", "name a run each"),
    ("sample", "This needs RUN"),
    ("sample nowhere", "nowhere is not there"),
    ("sample nowhere -n 0", "-n cannot be '0'; it takes a whole number from 1 on"),
    ("sample nowhere --seed -1", "--seed cannot be '-1'"),
    ("sample --from nowhere.png", "Cannot read nowhere.png"),
    ("sample nowhere --device gpu", "there is no device 'gpu'"),
    ("sample digits --steps 5000", "and --steps asks for 5000: use at most 1000, or --spacing log-snr"),
    ("info nowhere", "nowhere is not there"),
    ("info", "This needs FILE_OR_RUN"),
    ("data", "This needs DATA"),
    ("data nowhere", "nowhere"),
    ("report nowhere", "nowhere is not there"),
    ("animate forward nowhere", "nowhere"),
    ("animate brownian --out a.avi", "is a .webp, .gif or .mp4 file, not 'a.avi'"),
    ("animate brownian --theta -1", "Ink in water needs"),
    ("animate brownian --frames 1", "--frames cannot be '1'; it takes a whole number from 2 on"),
    ("animate brownian --fps 99", "1 to 50 frames per second, not 99"),
]


@pytest.mark.parametrize(("line", "sentence"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_mistake_is_one_sentence_and_status_two(
    undiffuse: Command, line: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = undiffuse(*line.split())
    assert said.status == 2
    assert sentence in said.err
    assert said.err.startswith("undiffuse: ")
    assert said.err.count("\n") == 1, said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("default")
def test_a_warning_names_options(undiffuse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("undiffuse.cli.doctor.facts", lambda: warnings.warn("lower `guidance`", stacklevel=1) or {})
    assert undiffuse("doctor").err == "undiffuse: lower --guidance\n"


def test_ctrl_c_is_130_without_a_traceback(undiffuse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("undiffuse.cli.doctor.facts", interrupted)
    said = undiffuse("doctor")
    assert said.status == 130
    assert said.err == "\nundiffuse: stopped\n"


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("undiffuse.cli.doctor.facts", broken)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    code = "import sys; from undiffuse.cli import main; sys.exit(main(['train', '--help']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_a_warning_is_one_line(undiffuse: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def warned() -> list[tuple[str, str]]:
        warnings.simplefilter("always")
        warnings.warn("an earlier checkpoint is used", stacklevel=2)
        return []

    monkeypatch.setattr("undiffuse.cli.doctor.facts", warned)
    assert undiffuse("doctor").err == "undiffuse: an earlier checkpoint is used\n"
