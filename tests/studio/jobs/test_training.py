"""Data come in checked, and trainings are ordinary processes that need nobody to watch them."""

from __future__ import annotations

import io
import json
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from undiffuse.config.files import to_yaml
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import quoted
from undiffuse.studio.jobs import processes
from undiffuse.studio.jobs.training import Started, Trainings, complaint
from undiffuse.studio.library.uploads import run_name_of
from undiffuse.studio.limits import Limits

TINY = {"base": 8, "multipliers": [1], "blocks": 1, "attention_levels": [], "middle_attention": False, "batch": 4}
TINY |= {"log_every": 1, "sample_every": 0, "timesteps": 20, "ema": [0.9], "checkpoint_every": 0, "device": None}


def png(seed: int, side: int = 8) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    packed = io.BytesIO()
    Image.fromarray(values).save(packed, "PNG")
    return packed.getvalue()


def read_events(text: str) -> list[tuple[str, Any]]:
    """Kind and data of server-sent events."""
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def upload(
    page: Any, files: list[tuple[str, bytes]], status: int = 201, field: str = "files", name: str = "mine"
) -> Any:
    sent = [(field, (path, content, "application/octet-stream")) for path, content in files]
    answer = page.client.post("/v1/data", data={"request": json.dumps({"name": name})}, files=sent)
    assert answer.status_code == status, answer.text
    return answer.json()


def zipped(entries: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return packed.getvalue()


# --- data -------------------------------------------------------------------------------------------------------------


def test_uploaded_folders_become_classes_and_bad_files_are_named(shared: Any) -> None:
    files = [(f"photos/{'cat' if k % 2 else 'dog'}/{k}.png", png(k)) for k in range(24)]
    data = upload(shared, [*files, ("photos/cat/broken.png", b"\x89PNG\r\n\x1a\nbroken")])
    found = shared.get(f"/v1/data/{data['id']}")
    assert found["error"] is None
    assert found["info"]["classes"] == ["cat", "dog"]
    assert (found["info"]["count"], found["info"]["refused"]) == (24, 1)
    assert "broken" in found["refusals"][0][0]
    assert found["report"][0] == "mine: 24 images"
    assert found["info"]["name"] == "mine"
    assert str(shared.studio.uploads.folder) not in json.dumps(found)
    with Image.open(io.BytesIO(shared.get(f"/v1/data/{data['id']}/sheet.png"))) as sheet:
        assert sheet.width > 100
    assert data["id"] in [one["id"] for one in shared.get("/v1/data")["data"]]


def test_an_archive_is_a_data_set(shared: Any) -> None:
    archive = zipped({f"x/{k}.png": png(k) for k in range(5)} | {"../../evil.png": png(9)})
    data = upload(shared, [("photos.zip", archive)], field="archive")
    found = shared.get(f"/v1/data/{data['id']}")
    assert found["info"]["count"] == 5  # the sixth is not among them
    assert not list(shared.studio.uploads.folder.parent.rglob("evil*"))


def test_pictures_of_several_sizes_need_one(shared: Any) -> None:
    data = upload(shared, [("a.png", png(1, 8)), ("b.png", png(2, 12))])
    found = shared.get(f"/v1/data/{data['id']}")
    assert found["info"] is None
    assert found["error"]
    assert str(shared.studio.uploads.folder) not in found["error"]
    assert shared.get(f"/v1/data/{data['id']}?size=8")["info"]["shape"] == [1, 8, 8]
    shared.get(f"/v1/data/{data['id']}/sheet.png", 422)


@pytest.mark.parametrize(
    "name",
    ["../../../evil.png", "/etc/evil.png", "..\\..\\evil.png", "a/../../evil.png", ".hidden/evil.png", "~/evil.png"],
)
def test_names_of_files_lead_nowhere(shared: Any, name: str) -> None:
    data = upload(shared, [(name, png(1)), (name, png(2))])
    place = shared.studio.uploads.folder / data["id"] / "data"
    files = [path for path in place.rglob("*") if path.is_file()]
    assert len(files) == 2  # both of one name
    assert all(path.resolve().is_relative_to(place.resolve()) for path in files)


def test_an_upload_has_the_name_of_what_was_sent(page: Any) -> None:
    """In the list, for the training, and for the run that it starts."""
    loose = [(f"{k}.png", png(k)) for k in (1, 2, 3)]
    folder = [(f"Café ☕/{'ab'[k % 2]}/{k}.png", png(k)) for k in range(4)]
    wanted = {
        "holiday photos": ("archive", [("holiday photos.zip", zipped({f"{k}.png": png(k) for k in range(3)}))]),
        "noise.v2": ("archive", [("noise.v2.tar.gz", b"\x1f\x8b")]),
        "Café ☕": ("files", folder),
        "1 and 2 more": ("files", loose),
        "one": ("files", [("one.png", png(1))]),
        "mine": ("files", loose),
        "x" * 100: ("archive", [("x" * 240 + ".npz", b"")]),
        "a_b_c": ("files", loose),
    }
    given = {"mine": "mine", "a_b_c": "a/b\\c"}
    for name, (field, files) in wanted.items():
        data = upload(page, files, field=field, name=given.get(name, ""))
        assert data["name"] == name
        source = Path(page.studio.uploads.source(data["id"]))
        assert source.exists()
        assert source.name.startswith(name)
        assert source.is_relative_to(page.studio.uploads.folder / data["id"] / "data")
    found = page.get(f"/v1/data/{upload(page, folder, name='')['id']}")
    assert (found["info"]["name"], found["info"]["classes"]) == ("Café ☕", ["a", "b"])


@pytest.mark.parametrize(
    ("called", "run"),
    [
        ("Café ☕ 2", "Cafe-2"),
        ("digits", "digits"),
        ("../x y", "x-y"),
        ("猫", "run"),
        ("x" * 300, "x" * 60),
        ("..", "run"),
    ],
)
def test_a_run_is_called_as_its_data(called: str, run: str) -> None:
    assert run_name_of(called) == run


def test_a_training_sees_the_files_as_they_were_sent(shared: Any) -> None:
    """Their names and folders: metadata name files by them, splits are set aside, commas stay in classes."""
    labels = b"file_name,label\n" + b"".join(b"%d.png,%s\n" % (k, (b"cat", b"dog")[k % 2]) for k in range(6))
    described = [*((f"set/{k}.png", png(k)) for k in range(6)), ("set/metadata.csv", labels)]
    found = shared.get(f"/v1/data/{upload(shared, described)['id']}")
    assert (found["error"], found["info"]["classes"], found["info"]["refused"]) == (None, ["cat", "dog"], 0)
    split = [
        (f"set/{part}/{c}/{k}.png", png(k))
        for k in range(3)
        for c in ("cat, tabby", "dog")
        for part in ("train", "test")
    ]
    found = shared.get(f"/v1/data/{upload(shared, split)['id']}")
    assert (found["info"]["classes"], found["info"]["count"]) == (["cat, tabby", "dog"], 6)
    sent = [
        *((f"set/{c}/{k}.png", png(k)) for k in range(3) for c in ("the %22best%22", "日本")),
        ("set/.DS_Store", b"x"),
    ]
    found = shared.get(f"/v1/data/{upload(shared, sent)['id']}")
    assert (found["info"]["classes"], found["info"]["ignored"]) == (['the "best"', "日本"], 1)


def test_what_a_refusal_advises_can_be_done_here(shared: Any) -> None:
    """Every setting that prepares data can be asked for; what is not known of is refused, not left unheard."""
    wide = [(f"{k}.png", png(k, 8)) for k in range(3)] + [("x.heic", b"\0\0\0\x18ftypheic")]
    data = upload(shared, wide)["id"]
    refused = shared.get(f"/v1/data/{data}")["error"]
    assert "undiffuse data" not in refused
    assert refused.endswith("--skip-unreadable to go on without them")
    several = shared.get(f"/v1/data/{upload(shared, [*wide, ('y.png', png(9, 6))])['id']}")["error"]
    assert ("--skip-unreadable" in several, "--size" in several, "at once" in several) == (True, True, False)
    found = shared.get(f"/v1/data/{data}?skip_unreadable=true&size=4&crop=center&channels=rgb")
    assert (found["error"], found["info"]["shape"], found["info"]["refused"]) == (None, [3, 4, 4], 1)
    assert shared.get(f"/v1/data/{data}/sheet.png?skip_unreadable=true")[:4] == b"\x89PNG"
    for query in ("crop=middle", "pairs=x", "source=/etc", "nonsense=1", "stream=true", "channels=cmyk"):
        answer = shared.client.get(f"/v1/data/{data}?{query}")
        assert answer.status_code == 422 or answer.json()["error"], query


def test_names_are_bounded_and_cleaned_and_equal_ones_stay_apart(shared: Any) -> None:
    names = [
        "𝒜" * 300 + ".png",
        "x." + "y" * 300,
        "a\u202egnp.png",
        "a\nb.png",
        "same.png",
        "same.png",
        "same-2.png",
        "👩‍👩‍👧.png",
    ]
    data = upload(shared, [(name, png(k)) for k, name in enumerate(names)])
    place = Path(shared.studio.uploads.source(data["id"]))
    kept = {path.name: path.read_bytes() for path in place.iterdir()}
    assert len(kept) == len(names)
    assert {"a_gnp.png", "same.png", "👩‍👩‍👧.png"} < set(kept)
    assert all(len(name.encode()) <= 255 for name in kept)
    assert sorted(kept.values()) == sorted(png(k) for k in range(len(names)))
    assert shared.get(f"/v1/data/{data['id']}")["info"]["count"] == len(names)
    deep = upload(shared, [("/".join("x" * 40) + "/1.png", png(1))], 422)
    assert "deep" in deep["error"]


def test_uploads_of_before_and_damaged_ones_are_listed_or_not_but_never_in_the_way(page: Any) -> None:
    folder = page.studio.uploads.folder
    old = folder / ("0" * 16)
    (old / "data").mkdir(parents=True)
    for k in range(3):
        (old / "data" / f"{k}.png").write_bytes(png(k))
    (old / "about.json").write_text(json.dumps({"name": "old", "file": "", "bytes": 9, "files": 3}))
    (folder / ("1" * 16)).mkdir()
    (folder / ("1" * 16) / "about.json").write_text("{")
    assert [one["name"] for one in page.get("/v1/data")["data"]] == ["digits", "old"]
    assert page.get(f"/v1/data/{old.name}")["info"]["count"] == 3
    page.get(f"/v1/data/{'1' * 16}", 404)


def test_a_disk_that_is_full_is_said_in_a_sentence(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was about to be written: an upload, a picture that an edit begins from, a result."""
    import errno

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x.png")

    (item,) = page.draw(model="digits", n=1, settings={"steps": 1})
    monkeypatch.setattr("undiffuse.studio.library.gallery.write_file", full)
    form = {"request": json.dumps({"model": "digits"}), "image_id": item["id"]}
    answer = page.client.post("/v1/edits/vary", files={name: (None, text) for name, text in form.items()})
    assert answer.status_code == 507
    assert "No space left on device" in answer.json()["error"]
    monkeypatch.setattr("undiffuse.studio.library.gallery.write_png", full)
    told = page.events(page.post("/v1/samples", {"model": "digits", "n": 1, "settings": {"steps": 1}}))
    assert told[-1][0] == "error"
    assert "No space left on device" in told[-1][1]["error"]
    monkeypatch.setattr("undiffuse.studio.library.uploads.os.rename", full)
    assert "No space left on device" in upload(page, [("a.png", png(1))], 422)["error"]
    assert list(page.studio.uploads.folder.iterdir()) == []


def test_what_is_no_data_set_is_refused(shared: Any) -> None:
    assert "archive" in upload(shared, [("x.pkl", b"\x80\x04.")], 422, field="archive")["error"]
    assert shared.client.post("/v1/data", json={}).status_code == 415
    pickled = upload(shared, [("x.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}" + b" " * 60 + b"\n" + b"\x80\x04.")], field="archive")  # fmt: skip # noqa: E501
    assert shared.get(f"/v1/data/{pickled['id']}")["error"]


def test_uploads_have_limits(open_page: Any) -> None:
    page = open_page(limits=Limits(data_bytes=2000, json_bytes=3000, files=3))
    before = list(page.studio.uploads.folder.glob("*"))
    assert "at most" in upload(page, [("a.png", png(1) * 20)], 413)["error"]
    assert upload(page, [(f"{k}.png", b"x") for k in range(5)], 400)["error"]
    assert list(page.studio.uploads.folder.glob("*")) == before


def test_an_upload_is_forgotten_and_the_built_in_data_stay(shared: Any) -> None:
    data = upload(shared, [("a.png", png(1))])
    assert shared.client.delete(f"/v1/data/{data['id']}").status_code == 204
    shared.get(f"/v1/data/{data['id']}", 404)
    answer = shared.client.delete("/v1/data/digits")
    assert (answer.status_code, "stays" in answer.json()["error"]) == (409, True)


# --- trainings --------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"data": "digits"}, 422, "one of minutes and steps"),
    ({"data": "digits", "steps": 1, "minutes": 1}, 422, "one of minutes and steps"),
    ({"data": "nope", "steps": 1}, 404, "no such data"),
    ({"data": "digits", "steps": 1, "recipe": "smal"}, 422, "small"),
    ({"data": "digits", "steps": 1, "name": "../x"}, 422, "name"),
    ({"data": "digits", "steps": 1, "name": "a"}, 409, "already"),
    ({"data": "digits", "steps": 1, "overrides": {"lrr": 1}}, 422, "'lrr'"),
    ({"data": "digits", "steps": 1, "overrides": {"lr": "fast"}}, 422, "'lr'"),
    ({"data": "digits", "steps": 1, "overrides": {"start_from": "/etc/passwd"}}, 422, "command line"),
    ({"data": "digits", "steps": 1, "overrides": {"pairs": "/etc"}}, 422, "command line"),
    ({"data": "digits", "steps": 1, "overrides": {"source": "/etc"}}, 422, "place of its own"),
    ({"data": "digits", "steps": 1, "overrides": {"validation": "/etc"}}, 422, "place of its own"),
    ({"data": "digits", "steps": 1, "validation": "/etc"}, 422, "validation"),
    ({"data": "digits", "steps": 1, "validation": 0.7}, 422, "validation"),
    ({"data": "digits", "steps": 1, "overrides": {"pairs": "/etc"}}, 422, "command line"),
    ({"data": "digits", "steps": 1, "overrides": {"track": ["wandb"]}}, 422, "command line"),
    ({"data": "digits", "steps": 1, "overrides": {"device": "cuda:7"}}, 422, "command line"),
    ({"data": "digits", "steps": 1, "overrides": {"steps": 3}}, 422, "place of its own"),
]


@pytest.mark.parametrize(("body", "status", "words"), REFUSED)
def test_a_training_that_cannot_be_is_refused(shared: Any, body: dict[str, Any], status: int, words: str) -> None:
    assert words in shared.post("/v1/runs", body, status)["error"]
    assert [run["id"] for run in shared.get("/v1/runs")["runs"] if run["id"] not in ("a", "b")] == []


def test_finished_runs_that_were_made_elsewhere_are_shown(shared: Any) -> None:
    runs = {run["id"]: run for run in shared.get("/v1/runs")["runs"]}
    about = runs["a"]
    assert (about["state"], about["step"], about["total"], about["mine"], about["model"]) == ("done", 2, 2, False, "a")
    assert about["samples"] == [1, 2]
    assert shared.get("/v1/runs/a")["config"]["optimizer"]["lr"] == 1e-3
    found = shared.get("/v1/runs/a/metrics")
    assert [line["step"] for line in found["lines"]] == [1, 2]
    assert [line["step"] for line in found["samples"]] == [1, 2]
    assert [line["step"] for line in shared.get("/v1/runs/a/metrics?since=1")["lines"]] == [2]
    assert len(shared.get("/v1/runs/a/metrics?points=1")["lines"]) == 1
    assert shared.get("/v1/runs/a/samples/1.png").startswith(b"\x89PNG")
    shared.get("/v1/runs/a/samples/7.png", 404)
    told = shared.events({"events": "/v1/runs/a/events"})
    assert [kind for kind, _ in told] == ["state", "metric", "metric", "sample", "sample", "end"]
    assert "not started here" in shared.post("/v1/runs/a/stop", {}, 409)["error"]
    refused = shared.post("/v1/runs/a/resume", {}, 409)["error"]
    assert "is done" in refused
    assert f"undiffuse train --resume {quoted(shared.studio.trainings.runs / 'a')} --minutes 10" in refused
    shared.post("/v1/runs/nope/stop", {}, 404)


def test_why_a_training_ended_is_found_in_what_it_said() -> None:
    assert complaint(["undiffuse: no such data"]) == "no such data"
    assert complaint(["run: x", "undiffuse: stopped at step 3 of 9, saved"]) == ""
    assert complaint(["Traceback", "  File", "torch.OutOfMemoryError: no room"]) == "torch.OutOfMemoryError: no room"
    assert complaint(["run: x"]) == ""


def test_a_process_is_known_by_when_it_started(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = processes.start(words, tmp_path / "out.log", tmp_path)
    assert process.alive
    assert not processes.Process(process.pid, "another time").alive
    assert not processes.Process(process.pid, "").alive
    assert process.ask_to_stop()
    assert processes.wait_until_gone(process, 30)
    assert not process.ask_to_stop()


@pytest.fixture
def training(open_page: Any, tmp_path: Path) -> Iterator[tuple[Any, str]]:
    """A studio and a data set, with all that was started ended at the end."""
    page = open_page(runs=tmp_path / "runs")
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 256, (16, 8, 8)).astype(np.uint8))
    data = upload(page, [("noise.npy", (tmp_path / "noise.npy").read_bytes())], field="archive")
    yield page, data["id"]
    for note in (tmp_path / "runs" / ".studio").glob("*.json"):
        found = json.loads(note.read_text())
        process = processes.Process(found["pid"], found["started"])
        process.ask_to_stop()
        processes.wait_until_gone(process, 60)


def wait_for(page: Any, name: str, wanted: Callable[[Any], bool], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not wanted(about := page.get(f"/v1/runs/{name}")):
        assert time.monotonic() < end, about
        time.sleep(0.2)
    return about


@pytest.mark.slow
def test_a_training_is_paused_found_again_by_another_studio_and_goes_on(
    training: tuple[Any, str], open_page: Any, tmp_path: Path
) -> None:
    page, data = training
    body = {"data": data, "recipe": "small", "steps": 4000, "name": "mine", "overrides": {**TINY, "device": None}}
    run = page.post("/v1/runs", body)
    assert run["state"] in ("starting", "running")
    wait_for(page, "mine", lambda about: about["state"] == "running" and about["step"] > 5)
    assert "learns from these data" in page.client.delete(f"/v1/data/{data}").json()["error"]

    other = open_page(runs=tmp_path / "runs")  # the studio is started again, so to speak
    about = wait_for(other, "mine", lambda about: about["eta"] is not None)
    assert (about["state"], about["mine"], about["total"]) == ("running", True, 4000)
    assert other.post("/v1/runs/mine/pause", {})["state"] in ("stopping", "stopped")
    stopped = wait_for(other, "mine", lambda about: about["state"] == "stopped")
    assert stopped["error"] is None
    assert 0 < stopped["step"] < 4000
    assert "does not run" in other.post("/v1/runs/mine/stop", {}, 409)["error"]

    other.post("/v1/runs/mine/resume", {})
    wait_for(other, "mine", lambda about: about["step"] > stopped["step"])
    other.post("/v1/runs/mine/stop", {})
    wait_for(other, "mine", lambda about: about["state"] == "stopped")
    told = other.events({"events": "/v1/runs/mine/events?since=1"})
    assert told[-1] == ("end", {"state": "stopped"})
    steps = [data["line"]["step"] for kind, data in told if kind == "metric"]
    assert steps == sorted(set(steps))
    assert other.draw(model="mine", n=1, settings={"steps": 2})


@pytest.mark.slow
def test_what_is_held_out_is_told_of_a_training(training: tuple[Any, str]) -> None:
    page, data = training
    body = {"data": data, "recipe": "small", "steps": 4, "name": "held", "validation": 0.25}
    page.post("/v1/runs", body | {"overrides": {**TINY, "validate_every": 2}})
    wait_for(page, "held", lambda about: about["state"] == "done")
    assert page.get("/v1/runs/held")["config"]["data"]["validation"] == 0.25
    looks = page.get("/v1/runs/held/metrics")["validations"]
    assert [(line["step"], line["validation"]["count"]) for line in looks] == [(2, 4), (4, 4)]
    told = page.events({"events": "/v1/runs/held/events"})
    assert [data["line"] for kind, data in told if kind == "validation"] == looks
    assert page.get("/v1/runs/held/metrics?since=2")["validations"] == looks, "a step's look is written after its line"


@pytest.mark.slow
def test_a_training_that_fails_says_why(training: tuple[Any, str]) -> None:
    page, data = training
    body = {"data": data, "recipe": "ho2020-cifar10", "steps": 10, "name": "wrong"}
    page.post("/v1/runs", body)
    about = wait_for(page, "wrong", lambda about: about["state"] == "failed")
    assert "ho2020-cifar10" in about["error"]
    assert "no checkpoint" in page.post("/v1/runs/wrong/resume", {}, 409)["error"]


def test_a_damaged_run_takes_no_other_away(open_page: Any, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    page = open_page(runs=folder)
    (folder / "a" / "config.yaml").write_text("optimizer: [")
    assert [(run["name"], run["state"]) for run in page.get("/v1/runs")["runs"]] == [("a", "failed"), ("b", "done")]
    assert "config.yaml" in page.get("/v1/runs/a")["error"]
    with (folder / "b" / "metrics.jsonl").open("a") as file:
        file.write("nonsense\n")
    assert [run["state"] for run in page.get("/v1/runs")["runs"]] == ["failed", "failed"]
    assert "cannot be read" in page.get("/v1/runs/b/metrics", 422)["error"]
    assert read_events(page.client.get("/v1/runs/b/events").text)[-1] == ("end", {"state": "gone"})


def test_runs_of_any_name_are_seen(open_page: Any, runs: Path, tmp_path: Path) -> None:
    """The command line calls a run by its folder of pictures."""
    folder, name = tmp_path / "runs", "Café am Meer ☕"
    shutil.copytree(runs / "a", folder / name)
    shutil.copytree(runs / "a", folder / ".hidden")
    page = open_page(runs=folder)
    assert [run["name"] for run in page.get("/v1/runs")["runs"]] == [name]
    about = page.get(f"/v1/runs/{quote(name)}")
    assert page.draw(model=about["model"], n=1, settings={"steps": 2})
    told = read_events(page.client.get(f"/v1/runs/{quote(name)}/events").text)
    (url, *_) = [data["url"] for kind, data in told if kind == "sample"]
    assert page.get(url)[:4] == b"\x89PNG"


def test_a_run_whose_end_was_not_saved_is_not_done(open_page: Any, runs: Path, tmp_path: Path) -> None:
    """A process that was killed before its last checkpoint: the run goes on from the one before."""
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    for state in (folder / "a" / "checkpoints").glob("step-*/state.json"):
        state.write_text(json.dumps(json.loads(state.read_text()) | {"step": 1}))
    about = open_page(runs=folder).get("/v1/runs/a")
    assert (about["step"], about["total"], about["state"]) == (2, 2, "stopped")


def test_a_run_that_is_deleted_or_renamed_is_gone(open_page: Any, runs: Path, tmp_path: Path) -> None:
    """From the lists, for whoever watches it, and its name is free."""
    folder = tmp_path / "runs"
    shutil.copytree(runs, folder)
    page = open_page(runs=folder)
    assert page.draw(model="a", n=1, settings={"steps": 2})
    note = Started(("train",), "x", "x", "now", processes.Process(0, ""))
    (folder / ".studio").mkdir()
    note.write(folder / ".studio" / "a.json")
    (folder / "a").rename(folder / "c")
    assert {run["name"] for run in page.get("/v1/runs")["runs"]} == {"b", "c"}
    for path in ("/v1/runs/a", "/v1/runs/a/metrics", "/v1/runs/a/events", "/v1/models/a"):
        page.get(path, 404)
    assert "no model 'a'" in page.post("/v1/samples", {"model": "a"}, 404)["error"]
    (folder / ".studio" / "a.log").write_text("undiffuse: the pictures have 3 sizes\n")
    assert page.get("/v1/runs/a")["error"] == "the pictures have 3 sizes", "it failed before it had a folder"


def test_runs_of_a_folder_that_is_not_there_are_none(tmp_path: Path) -> None:
    assert Trainings(tmp_path / "none").names() == []


def test_the_total_of_a_budget_in_minutes_is_what_was_decided_last(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(TrainConfig()))
    time = {"seconds": 1.0, "images_per_second": 4.0, "loading": 0.0}
    lines = [
        {"step": 1, "plan": {"share": 0.0, "total": 200, "start": 0, "spent": 1.0}},
        {"step": 30, "loss": 0.5, "lr": 0.1, "time": time},
        {"step": 31, "plan": {"share": 0.5, "total": 60, "start": 0, "spent": 9.0}},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = Trainings(tmp_path).about("mine")
    assert (about["step"], about["total"], about["progress"]) == (30, 60, 0.5)
