"""A trained model: what a user holds, samples from and hands on.

A `Model` is a network with everything that gives its numbers a meaning: the process it was trained on, what it
predicts, and the shape and range of its data. It knows nothing of how it was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from undiffuse.checkpoints import cascade_folder
from undiffuse.checkpoints.find import locate
from undiffuse.checkpoints.hub import hub_name
from undiffuse.checkpoints.learned_timesteps import LearnedTimesteps
from undiffuse.checkpoints.pretrained import shipped
from undiffuse.conditioning.class_names import class_names
from undiffuse.conditioning.low_resolution import Below, enlarging, heard
from undiffuse.conditioning.request import CLASS, IMAGE, VECTOR, Guides, check_null, conditions_of, read_text, wish
from undiffuse.config.diffusion import PROCESS
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.data.read_image import read_pairs
from undiffuse.data.scaling import decode, encode
from undiffuse.diffusion.denoiser import Denoiser, NetworkDenoiser
from undiffuse.diffusion.guidance import Clip, DynamicThreshold
from undiffuse.diffusion.parameterization import make_parameterization
from undiffuse.diffusion.schedules import Schedule
from undiffuse.diffusion.timesteps import given_timesteps, make_timesteps
from undiffuse.diffusion.trajectory import Sampler, sample
from undiffuse.errors import UndiffuseError
from undiffuse.factories.network import build_network, outline
from undiffuse.factories.sampler import make_sampler
from undiffuse.factories.schedule import make_schedule
from undiffuse.model import sample_request
from undiffuse.model.micro_batch import activations, micro_batch
from undiffuse.model.noise_classifier import TrainedClassifier, load_noisy_classifier
from undiffuse.model.samples import Samples
from undiffuse.networks.conditions import Condition
from undiffuse.provenance.pinned_path import path_of, pinned
from undiffuse.runtime.compiling import CompiledEvaluations
from undiffuse.runtime.devices import there
from undiffuse.runtime.precision import in_precision, settled
from undiffuse.runtime.process_group import ALONE, Group
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.runtime.safe_tensors import check_tensors
from undiffuse.runtime.standard_streams import hidden
from undiffuse.runtime.threads import in_threads
from undiffuse.runtime.torch_modes import own_modes
from undiffuse.runtime.uninitialized import undrawn


@dataclass
class Model:
    """A network and what it means.

    Args:
        network: on its device, in evaluation mode unless it is being trained.
        schedule: the process it was trained on.
        config: the settings it was made with.
        info: shape, range and statistics of its data.
        provenance: where it came from (run, step, weights and their sha256); empty for a new one.
    """

    network: nn.Module
    schedule: Schedule
    config: TrainConfig
    info: DataInfo
    provenance: dict[str, Any] = field(default_factory=dict)
    guides: dict[str, Model | TrainedClassifier | torch.Tensor] = field(default_factory=dict, repr=False, compare=False)
    """Other networks that led its samples, by path, and texts and pictures that asked for them: each is read once."""
    below: Below | None = None
    """Of a stage: where the small images that it enlarges come from; see `undiffuse.conditioning.low_resolution`."""
    examples: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)
    """What samples are told by turns where nothing is asked for, by name: in training, what is said of images."""
    loaded_as: str = SampleConfig.weights
    """What `load` was asked for: the weights that settings, and so pictures, name."""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def denoiser(self) -> NetworkDenoiser:
        """The network as a denoiser; wrap it in guidance, hand it to samplers."""
        diffusion = self.config.diffusion
        row = make_parameterization(diffusion.parameterization, diffusion.sigma_data)
        return NetworkDenoiser(self.network, self.schedule, row, diffusion.time_input)

    @cached_property
    def _compiled(self) -> nn.Module:
        return CompiledEvaluations(self.network)

    def _evaluated(self, settings: SampleConfig) -> NetworkDenoiser:
        """The denoiser as the settings have it evaluated: compiled or in threads, in their number format."""
        network = self._compiled if settings.compile else in_threads(self.network)
        return replace(self, network=in_precision(network, settings.precision)).denoiser

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the network can be told; empty for an unconditional model."""
        return conditions_of(self.config, self.info)

    @property
    def cascade(self) -> tuple[Model, ...]:
        """The models that it stands upon, the one of the smallest images first, and itself."""
        return (*(self.below.model.cascade if isinstance(self.below, Lower) else ()), self)

    @property
    def enlarges(self) -> bool:
        """Whether it is told small images, or one that it stands upon is."""
        return any(model.config.conditions.upscale > 1 for model in self.cascade)

    @property
    def micro_batch(self) -> int:
        """Samples per evaluation where settings do not say; all of a cascade takes what fits its largest network."""
        most = max(activations(model.config.network, model.info.spatial) for model in self.cascade)
        return micro_batch(most, self.device.type)

    def to(self, device: torch.device | str) -> Model:
        """Move the network to a device, in place, and those below it."""
        self.network.to(device)
        if isinstance(self.below, Lower):
            self.below.model.to(device)
        return self

    @property
    def home(self) -> Path:
        """Where what is made with the model goes: the run's folder, or the checkpoint's where it stands alone.

        A model in one file or from the hub has no folder of its own, and a package's may not be written to: there it is
        the working directory.

        Raises:
            UndiffuseError: the model was not loaded from one.
        """
        if "checkpoint" not in self.provenance:
            raise UndiffuseError("This model has no folder: load one with undiffuse.load('runs/NAME')")
        folder = Path(self.provenance["checkpoint"])
        if folder.is_file() or shipped(folder) is not None or hub_name(folder) is not None:
            return Path()
        return folder.parent.parent if folder.parent.name == "checkpoints" else folder

    @own_modes()
    def settle(self, settings: SampleConfig) -> SampleConfig:
        """The settings with learned timesteps looked up, other networks pinned, the number format and the size of a
        micro-batch decided, so that they say all by themselves.

        Raises:
            UndiffuseError: there are no such timesteps or networks, the networks do not fit, or a number is senseless.
        """
        sample_request.check_bounds(settings)
        sample_request.warn(sample_request.remarks(settings, self.enlarges))
        settings = sample_request.with_weights(settings, self.loaded_as, self.provenance.get("weights"))
        if settings.weak:
            settings = replace(settings, weak=pinned(settings.weak, self._weak(settings).provenance["sha256"]))
        if settings.classifier:
            pin = pinned(settings.classifier, self._classifier(settings).sha256)
            settings = replace(settings, classifier=pin)
        told = {condition.name for condition in self.conditions}
        settings = replace(settings, classes=class_names(settings.classes, self._class_names(settings)))
        if settings.image and IMAGE in told and f"image: {settings.image}" not in self.guides:
            rows, digest = read_pairs(path_of(settings.image), self.info.pair, self.config.data)
            settings = replace(settings, image=pinned(settings.image, digest))
            self.guides[f"image: {settings.image}"] = rows
        if settings.spacing == "learned" and not settings.times:
            home, name = self.home, self.provenance["checkpoint"]
            name = str(home if home != Path() else name)  # one file's, whose folder is the working directory
            learned = LearnedTimesteps.read(home, settings.steps, self.provenance["sha256"], name)
            settings = replace(settings, times=learned.times)
        slots = self.micro_batch if settings.micro_batch is None else settings.micro_batch
        settings = replace(settings, precision=settled(settings.precision, self.device), micro_batch=slots)
        return replace(settings, steps=len(settings.times)) if settings.times else settings

    def _class_names(self, settings: SampleConfig) -> tuple[str, ...]:
        """The classes that can be asked for, of the model itself, of one below it, or of a classifier."""
        if settings.classifier:
            return self._classifier(settings).info.classes
        knowing = [m for m in self.cascade if any(condition.name == CLASS for condition in m.conditions)]
        return knowing[-1].info.classes if knowing else ()

    def _weak(self, settings: SampleConfig) -> Model:
        path = str(path_of(settings.weak))
        found = self.guides.get(path) or load(path)
        assert isinstance(found, Model)
        mine, its = self.config.diffusion, found.config.diffusion
        same = all(getattr(mine, name) == getattr(its, name) for name in PROCESS)
        if not same or found.info.shape != self.info.shape:
            raise UndiffuseError(f"--weak must name a model of the same process and shape as this one, {path} is not")
        scales = [
            (i.vectors, i.vector_mean, i.vector_std, i.pair_dtype, i.pair_low, i.pair_high)
            for i in (self.info, found.info)
        ]
        if {VECTOR, IMAGE} & {condition.name for condition in found.conditions} and scales[0] != scales[1]:
            raise UndiffuseError(f"--weak {path} is told numbers or pictures on other scales than this model")
        self.guides[path] = found.to(self.device)
        return found

    def _classifier(self, settings: SampleConfig) -> TrainedClassifier:
        path = path_of(settings.classifier)
        found = self.guides.get(str(path)) or load_noisy_classifier(path)
        assert isinstance(found, TrainedClassifier)
        found.check_fits(self.config.diffusion, self.info)
        found.network.to(self.device)
        self.guides[str(path)] = found
        return found

    def _read_text(self, text: str) -> torch.Tensor:
        return self._read_once(f"text: {text}", lambda: read_text(text))

    def _look_at(self, path: str) -> torch.Tensor:
        return self._read_once(f"image: {path}", lambda: read_pairs(path_of(path), self.info.pair, self.config.data)[0])

    def _read_once(self, key: str, read: Callable[[], torch.Tensor]) -> torch.Tensor:
        if key not in self.guides:
            self.guides[key] = read()
        found = self.guides[key]
        assert isinstance(found, torch.Tensor)
        return found

    def _guides(self, settings: SampleConfig) -> Guides:
        weak = self._weak(settings) if settings.weak else None
        classifier = self._classifier(settings) if settings.classifier else None
        return Guides(
            weak=weak._evaluated(settings) if weak else None,
            weak_told=weak.conditions if weak else (),
            classifier=classifier,
            classifier_classes=classifier.info.classes if classifier else (),
        )

    @own_modes()
    def walk(
        self, settings: SampleConfig, members: Sequence[int] | None = None, seed: int = 0
    ) -> tuple[Denoiser, Sampler[Any], torch.Tensor]:
        """The denoiser with its threshold, the sampler and the timesteps that the settings ask for.

        Args:
            members: numbers of the samples in the batch, which say what class each is of; by default the first
                micro-batch.
            seed: of the samples; the small images of a cascade are drawn by it when the denoiser is first asked.

        Raises:
            UndiffuseError: the settings ask for what the model is not told, or it is a stage with nothing below it.
        """
        settings = self.settle(settings)
        members = range(settings.slots) if members is None else members
        own = enlarging(self._evaluated(settings), self.config.conditions, self.below, settings, members, seed)
        heeded = heard(settings, [condition.name for condition in self.conditions], self.below)
        wanted = wish(
            heeded, self.conditions, self.info, self._guides(settings), self._read_text, self._look_at, self.examples
        )
        check_null(wanted, self.config.conditions.condition_dropout)
        denoiser = wanted.denoiser(own, members)
        if settings.threshold == "clip":
            denoiser = Clip(denoiser)
        elif settings.threshold == "dynamic":
            denoiser = DynamicThreshold(denoiser)
        if settings.times:
            times = given_timesteps(self.schedule, settings.times)
        else:
            times = make_timesteps(self.schedule, settings.steps, settings.spacing)
        return denoiser, make_sampler(settings), times

    @own_modes()
    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        first: int = 0,
        settings: SampleConfig | None = None,
        progress: bool = False,
        group: Group = ALONE,
        **overrides: Any,
    ) -> Samples:
        """Draw samples ``first`` .. ``first + n - 1`` of a seed.

        Sample i of a seed is the same, to the last bit on one machine, whatever n and first are.

        Args:
            n: how many, at least 1.
            seed: of the noise, not negative.
            first: number of the first one.
            settings: a `SampleConfig`; ``**overrides`` changes single fields of it: ``model.sample(16, steps=20)``.
            progress: show a progress bar.
            group: processes that share the micro-batches out among them; each gets all samples, bit for bit those of
                one process.

        Raises:
            UndiffuseError: for an unknown setting, or one out of range.
        """
        n, seed, first = sample_request.whole_numbers(n=n, seed=seed, first=first)
        settings = self.settle(sample_request.passed(settings, overrides))
        sample_request.check_numbers(n, seed, first)
        indices = range(first, first + n)
        blocks = group.my_part(sample_request.cut_into_blocks(indices, settings.slots))
        steps = len(self.walk(settings)[2]) - 1
        with tqdm(total=len(blocks) * steps, desc="sampling", unit="step", disable=hidden(progress)) as bar:
            drawn = (self.draw(block, seed, settings=settings, on_step=bar.update) for block in blocks)
            made = [part.array for parts in drawn for part in parts]
        array = group.gather_in_order(np.concatenate(made) if made else None)
        return Samples(array, self.info, seed, tuple(indices), settings, self.provenance, self.device.type)

    def draw(
        self,
        indices: range,
        seed: int = 0,
        *,
        settings: SampleConfig | None = None,
        on_step: Callable[[], object] = lambda: None,
        **overrides: Any,
    ) -> Iterator[Samples]:
        """Samples of these numbers, micro-batch after micro-batch: ``for samples in model.draw(range(50_000)): ...``.

        They are the samples of `sample`, and only one micro-batch of them is ever in memory.

        Args:
            indices: numbers of the samples, in steps of 1.
            seed, settings, overrides: as for `sample`.
            on_step: called after every step of the sampler, for a progress bar.

        Raises:
            UndiffuseError: as for `sample`.
        """
        indices, (seed,) = sample_request.whole_range(indices), sample_request.whole_numbers(seed=seed)
        settings = self.settle(sample_request.passed(settings, overrides))
        sample_request.check_numbers(len(indices), seed, indices.start)
        size = settings.slots
        for block in sample_request.cut_into_blocks(indices, size):
            start = block.start // size * size
            training = self.network.training
            self.network.eval()
            try:
                with own_modes():  # not around the yield
                    walk = self.walk(settings, range(start, start + size), seed)
                    how: dict[str, Any] = {"seed": seed, "micro_batch": size, "device": self.device}
                    x0 = sample(*walk, self.info.shape, block, on_step=on_step, **how)
                    array = decode(x0, self.info)
            finally:
                self.network.train(training)
            yield Samples(array, self.info, seed, tuple(block), settings, self.provenance, self.device.type)


@dataclass(frozen=True)
class Lower:
    """The model below a stage: its samples are the stage's small images.

    Sample i of the cascade stands upon the same sample i, whatever is drawn beside it.

    Args:
        model: of small images; perhaps a stage itself, with another below it.
    """

    model: Model

    @property
    def told(self) -> frozenset[str]:
        own = frozenset(condition.name for condition in self.model.conditions if not condition.required)
        return own | (self.model.below.told if self.model.below else frozenset())

    def __call__(self, members: Sequence[int], seed: int, settings: SampleConfig) -> torch.Tensor:
        together = len(members) == members[-1] + 1 - members[0]
        runs = [range(members[0], members[-1] + 1)] if together else [range(i, i + 1) for i in members]
        below = stream_seed(seed, "below")  # the same seed would start both from related noise
        if self.model.config.conditions.upscale == 1:  # nothing is enlarged there
            settings = replace(settings, augmentation=SampleConfig.augmentation)
        drawn = [part.array for run in runs for part in self.model.draw(run, below, settings=settings)]
        return encode(np.concatenate(drawn), self.model.info)


@own_modes()
def build_model(config: TrainConfig, info: DataInfo) -> Model:
    """A new, untrained model for data of this shape, on the CPU."""
    return Model(build_network(config, info), make_schedule(config.diffusion), config, info)


@own_modes()
def load(path: str | Path, weights: str = "ema", device: str = "cpu", revision: str | None = None) -> Model:
    """A trained model: ours, one in somebody else's layout, or one from the Hugging Face hub.

    Args:
        path: ``runs/NAME`` (a run's or a cascade's), ``runs/NAME/checkpoints/step-...``, ``NAME.safetensors``, the name
            of a model that comes with the package: ``digits``; a folder or a file of others, see docs/interop.md; or
            ``ORG/NAME`` on the hub, ``ORG/NAME@REVISION``.
        weights: 'ema' for the first average, 'raw' for the weights themselves, or a rate such as '0.999'.
        device: where the network goes.
        revision: on the hub: a branch, a tag or a commit.

    Raises:
        UndiffuseError: if there is no such model, no whole checkpoint, no such weights in it, or no such device.
    """
    if not isinstance(path, str | Path):
        raise UndiffuseError(f"undiffuse.load takes a path or a name, got {type(path).__name__}")
    if (parts := cascade_folder.read(Path(path))) is not None:
        return _cascade(parts, weights).to(there(device))
    where, found = there(device), locate(path, str(weights), revision)
    what = f"{found.provenance['checkpoint']} ({found.provenance['weights']})"
    check_tensors(found.tensors, outline(found.config, found.info), what)
    with undrawn():
        model = build_model(found.config, found.info)
    model.network.load_state_dict(found.tensors)
    model.network.eval()
    model.provenance, model.loaded_as = found.provenance, str(weights)
    return model.to(where)


def _cascade(parts: cascade_folder.CascadeFolder, weights: str) -> Model:
    """The last stage, each with the one before it below."""
    model = load(parts.files[0], weights)
    for file in parts.files[1:]:
        model = replace(load(file, weights), below=Lower(model))
    return replace(model, provenance={**model.provenance, "checkpoint": str(parts.path), "sha256": parts.sha256})
