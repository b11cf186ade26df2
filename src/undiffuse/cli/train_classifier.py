"""Train a classifier of noisy images that leads a run's samples to a class.

  undiffuse train-classifier photos/ --run runs/photos
  undiffuse sample runs/photos --classifier runs/photos/classifier --class cats --guidance 2

The run itself need not know any classes. DATA is prepared as the run's data were.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields
from pathlib import Path

from undiffuse.checkpoints.run_lock import check_unlocked, claimed, is_claimable
from undiffuse.cli.data_options import data_word
from undiffuse.cli.fields_to_options import add_fields
from undiffuse.cli.parser import Parser
from undiffuse.config.training import ClassifierConfig
from undiffuse.errors import UndiffuseError, quoted
from undiffuse.runtime.durable_files import check_writable


def configure(parser: Parser) -> None:
    parser.add_argument(
        "DATA", type=data_word, help="labelled data: a folder of classes, an archive, an array file, or 'digits'"
    )
    group = parser.add_argument_group("for which model")
    group.add_argument("--run", type=Path, metavar="RUN", help="a run's folder or a checkpoint's")
    group.add_argument("--out", type=Path, metavar="DIR", help="where to (default: RUN/classifier)")
    add_fields(parser, ClassifierConfig, "how")


def run(typed: Namespace) -> None:
    from tqdm import tqdm

    from undiffuse.conditioning.class_names import as_typed
    from undiffuse.data.preparation.prepare import prepare
    from undiffuse.model import load
    from undiffuse.model.cascade import check_denoiser
    from undiffuse.training.classifier import classifier_settings, save_classifier, train_noisy_classifier

    options = vars(typed)
    if "run" not in options:
        raise UndiffuseError("This needs --run RUN, the model that the classifier is to lead")
    model = load(options["run"])
    check_denoiser(model, "guidance by a classifier")
    settings = ClassifierConfig(**{f.name: options[f.name] for f in fields(ClassifierConfig) if f.name in options})
    folder = options.get("out") or model.home / "classifier"
    check_unlocked(folder, "wait for it, or name another folder with --out")
    if not is_claimable(folder):
        raise UndiffuseError(f"{folder} is there already: delete it, or name another folder with --out")
    check_writable(folder)
    data = prepare(model.config.data.of_others(options["DATA"]))
    if data.info.shape != model.info.shape:
        raise UndiffuseError(f"{options['run']} makes data of the shape {model.info.shape}, got {data.info.shape}")
    config = classifier_settings(settings, model.config, model.config.data.of_others(options["DATA"]))
    with claimed(folder):
        with tqdm(total=settings.steps, desc="classifier", unit="step", disable=None) as bar:

            def advance(step: int, loss: float) -> None:
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

            learned = train_noisy_classifier(config, data, advance)
        save_classifier(learned, folder)
    shares = ", ".join(f"{share:.1%}" for share in learned.accuracy)
    print(f"{folder}: finds {shares} of {learned.images} held-out images, by quarters of t from data to noise")
    asked = f"--classifier {quoted(folder)} --class {quoted(as_typed(data.info.classes[:1]))} --guidance 2"
    print(f"undiffuse sample {quoted(options['run'])} {asked}")
