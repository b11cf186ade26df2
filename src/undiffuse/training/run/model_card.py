"""The model card: a run's README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from undiffuse.checkpoints.training_checkpoint import State
from undiffuse.config.conditioning import ConditionConfig
from undiffuse.config.distillation import student_of
from undiffuse.config.files import BUDGETS, to_yaml
from undiffuse.config.schema import TrainConfig
from undiffuse.config.training import StartConfig
from undiffuse.data.info import DataInfo
from undiffuse.errors import counted, quoted
from undiffuse.model import Model
from undiffuse.model.student_words import in_words, spent_in_words, walk_in_words
from undiffuse.training.callbacks.progress_line import duration
from undiffuse.version import __version__


def model_card(path: Path, model: Model, state: State, metrics: dict[str, Any]) -> str:
    """Markdown that says what the model is, what it learned from, how far it got, and how to use it.

    Args:
        metrics: the last line of metrics.jsonl about the loss; empty before the first.
    """
    config, info, process = model.config, model.info, model.config.diffusion
    shape = " x ".join(map(str, info.shape))
    used = "" if model.conditions else " (not used for training)"
    classes = f", in {counted(len(info.classes), 'class', 'classes')}{used}" if info.classes else ""
    drawn = f", {config.start.prior:,} of them drawn by `{config.start.start_from}`" if config.start.prior else ""
    refused = f"; {counted(info.refused, 'file')} could not be used" if info.refused else ""
    budget = next(
        f"{getattr(config.loop, name):,g} {name}" for name in BUDGETS if getattr(config.loop, name) is not None
    )
    progress = "Finished" if state.step == state.total else "Not finished"
    rates = ", ".join(map(str, config.ema.ema))
    return f"""# {path.name}

A denoising diffusion model made by undiffuse {__version__}, recipe `{config.recipe}`.

| | |
|---|---|
| Data | {info.name}: {counted(info.count, "sample")}{drawn}{classes}{refused} |
| Shape | {shape} (channels first), {info.dtype} |
| Data fingerprint | `{info.fingerprint}` |
| Parameters | {_parameters(model)} |
| Process | {process.schedule}, T = {process.timesteps}, predicts {process.parameterization} |
| Told | {_told(config.conditions, info)} |
| Started from | {_start(config.start)} |
{_distilled(config, state)}| Budget | {budget}: {counted(state.total, "step")} of {config.loop.batch} |
| Progress | {progress}: step {state.step:,}, {counted(state.images, "image")} in {duration(state.seconds)} |
| Steps skipped | {state.skipped} whose loss or gradient was not finite |
| Loss | {_losses(metrics)} |
| Averaged weights | {rates} |

The losses are training losses of this run's objective; they compare runs of equal settings and say nothing of how the
samples look. Quality was not measured here.

## Use

{_use(path, config.conditions)}

The newest checkpoint in `checkpoints/` holds everything that sampling needs; the averaged weights (the first rate) are
the ones that are sampled.

## Settings

```yaml
{to_yaml(config).rstrip()}
```
"""


def _parameters(model: Model) -> str:
    every = sum(parameter.numel() for parameter in model.network.parameters())
    if not (rank := model.config.lora.lora_rank):
        return f"{every:,}"
    learned = sum(parameter.numel() for parameter in model.network.parameters() if parameter.requires_grad)
    return f"{every - learned:,}, which stay as they are, and {learned:,} of adapters of rank {rank}, which learn"


def _start(start: StartConfig) -> str:
    if not start.start_from:
        return "random weights"
    return f"`{start.start_from}` ({start.start_weights}), sha256 `{start.start_sha256}`"


def _distilled(config: TrainConfig, state: State) -> str:
    student = student_of(config.distillation)
    if student is None:
        return ""
    return f"""| Distilled | {in_words(student)} |
| Drawn by | {walk_in_words(student)} |
| Evaluations | {spent_in_words(config, state.step)} |
"""


def _use(path: Path, conditions: ConditionConfig) -> str:
    if conditions.upscale > 1:
        return f"""```sh
undiffuse edit upscale {quoted(path)} small.png
undiffuse cascade make runs/BASE {quoted(path)} --name NAME
```"""
    return f"""```sh
undiffuse sample {quoted(path)} -n 64 --seed 0
```

```python
import undiffuse

samples = undiffuse.load({str(path)!r}).sample(16, seed=0).array
```"""


def _told(conditions: ConditionConfig, info: DataInfo) -> str:
    small = [f"the image made {conditions.upscale} times smaller"] if conditions.upscale > 1 else []
    numbers = {"vector": f"the numbers {', '.join(info.vectors)}"}
    return ", ".join([*small, *(numbers.get(name, name) for name in conditions.condition)]) or "nothing"


def _losses(metrics: dict[str, Any]) -> str:
    if metrics.get("loss") is None:
        return "none yet"
    quarters = ", ".join("-" if value is None else f"{value:.4g}" for value in metrics["loss_by_quarter"])
    return f"{metrics['loss']:.4g} at step {metrics['step']:,}; by quarters of t from data to noise: {quarters}"
