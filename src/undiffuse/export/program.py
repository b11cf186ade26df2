"""The network alone as a program of torch.export, and what a program needs to be told to sample with it.

The program is ``(x, time, *conditions) -> F``, float32, any number of samples, of the size that the model has. What
the numbers mean stands in a `description`, JSON that goes with the program: one row for each time at which a walk may
stop, with everything that the equations need there, so that whoever reads it knows nothing of schedules and
parameterizations:

    x_t = alpha x0 + sigma eps,    F(scale x_t, time) = p x0 + q eps
"""

from __future__ import annotations

import io
import itertools
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.conditioning.student import OF_STUDENTS
from undiffuse.config.distillation import StudentConfig, student_of
from undiffuse.config.students import walking_student
from undiffuse.diffusion.denoiser import TIME_INPUTS
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.diffusion.schedules import DiscreteSchedule
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.errors import UndiffuseError
from undiffuse.model import Model
from undiffuse.model.micro_batch import micro_batch
from undiffuse.networks.conditions import Condition
from undiffuse.version import __version__

FORMAT, STUDENT_FORMAT = 1, 2
"""Version of the description; whoever reads the first alone knows nothing of a student's walk."""
KEY = "undiffuse"
"""Under which it stands in a file's metadata."""
ROWS = 1000
"""Times that a continuous process is described at."""
TOLERANCE = 1e-3
"""Of the largest output: beyond it, what was exported is something else. Rounding is a thousandth of that."""
BATCHES, SEEDS = (1, 2, 5), 3
"""What outputs are compared over."""

Run = Callable[[Sequence[Tensor]], Tensor]


class Positional(nn.Module):
    """A network whose conditions are told in order, without names."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.names = tuple(names)

    def forward(self, x: Tensor, time: Tensor, *told: Tensor) -> Tensor:
        y: Tensor = self.network(x, time, **dict(zip(self.names, told, strict=True)))
        return y


def names(model: Model) -> list[str]:
    """The names of the program's inputs."""
    return ["x", "time", *(condition.name for condition in model.conditions)]


def examples(model: Model, batch: int, seed: int = 0) -> list[Tensor]:
    """Inputs of every kind: noise, times from all of the walk, conditions of which some are null."""
    dice = torch.Generator().manual_seed(seed)
    rows = _times(model)
    times = rows[torch.randint(len(rows), (batch,), generator=dice)]
    time = TIME_INPUTS[model.config.diffusion.time_input](model.schedule, times).float()
    x = torch.randn(batch, *model.shape, generator=dice)
    return [x, time, *(_example(condition, batch, dice) for condition in model.conditions)]


def _example(condition: Condition, batch: int, dice: torch.Generator) -> Tensor:
    if condition.kind == "class":
        return torch.randint(condition.size + 1, (batch,), generator=dice)
    value = torch.randn(batch, *([3] if condition.kind == "tokens" else []), condition.size, generator=dice)
    value[0] = torch.nan
    return value


def program(model: Model) -> torch.export.ExportedProgram:
    """The network as a program; the number of samples, and of a text's pieces, is free."""
    batch = torch.export.Dim("batch", min=1)
    alone = {0: batch}
    free = {"class": alone, "vector": alone, "tokens": {0: batch, 1: torch.export.Dim("length", min=1)}}
    told = tuple(free[condition.kind] for condition in model.conditions)
    shapes = ({0: batch}, {0: batch}, *((told,) if told else ()))
    network = Positional(model.network, names(model)[2:]).eval()
    with torch.no_grad(), quiet():
        made = torch.export.export(network, tuple(examples(model, 2)), dynamic_shapes=shapes)
    for node in made.graph.nodes:
        node.meta.pop("stack_trace", None)  # files would hold the paths of the machine that made them
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn, log and print on stdout what concerns their authors."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def check_parity(model: Model, run: Run) -> str:
    """Compare a program's outputs with the network's, over batches and times; the line to print."""
    furthest, largest = 0.0, 0.0
    for found, expected in _outputs(model, run):
        furthest = max(furthest, float((found - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
    if not furthest <= TOLERANCE * largest:
        raise UndiffuseError(
            f"What was exported is not the network: its outputs, up to {largest:.3g}, differ by up to {furthest:.3g}"
        )
    return (
        f"parity  max |difference| from PyTorch {furthest:.1e}, outputs up to {largest:.2g}; "
        f"batches of {', '.join(map(str, BATCHES))}, {SEEDS * sum(BATCHES)} times"
    )


def difference(model: Model, run: Run) -> float:
    """The root mean square of the outputs' differences from the network's, in units of the outputs' own."""
    apart, own = 0.0, 0.0
    for found, expected in _outputs(model, run):
        apart += float((found - expected).square().sum())
        own += float(expected.square().sum())
    return math.sqrt(apart / own) if own else math.inf


def _outputs(model: Model, run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    """A program's outputs and the network's, over batches and times."""
    network = Positional(model.network, names(model)[2:]).eval()
    for batch, seed in itertools.product(BATCHES, range(SEEDS)):
        inputs = examples(model, batch, seed)
        with torch.no_grad():
            expected = network(*inputs)
        yield run(inputs), expected


def _times(model: Model) -> Tensor:
    """Times at which a walk may stop, from data to noise: a student's are its own."""
    if student := walking_student(model.config):
        return torch.tensor(student.student_times, dtype=torch.float64).flip(0)
    count = model.schedule.T if isinstance(model.schedule, DiscreteSchedule) else ROWS
    return make_timesteps(model.schedule, count, "trailing")[:-1].flip(0)


def describe(model: Model) -> dict[str, Any]:
    """All that a sampler must know, as plain values; see the head of this file and docs/use/formats.md."""
    diffusion, info = model.config.diffusion, model.info
    row = make_parameterization(diffusion.parameterization, diffusion.sigma_data)
    times = _times(model)
    q_t = model.schedule(times)
    p, q = row.row(q_t)
    columns = {
        "time": TIME_INPUTS[diffusion.time_input](model.schedule, times),
        "alpha": q_t.alpha,
        "sigma": q_t.sigma,
        "p": p,
        "q": q,
        "scale": row.input_scale(q_t),
    }
    end = model.schedule(torch.zeros((), dtype=torch.float64))
    student = walking_student(model.config)
    return {
        "format": STUDENT_FORMAT if student else FORMAT,
        "made_by": f"undiffuse {__version__}",
        "weights_sha256": model.provenance.get("sha256", ""),
        "micro_batch": micro_batch(model.config.network.activations(info.spatial), "cpu"),
        "shape": list(info.shape),
        "dtype": info.dtype,
        "low": info.low,
        "high": info.high,
        "classes": list(info.classes),
        "conditions": [{"name": c.name, "kind": c.kind, "size": c.size} for c in model.conditions],
        "predicts": row.name,
        "prior_std": model.schedule.prior_std,
        "end": {"alpha": float(end.alpha), "sigma": float(end.sigma)},
        "rows": {name: column.tolist() for name, column in columns.items()},
        **({"student": _walk(student, model.codec.bounded)} if student else {}),
    }


def _walk(student: StudentConfig, bounded: bool) -> dict[str, Any]:
    """How a student is sampled: ``steps`` in how many, first in how many it is where nobody says."""
    return {
        "sampler": student.sampler,
        "steps": list(student.student_steps),
        "threshold": student.teacher_threshold if bounded else "none",
        "guidance": student.guidance_unsaid if student.guidance_range else student.guidance_inside,
        "scales": list(student.guidance_range),
        "distilled_from": {"name": Path(student.origin).name, "sha256": student.origin_sha256},
    }


def check_model(model: Model) -> Model:
    """The model on the CPU, ready to be exported."""
    for condition in model.conditions:
        if condition.kind not in ("class", "tokens") and condition.name not in OF_STUDENTS:
            raise UndiffuseError(f"A model that is told '{condition.name}', {condition.kind}, cannot be exported yet")
    student = student_of(model.config.distillation)
    if student and student.guidance_range and not student.student_steps:
        raise UndiffuseError(
            "A model that is told its guidance cannot be exported yet: export a student of fixed steps, or its "
            f"teacher, {student.first_teacher}"
        )
    if student and student.student_steps and student.teacher_threshold == "dynamic":
        raise UndiffuseError(
            "The script beside an export keeps x0 within [-1, 1] or lets it be, and this student was distilled with "
            "`threshold=dynamic`: use `to=file`"
        )
    return model.to("cpu")


def check_path(path: Path, suffix: str) -> None:
    if path.suffix != suffix:
        raise UndiffuseError(f"{path} should end in {suffix}")
