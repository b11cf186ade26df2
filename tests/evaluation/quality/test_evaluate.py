from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.config.data import DataConfig
from undiffuse.data.dataset import Dataset
from undiffuse.data.preparation.prepare import prepare
from undiffuse.errors import UndiffuseError
from undiffuse.evaluation.features.extractor import Identity, Outputs
from undiffuse.evaluation.metrics.estimate import Estimate
from undiffuse.evaluation.metrics.frechet import frechet_distance
from undiffuse.evaluation.metrics.moments import Moments
from undiffuse.evaluation.quality.evaluate import Quality, QualitySettings, evaluate
from undiffuse.evaluation.quality.feature_metrics import measure
from undiffuse.evaluation.quality.feature_pass import features_of
from undiffuse.evaluation.quality.image_source import DatasetImages
from undiffuse.evaluation.quality.plot import plot
from undiffuse.evaluation.quality.reference import Reference, split
from undiffuse.evaluation.quality.registry import ROWS, Compared, Row
from undiffuse.evaluation.quality.report import error, number, table

Open = Callable[[np.ndarray], Dataset]


@dataclass(frozen=True)
class Corners:
    """The means of the four quarters of an image: features, positions and classes at once."""

    standard: bool = False

    @property
    def identity(self) -> Identity:
        return Identity("corners", "a" * 64, "averaged to 2 x 2", self.standard)

    def __call__(self, images: Tensor) -> Outputs:
        quarters = torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        return Outputs(quarters, 2 * quarters, 20 * quarters)


@pytest.fixture
def open_(tmp_path: Path) -> Open:
    def prepare_(images: np.ndarray) -> Dataset:
        path = tmp_path / f"images{len(list(tmp_path.glob('*.npy')))}.npy"
        np.save(path, images)
        return prepare(DataConfig(str(path)), tmp_path / "cache", progress=False)

    return prepare_


def noise(count: int, seed: int = 0, low: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, 256, (count, 8, 8), np.uint8)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Quality]:
    def run_(fake: Dataset, real: Dataset, settings: QualitySettings | None = None, n: int | None = None) -> Quality:
        seed = settings.seed if settings else 0
        return evaluate(
            DatasetImages.of(fake, n, seed), Reference(real), [Corners()], settings, cache=tmp_path / "cache"
        )

    return run_


def test_a_set_measured_against_itself_is_perfect(open_: Open, run: Callable[..., Quality]) -> None:
    dataset = open_(noise(120))
    quality = run(dataset, dataset)
    assert quality.figure("frechet").value == pytest.approx(0, abs=1e-12)
    assert quality.figure("spatial_frechet").value == pytest.approx(0, abs=1e-12)
    for metric in ("precision", "recall", "coverage"):
        assert quality.figure(metric).value == 1
    assert quality.figure("kernel").value < quality.figure("kernel").error
    assert {figure.name for figure in quality.figures} == {
        "FD", "sFD", "FD-infinity", "KD", "class score", "precision", "recall", "density", "coverage",
    }  # fmt: skip


def test_images_of_the_reference_are_no_merit(open_: Open, run: Callable[..., Quality]) -> None:
    dataset, other = open_(noise(30)), open_(noise(30, seed=1))
    assert any("no merit" in note for note in run(dataset, dataset, n=20).notes)
    assert not any("no merit" in note for note in run(other, dataset).notes)


def test_a_distance_is_called_fid_with_the_published_network_alone(tmp_path: Path, open_: Open) -> None:
    dataset = open_(noise(120))
    quality = evaluate(
        DatasetImages.of(dataset), Reference(dataset), [Corners(standard=True)], cache=tmp_path / "cache"
    )
    assert [figure.name for figure in quality.figures[:5]] == ["FID", "sFID", "FID-infinity", "KID", "Inception Score"]


def test_other_images_are_farther_than_the_floor(open_: Open, run: Callable[..., Quality]) -> None:
    quality = run(open_(noise(60, seed=1, low=120)), open_(noise(120)))
    for figure in quality.figures:
        if figure.metric not in ("inception_score", "density"):
            assert figure.floor is not None
            worse = figure.value > figure.floor.value if figure.better == "lower" else figure.value < figure.floor.value
            assert worse, figure.metric
            assert "cannot be told" not in figure.warning


def test_images_of_the_same_kind_cannot_be_told_apart_by_kernel_distance(
    open_: Open, run: Callable[..., Quality]
) -> None:
    quality = run(open_(noise(60, seed=1)), open_(noise(120)))
    assert "cannot be told from real images" in quality.figure("kernel").warning


def test_the_floor_is_what_a_direct_call_gives(tmp_path: Path, open_: Open, run: Callable[..., Quality]) -> None:
    real = open_(noise(130))
    quality = run(open_(noise(50, seed=1)), real, QualitySettings(seed=4))
    fake, others = split(Reference(real).features(Corners(), tmp_path / "cache"), 50, seed=4)
    figure = quality.figure("frechet")
    assert figure.floor is not None
    assert (figure.n, figure.m, figure.floor.n, figure.floor.m) == (50, 130, 50, 80)
    direct = frechet_distance(Moments.of(fake.features), Moments.of(others.features))
    assert figure.floor.value == pytest.approx(direct, rel=1e-12)


def test_every_figure_says_which_numbers_it_is_of(open_: Open, run: Callable[..., Quality]) -> None:
    quality = run(open_(noise(50, seed=1)), open_(noise(60)))
    figure = quality.figure("precision")
    assert figure.floor is not None
    assert figure.floor.n == 30
    assert "the floor is of 30 images" in figure.warning
    assert "50 of each side are few" in figure.warning
    assert "N = 50" in quality.figure("frechet").warning
    assert "5 images a split for 4 classes" not in quality.figure("frechet").warning


def test_rows_below_their_minimum_are_left_out_and_said(open_: Open, run: Callable[..., Quality]) -> None:
    quality = run(open_(noise(40, seed=1)), open_(noise(60)))
    assert "frechet_infinity" not in {figure.metric for figure in quality.figures}
    assert "no FD-infinity below 100 images: there are 40 and 60" in quality.notes
    assert "no FD-infinity below 100 images" in table(quality)


@pytest.mark.parametrize("few", [9, 1])
def test_too_few_images_are_refused_with_the_number_that_is_needed(
    open_: Open, run: Callable[..., Quality], few: int
) -> None:
    enough, lacking = open_(noise(12)), open_(noise(few))
    with pytest.raises(UndiffuseError, match=f"at least 10 images to be measured, and there are {few}"):
        run(lacking, enough)
    with pytest.raises(UndiffuseError, match="at least 10 images of the reference"):
        run(enough, lacking)


def test_a_reference_too_small_for_a_floor_says_so(open_: Open, run: Callable[..., Quality]) -> None:
    quality = run(open_(noise(12, seed=1)), open_(noise(12)))
    figure = quality.figure("precision")
    assert figure.floor is None
    assert "too few images for a floor" in figure.warning
    assert json.loads(json.dumps(quality.to_json(), allow_nan=False))["figures"][0]["floor"] is None
    assert plot(quality).startswith("<svg")


def test_repeats_give_mean_and_deviation_over_seeds(open_: Open, run: Callable[..., Quality]) -> None:
    fake, real = open_(noise(90, seed=1)), open_(noise(120))
    quality = run(fake, real, QualitySettings(seed=5, repeat=3), n=50)
    seeds = quality.figure("frechet").seeds
    assert seeds is not None
    single = [run(fake, real, QualitySettings(seed=5), n=50).figure("frechet").value]
    assert seeds.values[0] == single[0] == quality.figure("frechet").value
    assert seeds.mean == pytest.approx(np.mean(seeds.values))
    assert seeds.std == pytest.approx(np.std(seeds.values, ddof=1))
    assert len(set(seeds.values)) == 3
    assert "std of seeds" in table(quality)
    assert "seeds 5 to 7" in table(quality)


def test_all_given_images_are_not_repeated(open_: Open, run: Callable[..., Quality]) -> None:
    dataset = open_(noise(30))
    with pytest.raises(UndiffuseError, match="give `n` fewer"):
        run(dataset, dataset, QualitySettings(repeat=2))


def test_neighbours_are_counted_in_sets_of_one_size() -> None:
    real, fake = Outputs(torch.randn(50, 2)), Outputs(torch.randn(20, 2))
    balanced_real, balanced_fake = Compared(fake, real).balanced
    assert len(balanced_real) == len(balanced_fake) == 20
    assert {tuple(row) for row in balanced_real.tolist()} <= {tuple(row) for row in real.features.tolist()}


def test_a_new_row_is_computed_like_the_others() -> None:
    row = Row(ROWS[0].measures, lambda pair: (Estimate(float(len(pair.fake))),), 1)
    assert measure(Compared(Outputs(torch.zeros(3, 1)), Outputs(torch.ones(4, 1))), [row], "x") == {
        "frechet": Estimate(3.0)
    }


def test_features_of_a_range_are_those_of_its_parts(open_: Open) -> None:
    dataset = open_(noise(100))
    subject = DatasetImages.of(dataset)
    (whole,) = features_of(subject, [Corners()], range(100), dataset.info)
    parts = [features_of(subject, [Corners()], range(*ends), dataset.info)[0] for ends in ((0, 70), (70, 100))]
    assert torch.equal(Outputs.join(parts).features, whole.features)
    assert torch.equal(Outputs.join(parts).logits, whole.logits)


def test_several_extractors_see_the_same_images_in_one_pass(tmp_path: Path, open_: Open) -> None:
    class Reading(DatasetImages):
        read = 0

        def blocks(self, indices: range):  # type: ignore[no-untyped-def]
            for block in super().blocks(indices):
                Reading.read += len(block)
                yield block

    class Other(Corners):
        @property
        def identity(self) -> Identity:
            return Identity("other", "b" * 64, "none")

    dataset = open_(noise(40))
    quality = evaluate(Reading.of(dataset), Reference(dataset), [Corners(), Other()], cache=tmp_path / "cache")
    assert Reading.read == 40
    assert quality.figure("frechet", "other").value == quality.figure("frechet", "corners").value
    assert "FD (other)" in table(quality)


def test_the_table_fits_a_hundred_columns(open_: Open, run: Callable[..., Quality]) -> None:
    quality = run(open_(noise(110, seed=1)), open_(noise(220)), QualitySettings(repeat=2), n=100)
    text = table(quality)
    assert max(map(len, text.splitlines())) <= 100, text
    for words in ("FD (corners)", "corners, sha256 aaaaaaaaaaaa; averaged to 2 x 2", "between 100 real images and 120"):
        assert words in text


def test_the_plot_shows_points_and_floors(open_: Open, run: Callable[..., Quality]) -> None:
    quality = run(open_(noise(110, seed=1)), open_(noise(220)))
    text = plot(quality)
    assert text.count("<polyline") == 4  # samples and real images, each with its line to infinity
    assert text.count("<rect") == 2 * sum(figure.value >= 0 for figure in quality.figures)


@pytest.mark.parametrize(
    ("value", "words"),
    [(13598.06, "13,598.1"), (999.96, "1,000.0"), (800.0, "800.0"), (-0.012344, "-0.01234"), (1.2341e-5, "1.234e-05")],
)
def test_numbers_have_the_digits_that_mean_something(value: float, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(("value", "words"), [(983.2, "983"), (12345.6, "12,346"), (0.0512, "0.051"), (None, "")])
def test_errors_have_two_digits(value: float | None, words: str) -> None:
    assert error(value) == words
