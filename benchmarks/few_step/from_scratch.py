"""Few evaluations by networks that never had a teacher, each trained equally long from random weights.

    python -m benchmarks.few_step.from_scratch --out docs/measure/few-step.json --minutes 30 --training-seeds 0 1 2
    python -m benchmarks.few_step.from_scratch --out other.json --minutes 10 meanflow

    plain     the model's own recipe, drawn by its best sampler: what the others are to beat
    shortcut  a jump is two of its own jumps of half the length, the shortest are learned from the data
              (Frans et al. 2024, https://arxiv.org/abs/2410.12557)
    meanflow  the mean velocity between two times, by the identity that it fulfils
              (Geng et al. 2025, https://arxiv.org/abs/2505.13447)
    imf       the same along the network's own velocity (Geng et al. 2025, https://arxiv.org/abs/2512.02012)

All have the network, the optimiser, the batch, the averages and the classes of a model, which is that of digits or one
of other data (study.py). A minute is one of the processor's time of one core, so that a busy machine costs little. Rows
join the table of students.py by the same judge, and what is trained or measured already is not made again; a training
that broke off begins anew. Minutes do not tell rows apart, so a table has the rows of one number of them, and a folder
of results those of one model.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.few_step.objectives import MeanFlow, Shortcut
from benchmarks.few_step.study import Study, add_options
from benchmarks.few_step.table import Table, describe, key_of
from undiffuse.config.distillation import JumpConfig, NoDistillation, student_of
from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.data.stream import open_data
from undiffuse.diffusion.denoiser import Denoiser, NetworkDenoiser, noise_angle
from undiffuse.diffusion.distillation.times import Walk
from undiffuse.diffusion.losses import Loss, Objective, UniformWeight
from undiffuse.diffusion.parameterization import V
from undiffuse.diffusion.schedules import RectifiedFlow
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.factories.schedule import make_schedule
from undiffuse.model import Model, build_model
from undiffuse.runtime.durable_files import write_durably
from undiffuse.runtime.safe_tensors import check_tensors, from_bytes, to_bytes
from undiffuse.training.batches import Data
from undiffuse.training.budget import measure_step
from undiffuse.training.build import make_train_state, make_train_step
from undiffuse.training.loop import TrainState, TrainStep, training
from undiffuse.training.pace import Pace, Timer
from undiffuse.training.step_plan import Decision

STEPS = (4, 2, 1)
SHORTEST = 128
"""Steps of the shortest jumps' walk, as in the paper."""
PLAIN = {4: "unipc2", 2: "ddim", 1: "ddim"}
"""The best honest sampler of an ordinary model by number of steps; with two all of the ODE's are DDIM."""
SLOW = 20.0
"""The highest time that a network of mean velocities sees. Its embedding has frequencies up to 1, so a derivative by
time is at most some dozens; in the usual units, up to 1,000, it would be mostly the embedding's ripples."""
MEASURING = 3.0
"""Seconds in which the speed is measured; they count."""


@dataclass
class SlowModel(Model):
    """A model on the straight line whose network sees t as the angle of its noise, from 0 to `SLOW`."""

    @property
    def denoiser(self) -> NetworkDenoiser:
        denoiser = super().denoiser
        denoiser.time_input = lambda schedule, t: noise_angle(schedule, t) * (SLOW / 1000)
        return denoiser


@dataclass(frozen=True)
class Way:
    """How a network learns to draw in few evaluations.

    Args:
        model: from settings and data, untrained.
        loss: of that model and the same with averaged weights; it knows its law of t. None: as the settings say.
    """

    model: Callable[[TrainConfig, DataInfo], Model]
    loss: Callable[[Model, Denoiser], Shortcut | MeanFlow] | None = None


def _jumping(config: TrainConfig, walk: Walk) -> TrainConfig:
    """The settings of a network that is told where its step ends and walks so."""
    own = walk[:: len(walk) // max(STEPS)]
    return replace(config, distillation=JumpConfig(teacher_times=walk, student_times=own, student_steps=STEPS))


def _on_chain(config: TrainConfig, info: DataInfo) -> Model:
    walk = make_timesteps(make_schedule(config.diffusion), SHORTEST)[:-1]
    return build_model(override(_jumping(config, tuple(walk.tolist())), parameterization="v"), info)


def _on_line(config: TrainConfig, info: DataInfo) -> Model:
    config = override(_jumping(config, (1.0, 0.75, 0.5, 0.25)), parameterization="flow", time_input="log-snr")
    return SlowModel(build_model(config, info).network, RectifiedFlow(), config, info)


def _shortcut(model: Model, averaged: Denoiser) -> Shortcut:
    student = student_of(model.config.distillation)
    assert student is not None
    return Shortcut(Objective(V, UniformWeight()), student.teacher_times, averaged)


WAYS: Mapping[str, Way] = {
    "plain": Way(build_model),
    "shortcut": Way(_on_chain, _shortcut),
    "meanflow": Way(_on_line, lambda model, averaged: MeanFlow()),
    "imf": Way(_on_line, lambda model, averaged: MeanFlow(own=True)),
}


def averaged(model: Model, state: TrainState) -> Model:
    """The model with the averaged weights, the very tensors that the training updates."""
    network = copy.deepcopy(model.network).requires_grad_(False)
    for parameter, average in zip(network.parameters(), next(iter(state.ema.averages.values())), strict=True):
        parameter.data = average
    return model.with_network(network.eval())


def pieces(way: Way, model: Model, data: Data) -> tuple[TrainStep, TrainState]:
    """The package's own training of a model, with another objective where there is one."""
    ordinary = replace(model, config=replace(model.config, distillation=NoDistillation()))
    state, step = make_train_state(ordinary), make_train_step(ordinary, data, total=1)
    if way.loss is None:
        return step, state
    loss = way.loss(model, averaged(model, state).denoiser)
    assert isinstance(loss, Loss)
    state.time_law = loss.law()
    return replace(step, model=model, denoiser=model.denoiser, objective=loss, team=None), state


@dataclass(frozen=True)
class Trained:
    """A trained model, its steps, and minutes of the processor."""

    model: Model
    steps: int
    minutes: float


def train(way: Way, config: TrainConfig, data: Data, minutes: float, say: Callable[[str], None] = print) -> Trained:
    """Train for so many minutes of the processor, the learning rate falling to 0 at their end."""
    timer, budget = Timer(time.process_time), 60 * minutes
    model = way.model(config, data.info)
    step, state = pieces(way, model, data)
    seconds = measure_step(step, state, min(MEASURING, budget / 10), timer.clock)
    total = max(2, math.floor((budget - timer.spent) / seconds))
    step.plan.decide(Decision(0, 0.0, total, spent=timer.spent))
    say(f"a step takes {1000 * seconds:.0f} ms: {total:,} steps fit into {minutes:g} minutes")
    pace, told = Pace(step.plan, timer, budget, seconds), timer.spent
    for result in training(step, state):
        if decision := pace.decide(result.step):
            step.plan.decide(decision)
        if timer.spent - told > budget / 10:
            told = timer.spent
            say(f"step {result.step:,} of {step.plan.total:,}, {told / 60:.1f} minutes, loss {result.loss:.4g}")
    return Trained(averaged(model, state), state.step, timer.spent / 60)


def trained(name: str, seed: int, minutes: float, data: Data, config: TrainConfig, folder: Path) -> Trained:
    """The model of a way by one training seed, from its file, or trained and written there."""
    path = folder / f"{name}-{minutes:g}-minutes-seed-{seed}.safetensors"
    config, about = replace(config, loop=replace(config.loop, seed=seed)), path.with_suffix(".json")
    if not (path.exists() and about.exists()):
        made = train(
            WAYS[name], config, data, minutes, lambda words: print(f"{name}, seed {seed}: {words}", flush=True)
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, to_bytes(made.model.network.state_dict()))
        write_durably(about, json.dumps({"steps": made.steps, "minutes": made.minutes}).encode())
    model, contents = WAYS[name].model(config, data.info), path.read_bytes()
    tensors = from_bytes(contents, path)
    check_tensors(tensors, model.network.state_dict(), str(path))
    model.network.load_state_dict(tensors)
    model.network.eval()
    model.provenance["sha256"] = hashlib.sha256(contents).hexdigest()
    return Trained(model, **json.loads(about.read_text()))


def walks(name: str, seed: int, config: TrainConfig, n: int) -> list[tuple[dict[str, Any], SampleConfig]]:
    """The rows of a model: their keys, and how its samples are drawn."""
    student, found = student_of(config.distillation), []
    for steps in STEPS:
        sampler = student.sampler if student else PLAIN[steps]
        spacing = "" if student else "trailing"
        settings = student.walk(steps) if student else {"sampler": sampler, "spacing": spacing, "steps": steps}
        method = f"{name} from scratch"
        key = key_of(method=method, training_seed=seed, sampler=sampler, spacing=spacing, steps=steps, n=n)
        found.append((key, SampleConfig.of(**settings)))
    return found


def fill(table: Table, study: Study, data: Data, names: list[str], seeds: list[int], minutes: float) -> None:
    """Train what is not there, and add the rows that the table lacks.

    Args:
        data: what the study's model learned, by whose settings all are trained.
        minutes: for each training.
    """
    config = study.model.config
    for seed in seeds:
        for name in names:
            built = WAYS[name].model(config, data.info)
            todo = [(key, how) for key, how in walks(name, seed, built.config, study.n) if not table.has(key)]
            if not todo:
                continue
            made = trained(name, seed, minutes, data, config, study.results / "from-scratch")
            for key, how in todo:
                row = study.measure(made.model, how, seed=0)
                extra = {"minutes": round(made.minutes, 1), "updates": made.steps}
                table.add(key | row | extra, study.judge.sha256)
                print(
                    f"{describe(key)}: FD {row['fd']:g}, recall {row['recall']:.3f}, {made.steps:,} steps", flush=True
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all without any: {', '.join(WAYS)}")
    add_options(parser, threads=1)
    parser.add_argument("--minutes", type=float, default=30.0, help="of one core, for each training (default 30)")
    parser.add_argument("--training-seeds", type=int, nargs="+", default=[0], help="(default 0)")
    parser.set_defaults(faithful=0)  # there is no teacher to be faithful to
    args = parser.parse_args()

    if unknown := set(args.names) - WAYS.keys():
        parser.error(f"there is no way '{min(unknown)}', but {', '.join(WAYS)}")
    study = Study.of(args)
    settings = study.model.config.data
    data = open_data(replace(settings, source=study.data or settings.source))
    table = study.open_table(args.out)
    fill(table, study, data, args.names or list(WAYS), args.training_seeds, args.minutes)
    print(table.markdown())


if __name__ == "__main__":
    main()
