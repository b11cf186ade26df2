"""A trained classifier of noisy images, p(y | x_t, t): what `guidance.ClassifierGuided` follows.

It is stored as a checkpoint (`checkpoints.training_checkpoint`) whose settings name the recipe `CLASSIFIER`: its
network is the way down of the U-Net that they describe, its process the one that it learned on. Files of OpenAI's
classifiers are read, too (`checkpoints.foreign.original.openai_classifier`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.checkpoints.foreign.original.openai_classifier import read_classifier
from undiffuse.checkpoints.training_checkpoint import latest
from undiffuse.checkpoints.training_checkpoint import load as load_checkpoint
from undiffuse.config.diffusion import PROCESS, DiffusionConfig
from undiffuse.config.network import UNetConfig
from undiffuse.config.schema import CLASSIFIER, TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.diffusion.denoiser import TIME_INPUTS
from undiffuse.diffusion.gaussian import Batch, expand
from undiffuse.diffusion.parameterization import Parameterization, make_parameterization
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError
from undiffuse.factories.schedule import make_schedule
from undiffuse.networks.kernels import accelerate_cpu
from undiffuse.networks.unet_classifier import UNetClassifier
from undiffuse.runtime.devices import send
from undiffuse.runtime.random_streams import stream_seed
from undiffuse.runtime.safe_tensors import check_tensors
from undiffuse.runtime.uninitialized import undrawn


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """``(x_t, t) -> logits``, with what gives the logits a meaning.

    Args:
        network: see `UNetClassifier`.
        config: settings; their process is the one on which it learned.
        info: of its data, with the classes' names in the order of the logits.
        sha256: of the weights' file; empty for a new one.
    """

    network: UNetClassifier
    config: TrainConfig
    info: DataInfo
    sha256: str = ""

    @cached_property
    def schedule(self) -> Schedule:
        return make_schedule(self.config.diffusion)

    @cached_property
    def _row(self) -> Parameterization:
        return make_parameterization(self.config.diffusion.parameterization, self.config.diffusion.sigma_data)

    def __call__(self, x_t: Batch, t: Float[Tensor, "*batch"]) -> Float[Tensor, "batch classes"]:
        """Unnormalised log p(y | x_t) at times t of shape () or (batch,)."""
        scale = self._row.input_scale(self.schedule(t))
        time = send(TIME_INPUTS[self.config.diffusion.time_input](self.schedule, t).float(), x_t.device)
        logits: Tensor = self.network(expand(scale, x_t) * x_t, time.expand(len(x_t)))
        return logits

    def check_fits(self, diffusion: DiffusionConfig, info: DataInfo) -> None:
        """Check that a model has the classifier's process and shape.

        Raises:
            UndiffuseError: what does not fit.
        """
        own = self.config.diffusion
        for name in PROCESS:
            if getattr(own, name) != getattr(diffusion, name):
                raise UndiffuseError(
                    f"The classifier knows noise of {name}={getattr(own, name)}, and the model's is that of "
                    f"{name}={getattr(diffusion, name)}; train one with: undiffuse train-classifier DATA --run RUN"
                )
        if self.info.shape != info.shape:
            raise UndiffuseError(
                f"The classifier knows images of the shape {self.info.shape}, and the model makes {info.shape}"
            )


def build_classifier(config: TrainConfig, info: DataInfo) -> TrainedClassifier:
    """A new one, its weights drawn from the settings' seed.

    Raises:
        UndiffuseError: the data have less than two classes.
    """
    with torch.random.fork_rng(devices=[]):  # layers initialise themselves from torch's global stream
        torch.manual_seed(stream_seed(config.loop.seed, "weights"))
        assert isinstance(config.network, UNetConfig)  # `files.from_dict` and `classifier_settings` see to it
        network = UNetClassifier(info.channels, len(info.classes), len(info.spatial), config.network)
    return TrainedClassifier(accelerate_cpu(network), config, info)


def load_noisy_classifier(path: Path) -> TrainedClassifier:
    """The classifier in a folder that ``undiffuse train-classifier`` wrote, or in a file of OpenAI's, ready to lead.

    Raises:
        UndiffuseError: nothing whole is there, or something that is no classifier of noisy images.
    """
    if path.is_file():
        found, network = read_classifier(path)
        accelerate_cpu(network).eval().requires_grad_(False)
        return TrainedClassifier(network, found.config, found.info, found.provenance["sha256"])
    folder: Path | None = path
    if not (path / "manifest.json").exists():
        folder, _ = latest(path / "checkpoints")
    if folder is None:
        raise UndiffuseError(f"{path} holds no classifier; make one with: undiffuse train-classifier DATA --run RUN")
    saved = load_checkpoint(folder)
    if saved.config.recipe != CLASSIFIER:
        raise UndiffuseError(
            f"{path} holds a model of recipe '{saved.config.recipe}' and no classifier of noisy images; make one with: "
            "undiffuse train-classifier DATA --run RUN"
        )
    with undrawn():
        made = build_classifier(saved.config, saved.info)
    check_tensors(saved.weights, made.network.state_dict(), str(folder))
    made.network.load_state_dict(saved.weights)
    made.network.eval().requires_grad_(False)
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return TrainedClassifier(made.network, saved.config, saved.info, sha256)
