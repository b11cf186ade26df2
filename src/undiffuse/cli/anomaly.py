"""Which images a model finds strange, and where: scores, heat maps, and how well they tell two kinds apart.

  undiffuse anomaly runs/NAME photos/ --normal heldout/
  undiffuse anomaly runs/NAME heldout/ --against strange/
  undiffuse anomaly runs/NAME labelled/ --anomalies scratch,dent

Scores are standardised on normal images that the model was not trained on: those of --normal; else, a half of the
normal ones at random (with --against, DATA; with --anomalies, the other classes), which is then not judged; else DATA
itself, for which strange ones must be rare. Likelihood alone is a poor score; docs/measure/anomaly.md has what was
measured.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from undiffuse.cli.data_options import add_data
from undiffuse.cli.evaluation_options import add_images, add_machine, load_alone, open_images, table_file
from undiffuse.cli.options import add_choice, add_count, add_overwrite
from undiffuse.cli.parser import Parser
from undiffuse.cli.write_then_print import said_afterwards
from undiffuse.errors import UndiffuseError, counted, perhaps

if TYPE_CHECKING:
    from undiffuse.evaluation.anomaly.scores import Array, Features
    from undiffuse.evaluation.images import Images

SCORES = Literal["ensemble", "structure", "typicality", "reconstruction", "bound", "ode"]


def configure(parser: Parser) -> None:
    parser.surplus = "strange images are named by --against {}, normal ones by --normal {}"
    add_images(parser)
    group = parser.add_argument_group("what is normal, and what is not")
    add_data(group, "--normal", "normal images that the model was not trained on")
    add_data(group, "--against", "strange images; those of DATA are normal then")
    group.add_argument(
        "--anomalies", metavar="CLASS,...", help="classes of DATA that are strange; names with commas in quotes"
    )
    group = parser.add_argument_group("how")
    add_choice(group, "--score", SCORES, "what images are ranked by (default: ensemble, which measured best)")
    add_count(group, "--draws", 1, "noises a level (default: 8)")
    add_count(group, "--denoise-steps", 1, "of a reconstruction (default: 1)")
    add_count(group, "--timesteps", 0, "of the bound; 0 for no bound (default: 25)")
    group.add_argument("--ode", action="store_true", help="the ODE's likelihood, too: about ten times the time")
    add_machine(group)
    group = parser.add_argument_group("where to")
    group.add_argument("--out", type=Path, metavar="FILE", help=".csv or .json (default: RUN/anomaly/DATA.csv)")
    add_count(group, "--pictures", 0, "strangest ones, with heat, in a .png (default: 16)")
    add_overwrite(group)


@dataclass(frozen=True)
class Judged:
    """Images and what was measured of them; strange is None where nobody said."""

    images: Images
    features: Features
    strange: list[bool] | None = None

    def take(self, rows: list[int]) -> Judged:
        import numpy as np

        strange = self.strange and [self.strange[row] for row in rows]
        return Judged(self.images.take(rows), self.features.take(np.array(rows, np.int64)), strange)


def run(typed: Namespace) -> None:
    import numpy as np

    from undiffuse.evaluation.anomaly.evaluate import DEFAULT_SCORE, check_pictures, features, heat_picture
    from undiffuse.evaluation.anomaly.scores import ReconstructionSettings, Standard
    from undiffuse.evaluation.likelihood.evaluate import csv_text, json_text
    from undiffuse.provenance.png import check_free, write_png, write_text

    options = vars(typed)
    score = options.get("score", DEFAULT_SCORE)
    if "against" in options and "anomalies" in options:
        raise UndiffuseError("Strange images are named by --against or by --anomalies, not by both")
    if score == "ode" and "ode" not in options:
        raise UndiffuseError("--score ode needs --ode, which measures it")
    if score == "bound" and options.get("timesteps") == 0:
        raise UndiffuseError("--score bound needs --timesteps of at least 2")
    model = load_alone(options, "an anomaly score")
    look = ReconstructionSettings(
        draws=options.get("draws", 8), steps=options.get("denoise_steps", 1), seed=options.get("seed", 0)
    )
    keys = {"data": "DATA", "normal": "normal", "against": "against"}
    sets = {name: open_images(options, options[key], model) for name, key in keys.items() if key in options}
    strange = _strange_classes(options, sets["data"])
    out, count = table_file(options, model, "anomaly"), options.get("pictures", 16)
    picture = out.with_suffix(".png")
    for path in (out, picture) if count else (out,):
        check_free(path, "overwrite" in options)
    if count:
        check_pictures(sets["data"])
    more = {"timesteps": options.get("timesteps", 25), "with_ode": "ode" in options, "batch": options.get("batch")}
    measured = {}
    for name, images in sets.items():
        measured[name] = Judged(images, features(model, images, look, progress=True, **more))
    normal, judged = _divide(measured, strange, look.seed)
    standard = Standard(normal.features, len(look.fine))
    scores = [standard.scores(one.features) for one in judged]
    table = _table(judged, scores)
    everything = np.concatenate([one[score] for one in scores])
    with said_afterwards(lambda: _say(normal, judged, scores, score)):
        content = json_text({"images": table}) if out.suffix == ".json" else csv_text(table)
        write_text(out, content, "overwrite" in options)
        if count:
            places = [(one.images, row) for one in judged for row in range(len(one.images))]
            shown = [places[k][0].take([places[k][1]]) for k in everything.argsort()[::-1][:count]]
            heat = heat_picture(model, shown, look, normal.features.log_error)
            write_png(picture, heat, overwrite="overwrite" in options, sheet="a map of anomalies")
    print(f"file    {out}{f' and {picture}' if count else ''}")


def _strange_classes(options: dict[str, Any], images: Images) -> list[bool] | None:
    """Of each image, whether its class is one of --anomalies."""
    if "anomalies" not in options:
        return None
    from undiffuse.conditioning.class_names import split_names

    classes, labels = images.dataset.info.classes, images.dataset.labels
    if labels is None:
        info = images.dataset.info
        raise UndiffuseError(
            f"--anomalies names classes, and '{info.name}' has none: {info.to_have_classes}; or use --against"
        )
    wanted = split_names(options["anomalies"], classes)
    for name in wanted:
        if name not in classes:
            raise UndiffuseError(f"The data have no class '{name}'{perhaps(name, classes)}")
    return [classes[labels[index]] in wanted for index in images.indices]


def _divide(measured: dict[str, Judged], strange: list[bool] | None, seed: int) -> tuple[Judged, list[Judged]]:
    """The normal images and those judged by them: see the top of this file."""
    from undiffuse.evaluation.anomaly.evaluate import split

    data, other = measured["data"], measured.get("against")
    if other is None and strange is None:
        return measured.get("normal", data), [data]
    strange = strange or [False] * len(data.features)
    normal_rows = [row for row, is_strange in enumerate(strange) if not is_strange]
    kept = range(len(normal_rows))
    normal = measured.get("normal")
    if normal is None:
        half, kept = (list(part) for part in split(len(normal_rows), seed))  # type: ignore[assignment]
        normal = data.take([normal_rows[k] for k in half])
    rows = sorted([normal_rows[k] for k in kept] + [row for row, is_strange in enumerate(strange) if is_strange])
    judged = [Judged(data.images, data.features, strange).take(rows)]
    if other is not None:
        judged.append(Judged(other.images, other.features, [True] * len(other.features)))
    return normal, judged


def _table(judged: list[Judged], scores: list[dict[str, Array]]) -> dict[str, list[Any]]:
    table: dict[str, list[Any]] = {"data": [], "index": [], "name": []}
    if judged[0].strange is not None:
        table["strange"] = []
    for one, found in zip(judged, scores, strict=True):
        names = one.images.dataset.names()
        table["data"] += [one.images.dataset.info.name] * len(one.features)
        table["index"] += one.images.indices
        table["name"] += [names[index] for index in one.images.indices]
        if one.strange is not None:
            table["strange"] += one.strange
        for name, values in found.items():
            table.setdefault(name, []).extend(values.tolist())
    return table


def _say(normal: Judged, judged: list[Judged], scores: list[dict[str, Array]], chosen: str) -> None:
    import numpy as np

    from undiffuse.evaluation.anomaly.auroc import auroc

    print(f"normal  {counted(len(normal.features), 'image')} of {normal.images.dataset.info.name}")
    for one in judged:
        print(f"judged  {counted(len(one.features), 'image')} of {one.images.dataset.info.name}")
    if judged[0].strange is None:
        values = scores[0][chosen]
        above = int((values > 3).sum())
        print(f"score   {chosen}: {counted(above, 'image')} above 3 standard deviations, {values.max():.1f} at most")
        return
    strange = np.array([flag for one in judged for flag in one.strange or []])
    print(f"AUROC of {int(strange.sum()):,} strange among {len(strange):,}, with 95 % intervals:")
    for name in scores[0]:
        values = np.concatenate([found[name] for found in scores])
        mark = "   <- ranked by" if name == chosen else ""
        print(f"  {name:<15}{auroc(values[~strange], values[strange]):.3f}{mark}")
