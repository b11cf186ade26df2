"""The model card of a model on the hub: README.md, with the lines at its head that the hub reads."""

from __future__ import annotations

import json

from undiffuse.checkpoints.foreign.diffusers.folder import obstacles
from undiffuse.config.distillation import student_of
from undiffuse.config.files import to_yaml
from undiffuse.config.schema import TrainConfig
from undiffuse.errors import counted
from undiffuse.export.preconditions import without_paths
from undiffuse.model import Model
from undiffuse.model.student_words import in_words
from undiffuse.version import __version__

OURS = """```python
import undiffuse

samples = undiffuse.load({name}).sample(16, seed=0){more}
```"""
PIPELINE = """```python
import diffusers

pipeline = diffusers.DDPMPipeline.from_pretrained({name})
```

"""
WITH_CODE = """```python
import diffusers

pipeline = diffusers.DiffusionPipeline.from_pretrained({name}, trust_remote_code=True)
```

The code is in pipeline.py and unet/modeling.py, for diffusers' own classes cannot hold this network.

"""
STAGE = """```sh
undiffuse edit upscale {word} small.png
undiffuse cascade make BASE {word} --name NAME
```"""
"""The use of a stage of a cascade, which draws nothing by itself."""


def _distilled(config: TrainConfig) -> str:
    student = student_of(config.distillation)
    return f"| Distilled | {in_words(student)} |\n" if student else ""


def hub_card(model: Model, repo: str, to: str, samples: int) -> str:
    """Markdown that says what the model is, what it learned from, and how to use it.

    Args:
        to: format of the weights beside it.
        samples: number of those in samples.png; 0 where there is none.
    """
    config, info, process = without_paths(model.config), model.info, model.config.diffusion
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    weights = f"{model.provenance.get('weights', 'raw')}, after {counted(model.provenance.get('step', 0), 'step')}"
    task = "unconditional-image-generation"
    picture = f"\n![{counted(samples, 'sample')}, not chosen](samples.png)\n" if samples else ""
    classes = f" in {counted(len(info.classes), 'class', 'classes')}" if info.classes else ""
    count = f"{counted(info.count, 'sample')}{classes}" if info.count else "not known"
    usage, more = OURS, '\nsamples.grid().save("samples.png")'
    if config.conditions.upscale > 1:
        usage = STAGE
    elif to == "diffusers":
        usage, more = (WITH_CODE if obstacles(model.config, model.info) else PIPELINE) + OURS, ""
    return f"""---
library_name: {"undiffuse" if to == "file" else to}
pipeline_tag: {task}
tags:
- undiffuse
- diffusion
- ddpm
- {task}
---

# {repo.split("/")[1]}

A denoising diffusion model, written by undiffuse {__version__}.
{picture}
| | |
|---|---|
| Data | {json.dumps(info.name)}: {count} |
| Shape | {" x ".join(map(str, info.shape))} (channels first), {info.dtype} |
| Parameters | {parameters:,} |
| Process | {process.schedule}, T = {process.timesteps}, predicts {process.parameterization} |
| Told | {", ".join(config.conditions.condition) or "nothing"} |
{_distilled(config)}| Weights | {weights} |

Samples of a model are as biased as its data. Quality and memorisation were not measured for this card; `undiffuse
evaluate` and `undiffuse memorization` do so.

## Use

{usage.format(name=json.dumps(repo), word=repo, more=more)}

## Settings

```yaml
{to_yaml(config).rstrip()}
```
"""
