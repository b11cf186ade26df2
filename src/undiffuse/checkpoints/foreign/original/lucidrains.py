"""denoising-diffusion-pytorch's files (P. Wang): their settings from shapes and from the chain's own tensors.

    model, ema        init_conv  time_mlp.{1,3}  downs.K.{0,1,2,3}  mid_block1  mid_attn  mid_block2  ups.K.{0,1,2,3}
                      final_res_block  final_conv        all of these behind 'model.', and 'ema_model.model.' in ema
                      betas  alphas_cumprod  loss_weight  ...    of the process
    step, opt, version, scaler

* A trainer's file holds the weights and their average; the average is the model, as it is there.
* Which of noise, data and v the network predicts is told by the weights of its loss, which at snr = alpha-bar /
  (1 - alpha-bar) are 1, snr and snr / (snr + 1), and cut off (min-SNR) only where snr is large.
* What is not in the file is the size of images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.checkpoints.foreign.mapping import POINTWISE, SAME, Change, NameRule
from undiffuse.checkpoints.foreign.original.flags import read_side
from undiffuse.checkpoints.foreign.original.layout import Layout, Shapes
from undiffuse.checkpoints.foreign.tensors import Shape, Tensors
from undiffuse.config.diffusion import DiffusionConfig, ParameterizationName
from undiffuse.config.network import RMSUNetConfig
from undiffuse.diffusion.schedules import DiscreteSchedule
from undiffuse.errors import UndiffuseError
from undiffuse.factories.schedule import make_schedule
from undiffuse.networks.rms_unet import HEAD_WIDTH, TOKENS

MARK = "init_conv.weight"
"""The stem, which tells these files from others'."""
INSIDE, AVERAGED = "model.", "ema_model."
"""What stands before the names of the network in a process, and of the process in an average."""
TRAINER = {"step", "model", "opt", "ema"}
PROCESS = ("betas", "alphas_cumprod", "loss_weight")
"""The tensors of the process that are read; the others follow from them."""
MAX_STEPS = 100_000
WHOSE = "each U-Net of denoising-diffusion-pytorch since 2.0 has; earlier ones had other norms, and are not read"

LOSSES: dict[ParameterizationName, Callable[[Tensor], Tensor]] = {
    "epsilon": torch.ones_like,
    "x0": lambda snr: snr,
    "v": lambda snr: snr / (snr + 1),
}
"""Weight of the loss of each prediction, as a function of the signal-to-noise ratio."""


@dataclass(frozen=True)
class TrainerFile:
    """The parts of a trainer's file that make a model.

    Args:
        process: the diffusion's tensors and its network's weights.
        average: the same, averaged; None where only other processes had one.
        step: of the training.
    """

    process: dict[str, Any]
    average: dict[str, Any] | None
    step: int


def trained(tree: Any, where: str) -> TrainerFile | None:
    """Weights, average and step out of a trainer's file, without the optimiser's state; None out of any other."""
    if not isinstance(tree, dict) or not tree.keys() >= TRAINER:
        return None
    process, ema, step = tree["model"], tree["ema"], tree["step"]
    if not isinstance(process, dict) or not isinstance(ema, dict) or type(step) is not int or step < 0:
        raise UndiffuseError(f"{where} is not valid: a trainer's file holds a 'model', an 'ema' and a 'step'")
    average = {
        name.removeprefix(AVERAGED): value
        for name, value in ema.items()
        if isinstance(name, str) and name.startswith(AVERAGED)
    }
    return TrainerFile(process, average or None, step)


def named(names: list[str]) -> dict[str, str]:
    """The network's tensors without what stands before them, by the file's names; nothing of the process.

    Those of a network alone are its own names; `process` then says what is missing.
    """
    if MARK in names:
        return {name: name for name in names}
    return {name.removeprefix(INSIDE): name for name in names if name.startswith(INSIDE)}


# --- the process ------------------------------------------------------------------------------------------------------


def process(tensors: Tensors, where: str) -> DiffusionConfig:
    """The chain and the prediction that the process's tensors tell."""
    shapes = tensors.shapes
    for name in PROCESS:
        shape = shapes.get(name, ())
        if len(shape) != 1 or not 2 <= shape[0] <= MAX_STEPS or shape != shapes[PROCESS[0]]:
            raise UndiffuseError(
                f"{where} has no '{name}' of one number a timestep, as every process of denoising-diffusion-pytorch "
                "since 2.0 has: save the state of the GaussianDiffusion, which has the network in it"
            )
    betas, alpha_bar, weights = (tensors(name).double() for name in PROCESS)
    return replace(_chain(betas), parameterization=_prediction(alpha_bar, weights, where))


def _chain(betas: Tensor) -> DiffusionConfig:
    """The chain by its name, where one of ours has these betas to float32, or else by its betas."""
    steps = len(betas)
    known = [DiffusionConfig(schedule="cosine", timesteps=steps)]
    if steps > 20:  # a linear one of fewer has a last beta of 1
        linear = DiffusionConfig(schedule="linear", timesteps=steps)
        known.append(linear if steps == 1000 else replace(linear, beta_start=0.1 / steps, beta_end=20 / steps))
    for config in known:
        chain = make_schedule(config)
        assert isinstance(chain, DiscreteSchedule)
        if torch.allclose(chain.betas, betas, rtol=1e-6, atol=0):
            return config
    return DiffusionConfig(timesteps=steps, betas=tuple(betas.tolist()))


def _prediction(alpha_bar: Tensor, weights: Tensor, where: str) -> ParameterizationName:
    snr = alpha_bar / (1 - alpha_bar)
    noisy = (snr > 0) & (snr < 1)
    for name, weight in LOSSES.items():
        if noisy.any() and torch.allclose(weights[noisy], weight(snr[noisy]), rtol=1e-4, atol=0):
            return name
    raise UndiffuseError(f"{where} does not tell by its 'loss_weight' whether its network predicts noise, data or v")


# --- the network ------------------------------------------------------------------------------------------------------


def layout(path: Path, chain: Tensors, tensors: Tensors) -> Layout:
    """A file in our terms, by its shapes and by ``chain``, the tensors of its process."""
    where, shapes = str(path), Shapes(tensors.shapes, str(path), WHOSE)

    def shape(name: str, axes: int) -> Shape:
        if len(tensors.shapes.get(name, ())) != axes:
            raise shapes.lacks(name)
        return tensors.shapes[name]

    shape("final_res_block.block1.norm.g", 4)
    base, channels = shape(MARK, 4)[:2]
    out = shape("final_conv.weight", 4)[0]
    if channels == 2 * out:
        raise UndiffuseError(f"{where} was trained with self_condition, which undiffuse's samplers do not know")
    if channels > 4 or out not in (channels, 2 * channels):
        raise UndiffuseError(
            f"{where} makes {out} channels of {channels}; 1 to 4, and of those twice as many, are read"
        )
    levels = shapes.count("downs.{}.2.mem_kv")
    shape(f"downs.{max(levels - 1, 0)}.2.mem_kv", 4)
    multipliers = shapes.multipliers(
        base, [shape(f"ups.{k}.0.block1.proj.weight", 4)[0] for k in reversed(range(levels))]
    )
    _, heads, tokens, head_width = shape("mid_attn.mem_kv", 4)
    network = RMSUNetConfig(
        base=base,
        multipliers=multipliers,
        attention_levels=tuple(k for k in range(levels) if f"downs.{k}.2.to_out.weight" in tensors.shapes),
        heads=heads,
        head_width=None if head_width == HEAD_WIDTH else head_width,
    )
    if tokens != TOKENS:
        raise UndiffuseError(f"{where} has {tokens} learned tokens in its attentions, where {TOKENS} are read")
    diffusion = replace(process(chain, where), learn_variance=out == 2 * channels)
    side = read_side(path)
    return Layout(network, diffusion, (channels, side, side), rules(network))


WEIGHT = Change(lambda theirs: theirs[0].flatten(), lambda ours: [ours[None, :, None, None]])
"""A norm's, (1, channels, 1, 1) there."""
TURNED = Change(lambda theirs: theirs[0].transpose(2, 3), lambda ours: [ours.transpose(2, 3)])
"""Learned tokens of a linear attention: (.., width, tokens) there."""


def rules(network: RMSUNetConfig) -> list[NameRule]:
    """The table for a network of these settings."""
    last = len(network.multipliers) - 1
    found = [
        NameRule("time1", "time_mlp.1"),
        NameRule("time2", "time_mlp.3"),
        NameRule("stem", "init_conv"),
        NameRule("out", "final_conv"),
        *_block("last", "final_res_block"),
        *_block("middle.0", "mid_block1"),
        *_attention("middle.1", "mid_attn", full=True),
        *_block("middle.2", "mid_block2"),
    ]
    for k in range(last + 1):
        for way, level in (("down", k), ("up", last - k)):
            ours, theirs = f"{way}.{k}", f"{way}s.{k}"
            found += [*_block(f"{ours}.block1", f"{theirs}.0"), *_block(f"{ours}.block2", f"{theirs}.1")]
            found += _attention(f"{ours}.attention", f"{theirs}.2", level in network.attention_levels)
            found += [NameRule(f"{ours}.resample.1", f"{theirs}.3.1"), NameRule(f"{ours}.resample", f"{theirs}.3")]
    return found


def _block(ours: str, theirs: str) -> list[NameRule]:
    return [
        NameRule(f"{ours}.conv1", f"{theirs}.block1.proj"),
        NameRule(f"{ours}.norm1", f"{theirs}.block1.norm", WEIGHT, leaf="g"),
        NameRule(f"{ours}.embed", f"{theirs}.mlp.1"),
        NameRule(f"{ours}.conv2", f"{theirs}.block2.proj"),
        NameRule(f"{ours}.norm2", f"{theirs}.block2.norm", WEIGHT, leaf="g"),
        NameRule(f"{ours}.shortcut", f"{theirs}.res_conv"),
    ]


def _attention(ours: str, theirs: str, full: bool) -> list[NameRule]:
    out = "to_out" if full else "to_out.0"
    return [
        NameRule(f"{ours}.norm", f"{theirs}.norm", WEIGHT, leaf="g"),
        NameRule(f"{ours}.qkv", f"{theirs}.to_qkv", POINTWISE),
        NameRule(f"{ours}.out", f"{theirs}.{out}", POINTWISE),
        NameRule(f"{ours}.last", f"{theirs}.to_out.1", WEIGHT, leaf="g"),
        NameRule(ours, theirs, SAME if full else TURNED, leaf="mem_kv"),
    ]
