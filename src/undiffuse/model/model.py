"""A trained model: what a user holds, samples from and hands on.

A `Model` is a network with everything that gives its numbers a meaning: the process it was trained on, what it
predicts, and the shape and range of its data. It knows nothing of how it was trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from undiffuse.checkpoints.find import locate
from undiffuse.checkpoints.hub import hub_name
from undiffuse.checkpoints.model_file import SUFFIX, to_bytes
from undiffuse.checkpoints.pretrained import shipped
from undiffuse.checkpoints.saved_model import SavedModel
from undiffuse.checkpoints.training_checkpoint import read_settings
from undiffuse.conditioning.low_resolution import LowResSource
from undiffuse.conditioning.request import conditions_of
from undiffuse.conditioning.student import number_inputs
from undiffuse.config.keywords import SampleSettings
from undiffuse.config.sampling import Compute, SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.codec import Codec, codec_of
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import Denoiser, NetworkDenoiser
from undiffuse.diffusion.guidance import Clip
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError, in_one_sentence
from undiffuse.factories.network import build_network, drawing_settings, drawing_tensors
from undiffuse.factories.schedule import make_schedule
from undiffuse.model.adapters import put_on
from undiffuse.model.edits import EditsPictures
from undiffuse.model.micro_batch import micro_batch_of
from undiffuse.model.plan import DrawsByPlan, SamplePlan
from undiffuse.model.resolve import make_plan
from undiffuse.model.resources import Resources
from undiffuse.model.sample_objects import with_texts
from undiffuse.model.sample_request import passed
from undiffuse.model.student_request import check_typed
from undiffuse.networks.conditions import Condition
from undiffuse.provenance.adapter_names import AdapterName, adapters_in
from undiffuse.provenance.png import write_file
from undiffuse.runtime.compiling import CompiledEvaluations
from undiffuse.runtime.durable_files import PLACE
from undiffuse.runtime.precision import in_precision
from undiffuse.runtime.threads import in_threads
from undiffuse.runtime.torch_modes import own_modes


@dataclass
class Model(DrawsByPlan, EditsPictures):
    """A network and what it means.

    Args:
        network: on its device, in evaluation mode unless it is being trained.
        schedule: the process it was trained on.
        config: the settings it was made with.
        info: shape, range and statistics of its data.
        provenance: where it came from (run, step, weights and their sha256); empty for a new one.
        loaded_as: what `load` was asked for: the weights that settings, and so pictures, name.
        resources: what settings named and files held; each is read once.
    """

    network: nn.Module
    schedule: Schedule
    config: TrainConfig
    info: DataInfo
    provenance: dict[str, Any] = field(default_factory=dict)
    loaded_as: str = Compute.weights
    resources: Resources = field(default_factory=Resources, repr=False, compare=False)

    def __repr__(self) -> str:
        shape, config = " x ".join(map(str, self.info.shape)), self.config
        told = ", ".join(condition.name for condition in self.conditions)
        parts = [
            f"{shape} of {self.info.name or 'unknown data'}",
            f"{config.network.architecture} of {sum(p.numel() for p in self.network.parameters()):,} weights",
            f"predicts {config.diffusion.parameterization}",
            *([f"told {told}"] if told else []),
            *(
                [f"{self.provenance['checkpoint']} ({self.provenance['weights']})"]
                if "checkpoint" in self.provenance
                else []
            ),
        ]
        return f"Model({'; '.join(parts)})"

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def codec(self) -> Codec:
        """Between the data's own values and what is diffused."""
        return codec_of(self.info)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, *spatial) of what is diffused."""
        return self.codec.shape(self.info.shape)

    @property
    def denoiser(self) -> NetworkDenoiser:
        """The network as a denoiser; wrap it in guidance, hand it to samplers."""
        diffusion = self.config.diffusion
        row = make_parameterization(diffusion.parameterization, diffusion.sigma_data)
        inputs = number_inputs(self.config.distillation)
        return NetworkDenoiser(self.network, self.schedule, row, diffusion.time_input, inputs)

    @property
    def clipped(self) -> Denoiser:
        """The denoiser that samples are drawn by unless settings say otherwise: x0 stays in model space."""
        return Clip(self.denoiser) if self.codec.bounded else self.denoiser

    def evaluated(self, compute: Compute) -> NetworkDenoiser:
        """The denoiser as resolved settings have it evaluated: compiled or in threads, in their number format."""
        network = self._compiled if compute.compile else in_threads(self.network)
        return replace(self, network=in_precision(network, compute.precision)).denoiser

    @cached_property
    def _compiled(self) -> nn.Module:
        return CompiledEvaluations(self.network)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that the network takes; empty for an unconditional model."""
        return conditions_of(self.config, self.info)

    @property
    def micro_batch(self) -> int:
        """Samples per evaluation where settings do not say."""
        return micro_batch_of([self])

    def to(self, device: torch.device | str) -> Model:
        """Move the network to a device, in place."""
        self.network.to(device)
        return self

    def with_network(self, network: nn.Module) -> Model:
        """The model around another module of the same parameters; `resources` are shared."""
        return replace(self, network=network)

    @property
    def home(self) -> Path:
        """The folder for results of the model: the run's, or the checkpoint's where it stands alone.

        A model in one file or from the hub has no folder of its own, nor has one with adapters, and a package's may
        not be written to: there it is the working directory.

        Raises:
            UndiffuseError: the model was not loaded from one.
        """
        if "checkpoint" not in self.provenance:
            raise UndiffuseError("This model has no folder: load one with undiffuse.load('runs/NAME')")
        folder, adapters = Path(self.provenance["checkpoint"]), adapters_in(self.provenance["checkpoint"])[1]
        if adapters or folder.is_file() or shipped(folder) is not None or hub_name(folder) is not None:
            return Path()
        return folder.parent.parent if folder.parent.name == "checkpoints" else folder

    @property
    def trained_config(self) -> TrainConfig:
        """The settings of the training that made it: ``config`` is of a network without adapters, for they are added
        to its weights, and this says what learned."""
        trained = read_settings(Path(self.provenance.get("checkpoint", "")))
        return self.config if trained is None else replace(self.config, lora=trained.lora)

    @in_one_sentence
    def with_adapters(self, *names: str | Path, weights: str = "ema") -> Model:
        """The model with adapters added to its weights, see `undiffuse.networks.lora`; this one stays as it is.

            model.with_adapters("style.safetensors:0.7", "runs/other")

        Args:
            names: of files or of runs that were trained with `lora_rank`; after a colon the scale of what one adds.
            weights: of a run: 'ema', 'raw' or a rate.

        Raises:
            UndiffuseError: one is not there, is no adapter, or does not fit this model.
        """
        config, tensors = drawing_settings(self.config), drawing_tensors(self.config, self.network.state_dict())
        base = SavedModel(config, self.info, {name: tensor.cpu() for name, tensor in tensors.items()}, self.provenance)
        adapters = [AdapterName.of(str(name)) for name in names]
        whole = put_on(base, [(locate(adapter.name, weights), adapter.scale) for adapter in adapters])
        alike = (whole.config, whole.info) == (self.config, self.info)
        network = copy.deepcopy(self.network) if alike else build_network(whole.config, whole.info)
        network.load_state_dict(whole.tensors)
        made = replace(self, config=whole.config, info=whole.info, provenance=whole.provenance)
        return made.with_network(network.to(self.device).eval())

    @in_one_sentence
    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model to a file that `undiffuse.load` opens: the weights to the bit, and the settings.

            undiffuse.load(model.save("mine.safetensors"))

        A network that a program gave is in it by its name and its weights, and given again to `load`. For others there
        is `undiffuse.convert`, which leaves out where things are on this machine.

        Args:
            path: ``NAME.safetensors``.
            overwrite: replace a file that is there.

        Raises:
            UndiffuseError: another suffix, a file that is there, or a place that cannot be written.
        """
        path = Path(path)
        if path.suffix != SUFFIX:
            raise UndiffuseError(f"A model is saved as NAME{SUFFIX}, not as {path.name}")
        tensors = drawing_tensors(self.config, self.network.state_dict())
        weights, step = str(self.provenance.get("weights", "raw")), int(self.provenance.get("step", 0))
        saved = SavedModel.of(drawing_settings(self.config), self.info, tensors, step, weights)
        write_file(path, to_bytes(saved, half=False), overwrite, PLACE)
        return path

    @in_one_sentence
    def plan(
        self,
        settings: SampleConfig | None = None,
        *,
        low_res: LowResSource | None = None,
        examples: Mapping[str, Tensor] | None = None,
        **overrides: Unpack[SampleSettings],
    ) -> SamplePlan:
        """The plan of samples for settings: names are looked up and files opened here, and not while samples are drawn.

        Args:
            settings: a `SampleConfig`; ``**overrides`` changes single fields of it: ``model.plan(steps=20)``.
            low_res: of a stage of a cascade: where its small images come from.
            examples: rows that samples are told by turns where the settings ask for nothing.

        Raises:
            UndiffuseError: an unknown setting, one out of range, something named that is not there, or what the model
                cannot be asked.
        """
        given = with_texts(overrides)
        asked = passed(settings, given)
        check_typed(given, self.config)
        return make_plan(self, asked, low_res, examples)


@own_modes()
def build_model(config: TrainConfig, info: DataInfo) -> Model:
    """A new, untrained model for data of this shape, on the CPU."""
    return Model(build_network(config, info), make_schedule(config.diffusion), config, info)
