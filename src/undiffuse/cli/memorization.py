"""Has a model memorised? The nearest training images of its samples, in pixels and in features, on a page.

  undiffuse memorization runs/NAME --held-out heldout/
  undiffuse memorization samples.npz --training photos/ --held-out heldout/ --out memorization.html

SUBJECT is a model of any kind, which draws the samples, or images: a folder or an array file. Distances are held
against those of images that cannot have been copied: --held-out ones; without them, each training image's distance to
the nearest other one. Give held-out images of the same kind, prepared alike: others are further away for other reasons.
"""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.cli.data_options import add_data, add_preparation, typed_preparation
from undiffuse.cli.evaluate import check_images
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.naming import MODEL, is_subject_model, load_to_draw
from undiffuse.cli.options import add_count, add_device, add_overwrite, add_seed
from undiffuse.cli.parse_values import whole
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards
from undiffuse.config.data import DataConfig
from undiffuse.config.sampling import SampleConfig
from undiffuse.errors import UndiffuseError
from undiffuse.runtime.durable_files import shortened

if TYPE_CHECKING:
    from undiffuse.data.dataset import Dataset
    from undiffuse.evaluation.features.extractor import Extractor
    from undiffuse.evaluation.quality.image_source import DatasetImages, ModelSamples

SAMPLES = 1000
"""Drawn from a run where -n does not say otherwise."""


def configure(parser: Parser) -> None:
    parser.surplus = (
        "images that the model has not seen are named by --held-out {}, those it learned from by --training {}"
    )
    parser.add_argument("SUBJECT", help=f"{MODEL}; or images: a folder, .npz, .npy, archive")
    group = parser.add_argument_group("against what")
    add_data(group, "--training", "what may have been copied (default: the model's own)")
    add_data(group, "--held-out", "like the training data, and not among them")
    group.add_argument(
        "--extractor", metavar="NAME", help="features beside the pixels, as of undiffuse evaluate; 'none' for none"
    )
    group.add_argument("--inception-weights", type=Path, metavar="FILE", help="the published weights of FID's network")
    add_count(group, "-n", 1, f"samples (default: {SAMPLES}; all given images)")
    add_preparation(parser, "how images are prepared (default: as the run's data)")
    group = parser.add_argument_group("how")
    read = whole("--neighbors", 2)
    group.add_argument("--neighbors", "--neighbours", type=read, metavar="K", help="that count (default: 10)")
    add_seed(group, "every random stream")
    add_device(group)
    add_fields(parser, SampleConfig, "how a model draws")
    group = parser.add_argument_group("where to")
    group.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".html with the closest pairs, numbers in a .json beside it; or the .json alone (default, of a run: "
        "RUN/memorization/DATA.html)",
    )
    add_overwrite(group)


def run(typed: Namespace) -> None:
    from undiffuse.evaluation.memorization.evaluate import NEIGHBORS, HeldOutBaseline, TrainingImages, memorization
    from undiffuse.evaluation.memorization.report import sentences, to_json, verdict
    from undiffuse.provenance.png import check_free, write_text
    from undiffuse.reports.memorization import memorization_page

    options = vars(typed)
    seed = options.get("seed", 0)
    subject, preparation = _subject(options)
    learned = _training(options, subject, preparation)
    files = _files(options, subject, learned)
    for path in files:
        check_free(path, "overwrite" in options)
    training = TrainingImages.of(learned)
    if "held_out" in options:
        yardstick = HeldOutBaseline.held_out(_open(options["held_out"], preparation), training, seed=seed)
    else:
        yardstick = HeldOutBaseline.leave_one_out(training, seed=seed)
    found = memorization(
        subject,
        training,
        yardstick,
        _extractors(options, training.dataset),
        neighbors=options.get("neighbors", NEIGHBORS),
        seed=seed,
        progress=True,
    )
    said = "\n".join((*sentences(found), f"Verdict: {verdict(found)}"))
    with said_afterwards(lambda: print(said)):
        for path in files:
            page = path.suffix == ".html"
            content = memorization_page(found) if page else json.dumps(to_json(found), indent=1, allow_nan=False) + "\n"
            write_text(path, content, "overwrite" in options)
    for path in files:
        print(f"file    {path}")
    if not files:
        print("The closest pairs are shown on a page by --out FILE.html")


def _subject(options: dict[str, Any]) -> tuple[ModelSamples | DatasetImages, DataConfig]:
    """The samples or images to judge, and how images are to be prepared so that they fit them."""
    from undiffuse.cli.sample import how
    from undiffuse.evaluation.quality.image_source import DatasetImages, ModelSamples

    given = typed_preparation(options)
    if is_subject_model(options["SUBJECT"]):
        settings = how(options)
        model = load_to_draw(options, name="SUBJECT")
        if not model.info.fingerprint and "training" not in options:
            raise UndiffuseError(f"{options['SUBJECT']} does not say what it learned from: give --training DATA")
        generated = ModelSamples(model.plan(**settings), options.get("n", SAMPLES), options.get("seed", 0))
        return generated, replace(model.config.data, **given)
    check_images(options)
    preparation = DataConfig(**given)
    if "training" not in options:
        raise UndiffuseError(
            f"'{options['SUBJECT']}' is no model, so it does not say what it learned from: give --training DATA"
        )
    images = _open(options["SUBJECT"], preparation)
    return DatasetImages.of(images, options.get("n"), options.get("seed", 0)), preparation


def _training(options: dict[str, Any], subject: ModelSamples | DatasetImages, preparation: DataConfig) -> Dataset:
    """The data named, or the run's own, which must be those that it learned from."""
    if "training" in options:
        return _open(options["training"], preparation)
    dataset = _open(preparation.source, preparation)
    if not subject.info.learned(dataset.info):
        raise UndiffuseError(
            f"The data in {preparation.source} are not those that the model learned from (their contents differ); "
            "name those by --training"
        )
    return dataset


def _open(source: str, preparation: DataConfig) -> Dataset:
    from undiffuse.data.preparation.prepare import prepare

    return prepare(preparation.of_others(source))


def _extractors(options: dict[str, Any], training: Dataset) -> list[Extractor]:
    """Pixels, and the features that were asked for or that suit the data."""
    from undiffuse.evaluation.features.make import default_extractor, make_extractor
    from undiffuse.evaluation.features.pixels import Pixels
    from undiffuse.runtime.devices import choose_device

    name, weights = options.get("extractor"), options.get("inception_weights")
    if name in ("none", "pixels"):
        return [Pixels()]
    if name is None:
        name, why = default_extractor(training, weights)
        print(f"features by {name}: {why}")
        if name == "pixels":
            return [Pixels()]
    device = choose_device(options.get("device", "auto"))
    features = make_extractor(name, reference=training, inception_weights=weights, device=device, progress=True)
    return [Pixels(), features]


def _files(options: dict[str, Any], subject: ModelSamples | DatasetImages, training: Dataset) -> list[Path]:
    """The files of the page and the numbers; none for given images without --out."""
    from undiffuse.evaluation.quality.image_source import ModelSamples

    out: Path | None = options.get("out")
    if out is None and isinstance(subject, ModelSamples):
        name = shortened(Path(training.info.name).name.split(".")[0])
        out = subject.model.home / "memorization" / f"{name}.html"
    if out is None:
        return []
    if out.suffix not in (".html", ".json"):
        raise UndiffuseError(f"--out should end in .html or .json, and '{out}' does not")
    return [out, out.with_suffix(".json")] if out.suffix == ".html" else [out]
