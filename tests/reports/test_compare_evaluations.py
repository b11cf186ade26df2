"""Figures of several runs: in one table where they can be compared, and a best only beyond chance."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity
from undiffuse.evaluation.features.pixels import Pixels
from undiffuse.evaluation.quality.bits import Bits
from undiffuse.evaluation.quality.evaluate import Quality, QualitySettings, evaluate
from undiffuse.evaluation.quality.image_source import ModelSamples
from undiffuse.evaluation.quality.measurement import Measurement, RealBaseline, Spread
from undiffuse.evaluation.quality.reference import Reference
from undiffuse.evaluation.quality.report import to_text
from undiffuse.model import build_model
from undiffuse.reports.compared_evaluations import Score, evaluate_commands, quality_tables
from undiffuse.reports.compared_likelihood import likelihood_commands, likelihood_tables, surely_lower
from undiffuse.reports.run_comparison import Lineup, leader

NETWORK = Identity("network", "ab" * 32, "224 x 224, bicubic")
OTHER = Identity("other", "cd" * 32, "28 x 28")
PRINT = "e3" * 32


def frechet(
    value: float, floor: float | None = 8.0, n: int = 500, extractor: str = "network", **more: Any
) -> Measurement:
    below = None if floor is None else RealBaseline(floor, None, n, n)
    return Measurement("frechet", "FD", extractor, value, None, "lower", n, 1000, below, **more)


def kernel(value: float, error: float, extractor: str = "network", n: int = 500) -> Measurement:
    return Measurement("kernel", "KD", extractor, value, error, "lower", n, 1000, RealBaseline(0.0, 0.001, n, n))


def recall(value: float) -> Measurement:
    return Measurement(
        "recall", "recall", "network", value, None, "higher", 500, 1000, RealBaseline(0.9, None, 500, 500)
    )


def quality(*figures: Measurement, extractors: tuple[Identity, ...] = (NETWORK,), fingerprint: str = PRINT) -> Quality:
    subject = {
        "kind": "run",
        "name": "run",
        "step": 1000,
        "weights": "0.999",
        "sampler": "ddim",
        "steps": 50,
        "evaluations": 50.0,
        "seed": 0,
        "settings": {"sampler": "ddim", "steps": 50, "times": []},
    }
    reference = {"name": "photos", "fingerprint": fingerprint, "count": 1000}
    return Quality(figures, figures[0].n, subject, reference, extractors, QualitySettings())


def lineup(place: Path, **evaluations: Quality | list[Quality]) -> Lineup:
    """A run of each name with its evaluations, and nothing else in it."""
    info = SimpleNamespace(fingerprint=PRINT, new="")
    stories = []
    for name, found in evaluations.items():
        (place / name / "evaluation").mkdir(parents=True)
        for k, one in enumerate(found if isinstance(found, list) else [found]):
            (place / name / "evaluation" / f"{k}.json").write_text(to_text(one), encoding="utf-8")
        stories.append(SimpleNamespace(run=place / name, model=SimpleNamespace(info=info)))
    return Lineup(tuple(stories), tuple(evaluations))  # type: ignore[arg-type]


def test_equal_n_reference_and_extractor_make_one_table(tmp_path: Path) -> None:
    apart, tables = quality_tables(lineup(tmp_path, a=quality(frechet(40)), b=quality(frechet(60))))
    assert apart == ""
    (table,) = tables
    assert table.matrix.head == ("", "a", "b", "floor")
    assert table.matrix.rows[-1] == ("FD ↓", "40", "60", "8")
    assert "N = 500, against photos (e3e3e3e3), by network (abababab)" in table.title


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (quality(frechet(60, n=400)), "the number of images (500 and 400)"),
        (quality(frechet(60), fingerprint="99" * 32), "the reference (photos e3e3e3e3 and photos 99999999)"),
        (quality(frechet(60, extractor="other"), extractors=(OTHER,)), "network (abababab) and other (cdcdcdcd)"),
        (
            quality(frechet(60), extractors=(Identity("network", "ee" * 32, NETWORK.resize),)),
            "network (abababab) and network (eeeeeeee)",
        ),
        (
            quality(frechet(60), extractors=(Identity("network", NETWORK.sha256, "nearest"),)),
            "how it resizes (224 x 224, bicubic and nearest)",
        ),
    ],
)
def test_what_cannot_be_compared_stands_in_tables_of_its_own(tmp_path: Path, other: Quality, why: str) -> None:
    apart, tables = quality_tables(lineup(tmp_path, a=quality(frechet(40)), b=other))
    assert [table.matrix.head[1:-1] for table in tables] == [("a",), ("b",)]
    assert not any(table.matrix.best for table in tables)
    assert why in apart


def test_the_best_is_marked_beyond_its_error_only(tmp_path: Path) -> None:
    far = quality(kernel(0.10, 0.01)), quality(kernel(0.15, 0.01))
    near = quality(kernel(0.10, 0.01)), quality(kernel(0.12, 0.01))
    for name, (one, other), marked in (("far", far, {(4, 1)}), ("near", near, set())):
        _, (table,) = quality_tables(lineup(tmp_path / name, a=one, b=other))
        assert table.matrix.rows[4][0] == "KD ↓"
        assert table.matrix.best == marked


def test_a_distance_without_error_must_lead_by_more_than_its_floor() -> None:
    scores = [Score.of(frechet(value).to_json()) for value in (40.0, 47.9, 300.0)]
    assert leader(scores, Score.leads) is None
    assert leader([scores[0], scores[2]], Score.leads) == 0
    assert leader([scores[2], None, scores[0]], Score.leads) == 2
    without = [Score.of(frechet(value, floor=None).to_json()) for value in (40.0, 300.0)]
    assert leader(without, Score.leads) is None
    assert leader(scores[:1], Score.leads) is None


def test_a_share_without_error_has_no_best_and_with_seeds_it_has() -> None:
    assert leader([Score.of(recall(value).to_json()) for value in (0.9, 0.1)], Score.leads) is None
    seeds = [
        Measurement("recall", "recall", "network", 0.0, None, "higher", 500, 9, seeds=Spread(mean, 0.01, (mean,)))
        for mean in (0.1, 0.9)
    ]
    assert leader([Score.of(one.to_json()) for one in seeds], Score.leads) == 1


def test_a_figure_that_is_not_finite_leads_nobody_and_is_named_so() -> None:
    broken = Score.of(frechet(float("nan")).to_json())
    assert broken.words() == "not finite"
    assert leader([broken, Score.of(frechet(10).to_json())], Score.leads) is None


def test_bits_have_a_table_of_their_own_and_are_no_reason_to_keep_figures_apart(tmp_path: Path) -> None:
    def with_bits(value: float, fingerprint: str = PRINT) -> Quality:
        facts = {"name": "held-out", "fingerprint": fingerprint, "count": 64, "timesteps": 100, "trained_on": False}
        return quality(frechet(40)).with_bits(
            Bits(Measurement("bits", "bits/dim", "", value, 0.05, "lower", 64, 0), facts)
        )

    apart, tables = quality_tables(lineup(tmp_path / "same", a=with_bits(3.0), b=with_bits(4.0)))
    assert apart == ""
    assert [row[0] for row in tables[1].matrix.rows] == ["step", "weights", "bits/dim ↓"]
    assert tables[1].matrix.best == {(2, 1)}
    assert "held-out" in tables[1].title
    _, tables = quality_tables(lineup(tmp_path / "other", a=with_bits(3.0), b=with_bits(4.0, "77" * 32)))
    assert len(tables) == 3


def test_two_evaluations_of_a_run_are_two_columns(tmp_path: Path) -> None:
    found = lineup(tmp_path, a=[quality(frechet(40)), quality(frechet(41))], b=quality(frechet(60)))
    _, (table,) = quality_tables(found)
    assert table.matrix.head[1:-1] == ("a (0)", "a (1)", "b")


def test_a_warning_stands_once_with_the_metrics_and_runs_that_it_is_for(tmp_path: Path) -> None:
    for_all, for_one = frechet(40, warning="biased"), frechet(9, warning="biased; cannot be told from real images")
    also = Measurement("recall", "recall", "network", 0.5, None, "higher", 500, 1000, warning="biased")
    _, (table,) = quality_tables(lineup(tmp_path, a=quality(for_all, also), b=quality(for_one)))
    assert table.notes == ("FD and recall: biased.", "FD of b: cannot be told from real images.")


def test_the_command_of_an_evaluation_says_what_differs_from_the_defaults(tmp_path: Path) -> None:
    found = lineup(tmp_path, a=quality(frechet(40)), b=quality(frechet(40), fingerprint="99" * 32))
    words = shlex.split(evaluate_commands(found.stories[0])[0])
    assert words[:2] == ["undiffuse", "evaluate"]
    assert words[3:] == ["-n", "500", "--seed", "0", "--extractor", "network", "--sampler", "ddim", "--steps", "50"]
    assert "--reference photos" in evaluate_commands(found.stories[1])[0]


def test_a_file_that_is_no_evaluation_is_one_sentence(tmp_path: Path) -> None:
    found = lineup(tmp_path, a=quality(frechet(40)))
    path = tmp_path / "a" / "evaluation" / "0.json"
    tree = json.loads(path.read_text())
    del tree["figures"][0]["better"]
    path.write_text(json.dumps(tree))
    with pytest.raises(UndiffuseError, match=r"evaluation/0\.json is not as undiffuse evaluate writes it"):
        quality_tables(found)


def test_what_evaluate_writes_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    np.save(tmp_path / "data.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8))
    small = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "timesteps": 20}
    config = override(TrainConfig(), source=str(tmp_path / "data.npy"), steps=1, **small)
    dataset = prepare(config.data, progress=False)
    model = build_model(config, dataset.info)
    model.provenance = {"step": 7, "weights": "0.999"}
    found = evaluate(ModelSamples(model.plan(steps=3), 12), Reference(dataset), [Pixels()])
    _, (table,) = quality_tables(lineup(tmp_path, a=found, b=found))
    assert table.matrix.rows[0] == ("step", "7", "7", "")
    assert table.matrix.rows[2] == ("sampler", *2 * ("dpm++2m-sde, 3 evaluations",), "")
    names = {row[0]: row[1:] for row in table.matrix.rows}
    assert names["FD ↓"][0] == f"{found.figure('frechet').value:.4g}"
    assert not table.matrix.best


def likelihood_file(run: Path, values: list[float], **changes: Any) -> None:
    tree = {
        "units": "bits/dim",
        "model": {"step": 10},
        "data": {"name": "photos", "fingerprint": PRINT},
        "typed": {"DATA": "photos/", "limit": len(values), "timesteps": 20},
        "images": {"index": list(range(len(values))), "bound": values},
    }
    (run / "likelihood").mkdir(parents=True, exist_ok=True)
    (run / "likelihood" / "photos.json").write_text(json.dumps({**tree, **changes}))


def two(place: Path) -> Lineup:
    stories = tuple(SimpleNamespace(run=place / name) for name in "ab")
    return Lineup(stories, ("a", "b"))  # type: ignore[arg-type]


def test_likelihoods_are_compared_image_by_image(tmp_path: Path) -> None:
    spread = np.linspace(1, 9, 20)
    wiggle = np.where(np.arange(20) % 2, 0.02, -0.02)
    # The means are far within the spread over images, and yet every image is cheaper under a.
    likelihood_file(tmp_path / "a", list(spread))
    likelihood_file(tmp_path / "b", list(spread + 0.1 + wiggle))
    (table,) = likelihood_tables(two(tmp_path))
    assert table.matrix.rows[1][0] == "variational bound, bits/dim"
    assert table.matrix.best == {(1, 1)}
    assert leader([spread, spread + wiggle], surely_lower) is None
    assert leader([spread, None], surely_lower) is None
    assert likelihood_commands(two(tmp_path).stories[0])[0].startswith(
        f"undiffuse likelihood {tmp_path / 'a'} photos/ --limit 20 --timesteps 20 --out "
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"units": "nats/dim"},
        {"data": {"name": "photos", "fingerprint": "99" * 32}},
        {"typed": {"DATA": "photos/", "timesteps": 10}},
        {"images": {"index": [1, 2, 3], "bound": [1.0, 2.0, 3.0]}},
    ],
)
def test_likelihoods_of_other_images_or_another_way_are_kept_apart(tmp_path: Path, changes: dict[str, Any]) -> None:
    likelihood_file(tmp_path / "a", [1.0, 2.0, 3.0])
    likelihood_file(tmp_path / "b", [2.0, 3.0, 4.0], **changes)
    assert [table.matrix.head for table in likelihood_tables(two(tmp_path))] == [("", "a"), ("", "b")]


@pytest.mark.parametrize("content", ["{", "[]", '{"typed": {}}', '{"typed": 1, "images": 2}'])
def test_a_damaged_likelihood_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    likelihood_file(tmp_path / "a", [1.0])
    (tmp_path / "a" / "likelihood" / "photos.json").write_text(content)
    with pytest.raises(UndiffuseError, match="not as undiffuse likelihood writes it"):
        likelihood_tables(two(tmp_path))
