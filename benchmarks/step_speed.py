"""How long a training step and an evaluation take, beside diffusers' U-Net of the same shape in the same run.

    python benchmarks/step_speed.py                                  # four sizes, all threads
    python benchmarks/step_speed.py --threads 1 --clock cpu          # processor time, on a busy machine

Both sides have the same number of parameters (it is checked), the same batch, forward, backward, clipping to a norm of
1, Adam and an average of the weights at 0.9999. diffusers is as its training script leaves it: channels first, AdamW in
its default form, `EMAModel`. Ours is as `undiffuse train` and `undiffuse sample` run it: rows in threads (threads.py),
channels last, fused Adam, one call for the average.
The two take turns, step by step; a ratio is the median over pairs of neighbours in time, so that a machine whose speed
wanders does not decide it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from undiffuse.config import EMAConfig, OptimizerConfig, UNetConfig
from undiffuse.networks.unet import UNet
from undiffuse.threads import Team, cut_rows, in_threads
from undiffuse.training.ema import EMA
from undiffuse.training.optimizer import clip_gradient, make_optimizer

UNTIMED = 2


@dataclass(frozen=True)
class Case:
    """A network and a batch."""

    name: str
    channels: int
    size: int
    base: int
    multipliers: tuple[int, ...]
    batch: int


CASES = (
    Case("digits, 1.6 M", 1, 28, 32, (1, 2, 2), 32),
    Case("4 M", 3, 32, 64, (1, 2, 2), 32),
    Case("16 M", 3, 32, 128, (1, 2), 16),
    Case("Ho's CIFAR-10, 36 M", 3, 32, 128, (1, 2, 2, 2), 16),
)


@dataclass(frozen=True)
class Side:
    """One library's step and evaluation."""

    train: Callable[[], None]
    evaluate: Callable[[], object]
    parameters: int


def ours(case: Case, x: Tensor, t: Tensor) -> Side:
    settings = UNetConfig(base=case.base, multipliers=case.multipliers, blocks=2, attention_levels=(1,))
    network = UNet(case.channels, case.channels, 2, settings).to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    optimizer, ema = make_optimizer(OptimizerConfig(), network), EMA(network, EMAConfig())

    team, parameters = Team() if torch.get_num_threads() > 1 else None, list(network.parameters())
    shared = in_threads(network)

    def gradient(rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        part, times = rows
        return torch.autograd.grad((network(part, times) - part).square().sum() / x.numel(), parameters)

    def train() -> None:
        network.zero_grad(set_to_none=True)
        if team is None:
            (network(x, t) - x).square().mean().backward()
        else:
            parts = team.run(gradient, cut_rows((x, t), team.size))
            for parameter, gradients in zip(parameters, zip(*parts, strict=True), strict=True):
                parameter.grad = sum(gradients[1:], gradients[0])
        clip_gradient(parameters, 1.0)
        optimizer.step()
        ema.update(0)

    return Side(train, lambda: shared(x, t), _count(network))


def theirs(case: Case, x: Tensor, t: Tensor) -> Side:
    from diffusers import UNet2DModel
    from diffusers.training_utils import EMAModel

    kinds = ["AttnDownBlock2D" if level == 1 else "DownBlock2D" for level in range(len(case.multipliers))]
    network = UNet2DModel(
        sample_size=case.size,
        in_channels=case.channels,
        out_channels=case.channels,
        block_out_channels=tuple(case.base * m for m in case.multipliers),
        layers_per_block=2,
        down_block_types=tuple(kinds),
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(kinds)),
        norm_num_groups=min(32, case.base // 4),
        attention_head_dim=None,
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
    ema = EMAModel(network.parameters(), decay=0.9999)

    def train() -> None:
        (network(x, t).sample - x).square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(network.parameters())

    return Side(train, lambda: network(x, t), _count(network))


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def alternate(
    first: Callable[[], object], second: Callable[[], object], rounds: int, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """Median seconds of each, and the median of second / first over pairs of neighbours."""
    pairs = []
    for _ in range(rounds + UNTIMED):
        taken = []
        for work in (first, second):
            before = clock()
            work()
            taken.append(clock() - before)
        pairs.append(taken)
    kept = pairs[UNTIMED:]
    ratio = statistics.median(b / a for a, b in kept)
    return statistics.median(a for a, _ in kept), statistics.median(b for _, b in kept), ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7, help="timed pairs of each case (default 7)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="elapsed or processor time")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    print(f"torch {torch.__version__}, {args.threads} threads, {args.clock} time, {args.rounds} pairs")
    print(f"{'':<24}{'parameters':>12}{'batch':>6}   {'step: ours':>11}{'theirs':>9}{'ratio':>7}", end="")
    print(f"   {'evaluation: ours':>16}{'theirs':>9}{'ratio':>7}")
    for case in CASES:
        if args.only not in case.name:
            continue
        torch.manual_seed(0)
        x = torch.randn(case.batch, case.channels, case.size, case.size)
        t = torch.rand(case.batch) * 999
        a, b = ours(case, x, t), theirs(case, x, t)
        assert a.parameters == b.parameters, (a.parameters, b.parameters)
        step = alternate(a.train, b.train, args.rounds, clock)
        with torch.no_grad():
            evaluation = alternate(a.evaluate, b.evaluate, args.rounds, clock)
        row = f"{case.name:<24}{a.parameters:>12,}{case.batch:>6}   "
        row += f"{1e3 * step[0]:>8.0f} ms{1e3 * step[1]:>6.0f} ms{step[2]:>7.2f}"
        row += f"   {1e3 * evaluation[0]:>13.0f} ms{1e3 * evaluation[1]:>6.0f} ms{evaluation[2]:>7.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
