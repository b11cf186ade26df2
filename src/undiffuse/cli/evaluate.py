"""How good a model's images are, or any images, against real ones: figures with floors, counts and warnings.

  undiffuse evaluate runs/NAME -n 5000 --steps 50
  undiffuse evaluate runs/NAME --reference photos/ --held-out more-photos/ --repeat 3
  undiffuse evaluate generated/ --reference photos/ --extractor inception --inception-weights FILE
  torchrun --nproc-per-node 4 -m undiffuse evaluate runs/NAME -n 50000

A model of any kind (a run, a file, diffusers' folder, a name on the hub, 'digits') draws exactly -n images, with its
averaged weights where it has some; a folder, zip, npz or npy file of images is taken as it is. Without --reference a
model is measured against its own training data, as papers do. What each figure means: docs/measure/evaluation.md.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undiffuse.cli.data_options import add_data, add_preparation, typed_preparation
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.naming import MODEL, is_subject_model, load_to_draw
from undiffuse.cli.options import add_count, add_device, add_overwrite, add_seed
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards
from undiffuse.config.data import DataConfig
from undiffuse.config.flags import flag_of
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.sections import sections
from undiffuse.errors import UndiffuseError, quoted

if TYPE_CHECKING:
    from undiffuse.data.dataset import Dataset
    from undiffuse.evaluation.features.extractor import Extractor
    from undiffuse.evaluation.quality.image_source import DatasetImages, ModelSamples
    from undiffuse.evaluation.quality.reference import Reference
    from undiffuse.model import AnyModel
    from undiffuse.runtime.process_group import Group

MOST = 10_000
"""Images that a model draws unless told otherwise, or as many as the reference has where those are fewer."""


def configure(parser: Parser) -> None:
    parser.surplus = "real images are named by --reference {}"
    parser.add_argument("SUBJECT", help=f"{MODEL}; or images: a folder, .zip, .npz, .npy, ...")
    group = parser.add_argument_group("against what")
    add_data(group, "--reference", "real images (default: the model's own training data)")
    add_data(group, "--held-out", "real images for bits/dim that it was not trained on")
    add_preparation(parser, "how images are prepared (default: as the run's data)")
    group = parser.add_argument_group("what is measured")
    text = "of features, several with commas between them (default: the best at hand, and why is said)"
    group.add_argument("--extractor", metavar="NAME", help=text)
    group.add_argument("--inception-weights", type=Path, metavar="FILE", help="the published weights of FID's network")
    add_count(group, "--bits", 0, "images for bits/dim (default: 64; 0: none)")
    group = parser.add_argument_group("which images")
    add_count(group, "-n", 1, f"how many (default: all; a model draws as many as the reference has, at most {MOST:,})")
    add_seed(group)
    add_count(group, "--repeat", 1, "mean and standard deviation over K seeds, from --seed on (default: 1)", "K")
    add_device(group)
    add_fields(parser, SampleConfig, "how a model draws")
    group = parser.add_argument_group("where to")
    text = "a .json file; the plot stands beside it (default: in RUN/evaluation, else evaluation-NAME.json)"
    group.add_argument("--out", type=Path, metavar="FILE", help=text)
    add_overwrite(group)


def run(typed: Namespace) -> None:
    from undiffuse.runtime.process_group import joined

    with joined() as group:
        measure(vars(typed), group)


def measure(options: dict[str, Any], group: Group) -> None:
    """Check, measure, print, and write the plot and then the figures; rank 0 speaks and writes."""
    from undiffuse.evaluation.images import check_fit
    from undiffuse.evaluation.quality.bits import measure_bits
    from undiffuse.evaluation.quality.evaluate import QualitySettings, check_counts, evaluate
    from undiffuse.evaluation.quality.plot import plot
    from undiffuse.evaluation.quality.reference import check_comparable
    from undiffuse.evaluation.quality.report import default_file, table, to_text
    from undiffuse.model.student_request import check_denoises
    from undiffuse.provenance.png import write_text

    model = open_model(options, group)
    if model is not None and options.get("bits"):
        check_denoises(model.config, "bits/dim by the bound")
    with group.main_first():
        reference = open_reference(options, model)
        subject = open_subject(options, model, reference)
        held_out = reference.dataset
        if model is not None and "held_out" in options:
            held_out = prepared(options, options["held_out"], model)
            check_fit(held_out.info, model.info)
    check_comparable(subject.info, reference.info)
    check_counts(subject, reference)
    settings = QualitySettings(options.get("seed", 0), options.get("repeat", 1))
    overwrite = "overwrite" in options
    if "out" in options:
        check_out(options["out"], overwrite)  # before a classifier is trained, too
    extractors = open_extractors(options, reference, group)
    names = [one.identity.name for one in extractors]
    out: Path = options.get("out") or default_file(subject, reference.info.name, names)
    check_out(out, overwrite)
    quality = evaluate(subject, reference, extractors, settings, progress=group.is_main, group=group)
    if not group.is_main:
        return
    count = options.get("bits", 64)
    if model is not None and count:
        quality = quality.with_bits(measure_bits(model, held_out, count, seed=settings.seed, progress=True))
    with said_afterwards(lambda: print(table(quality))):
        write_text(out.with_suffix(".svg"), plot(quality), overwrite)
        write_text(out, to_text(quality), overwrite)  # last: it says that there is an evaluation
    print(f"\n{out}: the figures with everything they depend on; {out.with_suffix('.svg').name}: the plot")


def open_model(options: dict[str, Any], group: Group) -> AnyModel | None:
    """The model that is judged; None for given images."""
    if is_subject_model(options["SUBJECT"], group.is_main):
        return load_to_draw(options, group, "SUBJECT")
    check_images(options, "bits", "held_out")
    return None


def check_images(options: dict[str, Any], *of_models: str) -> None:
    """Check that given images are there, and no option beside them that is for models alone."""
    from undiffuse.data.preparation.named import typed_source
    from undiffuse.data.preparation.open_source import open_source

    options["SUBJECT"] = typed_source(options["SUBJECT"], quiet=True)
    open_source(options["SUBJECT"])  # says what is near, if it is not there
    for name in (*of_models, *sections(SampleConfig)):
        if name in options:
            raise UndiffuseError(
                f"{flag_of(name)} is for a model, and '{options['SUBJECT']}' is none: images are taken as they are"
            )


def prepared(options: dict[str, Any], source: str, model: AnyModel | None) -> Dataset:
    """Images prepared as the run's own were, unless the options say otherwise."""
    from undiffuse.data.preparation.prepare import prepare

    given = typed_preparation(options)
    return prepare(replace(model.config.data.of_others(source) if model else DataConfig(source=source), **given))


def open_reference(options: dict[str, Any], model: AnyModel | None) -> Reference:
    """The images that --reference names, else the model's own training data."""
    from undiffuse.evaluation.quality.reference import Reference

    if "reference" in options:
        dataset = prepared(options, options["reference"], model)
        own = model is not None and model.info.learned(dataset.info)
        return Reference(dataset, "the run's own training data" if own else "given")
    if model is None:
        raise UndiffuseError(
            f"Images are measured against real ones: undiffuse evaluate {quoted(options['SUBJECT'])} --reference DATA"
        )
    if not model.info.fingerprint:
        raise UndiffuseError(
            f"{options['SUBJECT']} does not say what it learned from: name real images by --reference DATA"
        )
    source = model.config.data.source
    try:
        dataset = prepared(options, source, model)
    except UndiffuseError as error:
        raise UndiffuseError(
            f"The run's own training data cannot be the reference: {error}; name one by --reference"
        ) from None
    if model.info.learned(dataset.info):
        beside = ", without the samples of another model that it learned beside them" if model.info.new else ""
        return Reference(dataset, f"the run's own training data{beside}")
    return Reference(dataset, "named as the run's training data, but changed since")


def open_subject(options: dict[str, Any], model: AnyModel | None, reference: Reference) -> ModelSamples | DatasetImages:
    from undiffuse.cli.sample import how
    from undiffuse.evaluation.quality.image_source import DatasetImages, ModelSamples

    seed = options.get("seed", 0)
    if model is None:
        return DatasetImages.of(prepared(options, options["SUBJECT"], None), options.get("n"), seed)
    return ModelSamples(model.plan(**how(options)), options.get("n", min(MOST, reference.info.count)), seed)


def open_extractors(options: dict[str, Any], reference: Reference, group: Group) -> list[Extractor]:
    """The extractors that were named, else the best at hand."""
    from undiffuse.evaluation.features.make import default_extractor, make_extractor
    from undiffuse.runtime.devices import choose_device

    device = choose_device(options.get("device", "auto"), group)
    weights = options.get("inception_weights")
    if "extractor" in options:
        typed = options["extractor"]
        names = [typed] if Path(typed).is_file() else list(dict.fromkeys(typed.split(",")))
    else:
        name, why = default_extractor(reference=reference.dataset, inception_weights=weights)
        if group.is_main:
            print(f"extractor  {name}: {why}")
        names = [name]
    how: dict[str, Any] = {"reference": reference.dataset, "inception_weights": weights, "device": device}
    with group.main_first():  # what has to be trained first is trained once
        return [make_extractor(name, progress=group.is_main, **how) for name in names]


def check_out(out: Path, overwrite: bool) -> None:
    """Check the place of the figures: a .json file, nothing there yet."""
    from undiffuse.provenance.png import check_free

    if out.suffix != ".json":
        raise UndiffuseError(f"--out should end in .json, and '{out}' does not")
    for path in (out, out.with_suffix(".svg")):
        check_free(path, overwrite)
