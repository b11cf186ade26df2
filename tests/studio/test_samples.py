"""Samples over HTTP are those of the command line, alone or in company; they are told step by step, and can be
cancelled."""

from __future__ import annotations

import base64
import io
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import undiffuse
from undiffuse.checkpoints.training_checkpoint import load as load_checkpoint
from undiffuse.checkpoints.training_checkpoint import save
from undiffuse.cli import main
from undiffuse.errors import UndiffuseError
from undiffuse.studio.jobs.queue import Job, JobQueue
from undiffuse.studio.library import models
from undiffuse.studio.limits import Limits

QUICK = {"steps": 3, "sampler": "ddim"}


def pixels(content: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def drawn(seed: int, index: int, settings: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The same by the library."""
    how = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    array: np.ndarray[Any, Any] = undiffuse.load("digits").sample(1, seed, first=index, **how).array[0, 0]
    return array


def test_a_picture_is_byte_for_byte_the_command_lines(page: Any, tmp_path: Path) -> None:
    images = page.draw(model="digits", n=2, seed=5, first=17, settings={**QUICK, "classes": ["seven", "3"]})
    out = tmp_path / "cli"
    words = ["-n", "2", "--seed", "5", "--first", "17", "--steps", "3", "--sampler", "ddim", "--class", "seven,3"]
    assert main(["sample", "digits", *words, "--device", "cpu", "--out", str(out)]) == 0
    for image in images:
        assert page.get(image["url"]) == (out / f"{image['index']:05d}.png").read_bytes()


def test_the_command_in_a_recipe_draws_the_picture(
    page: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**QUICK, "classes": ["seven"], "guidance": 2.0}
    (image,) = page.draw(model="digits", n=1, seed=1, first=3, settings=settings)
    words = image["recipe"]["command"].split()
    assert words[0] == "undiffuse"
    assert main([*words[1:], "--out", str(tmp_path / "cli"), "--device", "cpu"]) == 0
    assert page.get(image["url"]) == (tmp_path / "cli" / "00003.png").read_bytes()


WAYS: list[dict[str, Any]] = [
    {"steps": 4, "sampler": "ddim"},
    {"steps": 3, "sampler": "ddpm", "classes": ["seven"]},
    {"steps": 3, "classes": ["one", "two"], "guidance": 2.5},
    {"steps": 2, "sampler": "heun", "threshold": "dynamic"},
    {"steps": 3, "guidance": 1.5, "guidance_rescale": 0.7, "threshold": "none"},
    {"steps": 3, "sampler": "ddim", "micro_batch": 3},
]


def test_company_changes_no_pixel(page: Any) -> None:
    """Requests of other seeds, samplers, steps and guidance at once, against the library's one by one."""
    asked = [{"model": "digits", "n": 1, "seed": k, "first": 7 * k, "settings": WAYS[k % len(WAYS)]} for k in range(8)]
    jobs = [page.post("/v1/samples", body) for body in asked]
    for job, body in zip(jobs, asked, strict=True):
        (image,) = page.images(job)
        expected = drawn(body["seed"], body["first"], body["settings"])
        assert np.array_equal(pixels(page.get(image["url"])), expected), body


def test_bfloat16_changes_the_picture_as_it_does_on_the_command_line_and_not_for_those_beside_it(
    page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: 0.6)
    ways: list[dict[str, Any]] = [{**QUICK, "micro_batch": 4, "precision": name} for name in ("float32", "bfloat16")]
    expected = [drawn(5, 1, settings) for settings in ways]
    assert not np.array_equal(*expected)
    jobs = [page.post("/v1/samples", {"model": "digits", "seed": 5, "first": 1, "settings": way}) for way in ways * 2]
    for job, pixels_of_it in zip(jobs, expected * 2, strict=True):
        (image,) = page.images(job)
        assert np.array_equal(pixels(page.get(image["url"])), pixels_of_it)


def test_bfloat16_is_refused_where_it_would_keep_others_waiting(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("undiffuse.runtime.precision.times_as_long", lambda: 26.4)
    body = {"model": "digits", "settings": {"precision": "bfloat16"}}
    assert "takes 26 times as long" in shared.post("/v1/samples", body, 422)["error"]


def test_the_evaluations_are_counted_with_their_rows(page: Any) -> None:
    page.draw(model="digits", n=3, settings=QUICK)
    assert page.get("/v1/status")["work"] == {"evaluations": 3, "rows": 9}


def test_a_sampler_of_adaptive_steps_gives_the_same_too(page: Any, runs: Path) -> None:
    settings = {"sampler": "ode", "steps": 1, "tolerance": 0.05}
    (image,) = page.draw(model="a", n=1, seed=2, first=1, settings=settings)
    expected = undiffuse.load(runs / "a").sample(1, 2, first=1, **settings).images()[0]
    assert np.array_equal(pixels(page.get(image["url"])), np.asarray(expected))


def test_samples_cross_micro_batches(page: Any) -> None:
    images = page.draw(model="digits", n=4, seed=3, first=14, settings=QUICK, previews=0)
    assert [image["index"] for image in images] == [14, 15, 16, 17]
    expected = undiffuse.load("digits").sample(4, 3, first=14, **QUICK).array[:, 0]
    for image, array in zip(images, expected, strict=True):
        assert np.array_equal(pixels(page.get(image["url"])), array)


def test_a_run_in_colour_is_drawn_as_well(page: Any, runs: Path) -> None:
    (image,) = page.draw(model="a", n=1, seed=1, settings=QUICK)
    expected = undiffuse.load(runs / "a").sample(1, 1, **QUICK).images()[0]
    assert np.array_equal(pixels(page.get(image["url"])), np.asarray(expected))


def test_steps_are_told_in_order_with_pictures(page: Any) -> None:
    job = page.post("/v1/samples", {"model": "digits", "n": 2, "settings": QUICK, "previews": 1, "preview_eps": True})
    told = page.events(job)
    kinds = [kind for kind, _ in told]
    assert [kind for kind in kinds if kind not in ("queued", "step")] == ["started", "image", "image", "done"]
    steps = [data for kind, data in told if kind == "step"]
    assert [step["k"] for step in steps] == sorted({step["k"] for step in steps})
    assert all(step["of"] == 3 for step in steps)
    for step in steps:
        (preview,) = step["previews"]
        for name in ("x_t", "x0", "eps"):
            kind, _, data = preview[name].partition(",")
            assert kind == "data:image/png;base64"
            assert pixels(base64.b64decode(data)).shape == (28, 28)
    assert told[-1][1]["evaluations"] == 3


def test_events_can_be_read_again_from_where_a_reader_was(page: Any) -> None:
    job = page.post("/v1/samples", {"model": "digits", "n": 1, "settings": QUICK})
    told = page.events(job)
    text = page.client.get(job["events"]).text
    last = max(int(line.removeprefix("id: ")) for line in text.splitlines() if line.startswith("id: "))
    assert [kind for kind, _ in page.events(job, after=last - 1)] == ["done"]
    assert page.client.get(job["events"], headers={"Last-Event-ID": str(last)}).status_code == 204
    assert told[-1][0] == "done"
    assert page.client.get(job["events"], headers={"Last-Event-ID": "nonsense"}).status_code == 200


def test_a_job_is_cancelled_while_it_draws(page: Any) -> None:
    job = page.post("/v1/samples", {"model": "digits", "n": 64, "settings": {"steps": 1000, "sampler": "ddpm"}})
    found = page.studio.queue.get(job["id"])
    assert found is not None
    begun, seen = threading.Event(), list[int]()
    found.listen(lambda: begun.set() if found.step["k"] else None)
    assert begun.wait(60)
    assert page.client.delete(job["url"]).status_code == 202
    seen.append(found.handle.evaluations)
    told = page.events(job)
    assert told[-1][0] == "cancelled"
    assert found.handle.evaluations - seen[0] <= 1
    assert page.get(job["url"])["state"] == "cancelled"
    assert page.draw(model="digits", n=1, settings=QUICK)  # the worker is free


def test_pictures_need_not_be_kept(page: Any) -> None:
    (image,) = page.draw(model="digits", n=1, settings=QUICK, keep=False)
    assert image["id"] is None
    assert image["url"].startswith("data:image/png;base64,")
    assert page.get("/v1/gallery")["items"] == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "model"),
    ({"model": "digits", "n": 0}, "n"),
    ({"model": "digits", "n": 65}, "At most 64 pictures"),
    ({"model": "digits", "seed": -1}, "seed"),
    ({"model": "digits", "colour": 1}, "colour"),
    ({"model": "digits", "settings": {"steps": 1001}}, "At most 1,000 steps"),
    ({"model": "digits", "settings": {"steps": 0}}, "steps"),
    ({"model": "digits", "settings": {"steps": "3"}}, "'steps'"),
    ({"model": "digits", "settings": {"step": 3}}, "perhaps you meant 'steps'"),
    ({"model": "digits", "settings": {"sampler": "dimm"}}, "ddim"),
    ({"model": "digits", "settings": {"classes": ["eleven"]}}, "There is no class 'eleven'"),
    ({"model": "digits", "settings": {"micro_batch": 65}}, "micro_batch"),
    ({"model": "digits", "settings": {"text": "a seven"}}, "without texts"),
    ({"model": "digits", "settings": {"text": "x" * 2000}}, "letters of text"),
    ({"model": "digits", "settings": {"weak": "../../etc/passwd", "guidance": 2.0}}, "There is no model"),
    ({"model": "digits", "settings": {"precision": "bf16"}}, "bfloat16"),
    ({"model": "digits", "settings": {"classifier": "/etc/passwd"}}, "command line"),
    ({"model": "digits", "settings": {"image": "/etc/passwd"}}, "command line"),
    ({"model": "digits", "settings": {"compile": True}}, "command line"),
    ({"model": "digits", "settings": {"times": [1.0] * 1001}}, "At most"),
]


@pytest.mark.parametrize(("body", "words"), REFUSED)
def test_what_cannot_be_is_refused_at_once_with_a_sentence(shared: Any, body: dict[str, Any], words: str) -> None:
    assert words in shared.post("/v1/samples", body, 422)["error"]


def test_an_unknown_model_or_job_is_not_there(shared: Any) -> None:
    assert "perhaps you meant 'digits'" in shared.post("/v1/samples", {"model": "digit"}, 404)["error"]
    for path in ("/v1/samples/nope", "/v1/samples/nope/events"):
        assert "no such job" in shared.get(path, 404)["error"]
    assert shared.client.delete("/v1/samples/nope").status_code == 404


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model": "digits", "n": 1e400}', b"[" * 100_000]
)
def test_hostile_bodies_are_refused(shared: Any, body: bytes) -> None:
    answer = shared.client.post("/v1/samples", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 413, 422)
    assert answer.json()["error"]


def test_what_does_not_say_that_it_is_json_is_refused(shared: Any) -> None:
    """A form of another site, which needs no leave to be sent, cannot pass for JSON."""
    answer = shared.client.post("/v1/samples", content=b'{"model": "digits"}', headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["error"].split(" (")[0]) == (415, "This takes JSON")


def test_numbers_that_are_none_are_refused(shared: Any) -> None:
    body = b'{"model": "digits", "settings": {"guidance": NaN}}'
    answer = shared.client.post("/v1/samples", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)


def test_a_full_queue_answers_429(open_page: Any) -> None:
    queue, gate = JobQueue(running=1, waiting=1), threading.Event()
    page = open_page(queue=queue)
    for _ in range(2):
        queue.submit(Job("sample", "digits", {}), lambda job: bool(gate.wait(60)))  # type: ignore[arg-type, return-value]
    answer = page.client.post("/v1/samples", json={"model": "digits", "settings": QUICK})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert "busy" in answer.json()["error"]
    gate.set()


def test_a_large_body_is_refused_whatever_it_says_of_itself(open_page: Any) -> None:
    page = open_page(limits=Limits(json_bytes=1000))
    body = b'{"model": "' + b"x" * 2000 + b'"}'
    headers = {"Content-Type": "application/json"}
    assert page.client.post("/v1/samples", content=body, headers=headers).status_code == 413

    def in_pieces() -> Any:
        for k in range(0, len(body), 100):
            yield body[k : k + 100]

    answer = page.client.post("/v1/samples", content=in_pieces(), headers=headers)
    assert answer.status_code == 413
    assert "too large" in answer.json()["error"]


def checkpoint_at(folder: Path, step: int, value: float) -> None:
    """A checkpoint of a run at another step and with other weights, as a training that goes on writes it."""
    (newest,) = list((folder / "checkpoints").glob("step-*"))[-1:]
    old = load_checkpoint(newest)
    weights = {name: tensor + value for name, tensor in old.weights.items()}
    averages = dict.fromkeys(old.averages, weights)
    save(replace(old, weights=weights, averages=averages, state=replace(old.state, step=step, total=9)), newest.parent)


def test_a_run_that_trains_is_drawn_with_its_newest_checkpoint(open_page: Any, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs / "a", folder / "a")
    page = open_page(runs=folder)
    wanted = {"model": "a", "n": 1, "settings": {"steps": 2}}
    first = page.draw(**wanted)[0]
    checkpoint_at(folder / "a", 5, 0.01)
    (folder / "a" / "checkpoints" / ".partial-step-00000007").mkdir()  # one that is being written
    second = page.draw(**wanted)[0]
    assert (first["recipe"]["step"], second["recipe"]["step"]) == (2, 5)
    assert first["recipe"]["sha256"] != second["recipe"]["sha256"]
    assert page.get("/v1/models/a")["step"] == 5
    # another run of the same name and step is another model
    shutil.rmtree(folder / "a")
    shutil.copytree(runs / "b", folder / "a")
    assert page.draw(**wanted)[0]["recipe"]["sha256"] not in (first["recipe"]["sha256"], second["recipe"]["sha256"])


def test_a_checkpoint_that_a_training_takes_away_while_it_is_loaded_is_followed_by_the_next(
    open_page: Any, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs"
    shutil.copytree(runs / "a", folder / "a")
    page, real, seen = open_page(runs=folder), models.load, []

    def torn(*words: Any) -> Any:
        seen.append(words)
        if len(seen) == 1:
            checkpoint_at(folder / "a", 5, 0.01)
            raise FileNotFoundError("model.safetensors")
        return real(*words)

    monkeypatch.setattr(models, "load", torn)
    assert page.draw(model="a", n=1, settings={"steps": 2})[0]["recipe"]["step"] == 5
    assert len(seen) == 2


def test_a_model_file_that_vanishes_or_is_written_anew(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    assert main(["convert", str(runs / "a"), str(file), "--to", "file"]) == 0
    given = models.ModelLibrary([file], tmp_path / "none")
    first = given.load("model")
    assert given.load("model") is first
    assert main(["convert", str(runs / "b"), str(tmp_path / "other.safetensors"), "--to", "file"]) == 0
    (tmp_path / "other.safetensors").rename(file)
    assert given.load("model").model.provenance["sha256"] != first.model.provenance["sha256"]
    file.unlink()
    assert next(iter(given.entries())) == "model", "it keeps its name"
    with pytest.raises(UndiffuseError):
        given.load("model")
