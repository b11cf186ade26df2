"""How long a training step and an evaluation take, beside diffusers' U-Net of the same shape in the same run.

    python -m benchmarks.speed.step_speed                                  # four sizes, all threads
    python -m benchmarks.speed.step_speed --threads 1 --clock cpu          # processor time, on a busy machine
    python -m benchmarks.speed.step_speed --device cuda --precision bfloat16 --compile --batch 128 --only 36

All sides have the same number of parameters (it is checked), the same batch, forward, backward, clipping to a norm of
1, Adam and an average of the weights at 0.9999:

* **ours**, as `undiffuse train` and `undiffuse sample` run it: rows in threads (runtime/threads.py), channels last,
  fused Adam, one call for the average, freed memory kept (runtime/allocator.py); in the number format that
  --precision says.
* **theirs**, diffusers as its training script leaves it: float32, channels first, plain AdamW, `EMAModel`.
* **theirs tuned**: channels last, fused AdamW, the number format and compiler that ours has. For whoever asks how much
  of the difference is settings; --tuned adds it.

Each side trains in a process of its own and evaluates in another, so that none has the other's memory, threads or
settings; both sides in one process had flattered ours. They take turns, step by step; a ratio is the median over pairs
of neighbours in time, so that a machine whose speed wanders does not decide it. Memory is the most that a process had
beyond what it had after a step of a tiny network, when its libraries were loaded.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from torch import Tensor, nn

from undiffuse.config.network import UNetConfig
from undiffuse.config.training import EMAConfig, OptimizerConfig
from undiffuse.networks.kernels import accelerate_cpu
from undiffuse.networks.unet import UNet
from undiffuse.reports.speed.clock import peak_memory, wait
from undiffuse.runtime.allocator import keep_freed_memory
from undiffuse.runtime.threads import cut_rows, in_threads, the_team
from undiffuse.training.optim.ema import ema_averages
from undiffuse.training.optim.optimizer import clip_gradient, make_optimizer
from undiffuse.training.parallel.threaded_gradients import ThreadedGradients

UNTIMED = 2
SIDES = ("ours", "theirs", "theirs tuned")


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
class Terms:
    """What holds for all sides."""

    device: str = "cpu"
    threads: int = 1
    clock: str = "wall"
    bfloat16: bool = False
    compile: bool = False

    def autocast(self) -> AbstractContextManager[object]:
        """A new context of the number format."""
        return torch.autocast(self.device, torch.bfloat16) if self.bfloat16 else nullcontext()


@dataclass(frozen=True)
class Side:
    """One library's step and evaluation."""

    train: Callable[[], None]
    evaluate: Callable[[], object]
    parameters: int


def ours(case: Case, terms: Terms) -> Side:
    keep_freed_memory()
    settings = UNetConfig(base=case.base, multipliers=case.multipliers, blocks=2, attention_levels=(1,))
    network = accelerate_cpu(UNet(case.channels, case.channels, 2, settings))
    network = network.to(terms.device, memory_format=torch.channels_last)
    x, t = batch(case, terms)
    x = x.to(memory_format=torch.channels_last)
    optimizer, ema = make_optimizer(OptimizerConfig(), network), ema_averages(network, EMAConfig())
    several = terms.device == "cpu" and torch.get_num_threads() > 1 and not terms.compile
    team = ThreadedGradients(the_team(terms.threads), network) if several else None
    called = torch.compile(network) if terms.compile else network
    shared = called if terms.compile else in_threads(network)

    def loss(rows: tuple[Tensor, ...]) -> tuple[None, Tensor]:
        part, times = rows
        return None, (forward(terms, called, part, times) - part).square().sum() / x.numel()

    def train() -> None:
        network.zero_grad(set_to_none=True)
        if team is None:
            (forward(terms, called, x, t) - x).square().mean().backward()
        else:
            team.run(loss, cut_rows((x, t), team.size))
        clip_gradient(network.parameters(), 1.0)
        optimizer.step()
        ema.update(0)

    return Side(train, lambda: forward(terms, shared, x, t), count(network))


def theirs(case: Case, terms: Terms, tuned: bool = False) -> Side:
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
    ).to(terms.device)
    x, t = batch(case, terms)
    if tuned:
        network, x = network.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    else:
        terms = replace(terms, bfloat16=False, compile=False)
    settings = {"lr": 1e-4, "betas": (0.95, 0.999), "weight_decay": 1e-6, "fused": tuned or None}
    optimizer = torch.optim.AdamW(network.parameters(), **settings)
    ema = EMAModel(network.parameters(), decay=0.9999)
    called = torch.compile(network) if terms.compile else network

    def run(x: Tensor, t: Tensor) -> Tensor:
        y: Tensor = called(x, t).sample
        return y

    def train() -> None:
        (forward(terms, run, x, t) - x).square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(network.parameters())

    return Side(train, lambda: forward(terms, run, x, t), count(network))


MAKERS: dict[str, Callable[[Case, Terms], Side]] = {
    "ours": ours,
    "theirs": theirs,
    "theirs tuned": partial(theirs, tuned=True),
}


def batch(case: Case, terms: Terms) -> tuple[Tensor, Tensor]:
    """The same for all sides."""
    dice = torch.Generator().manual_seed(0)
    x = torch.randn(case.batch, case.channels, case.size, case.size, generator=dice)
    return x.to(terms.device), (torch.rand(case.batch, generator=dice) * 999).to(terms.device)


def forward(terms: Terms, network: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor) -> Tensor:
    with terms.autocast():
        y = network(x, t)
    return y.float()


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def serve(pipe: Connection, name: str, case: Case, terms: Terms) -> None:
    """A side's process: answers 'train' and 'evaluate' with seconds, 'memory' with bytes, until it is told None."""
    torch.set_num_threads(terms.threads)
    torch.manual_seed(0)
    clock = time.perf_counter if terms.clock == "wall" else time.process_time
    device = torch.device(terms.device)
    # A first step of a tiny network loads what libraries load late, which is not the network's memory.
    MAKERS[name](replace(case, base=16, batch=2, size=8), replace(terms, compile=False)).train()
    loaded = peak_memory(device)
    side = MAKERS[name](case, terms)
    works = {"train": side.train, "evaluate": torch.no_grad()(side.evaluate)}
    pipe.send(side.parameters)
    while (asked := pipe.recv()) is not None:
        if asked == "memory":
            pipe.send(peak_memory(device) - loaded)
            continue
        before = clock()
        works[asked]()
        wait(device)
        pipe.send(clock() - before)


class Worker:
    """A side in its process, from here."""

    def __init__(self, name: str, case: Case, terms: Terms) -> None:
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, name, case, terms), daemon=True)
        self._process.start()
        other.close()  # so that a process that dies ends the wait
        self.parameters: int = self._pipe.recv()

    def ask(self, what: str) -> float:
        self._pipe.send(what)
        answer: float = self._pipe.recv()
        return answer

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def alternate(workers: list[Worker], what: str, rounds: int) -> list[list[float]]:
    """Seconds of each worker in each round, in which they take turns; the first rounds are left out."""
    taken = [[worker.ask(what) for worker in workers] for _ in range(rounds + UNTIMED)]
    return [list(times) for times in zip(*taken[UNTIMED:], strict=True)]


def cells(times: list[list[float]]) -> str:
    """Medians in milliseconds, and of each side but the first the median of its ratio to the first."""
    first, *rest = times
    texts = [f"{1e3 * statistics.median(first):>9.1f}"]
    for other in rest:
        ratio = statistics.median(b / a for a, b in zip(first, other, strict=True))
        texts.append(f"{1e3 * statistics.median(other):>9.1f}{ratio:>6.2f}")
    return "".join(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of each case (default 7)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="elapsed or processor time")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--batch", type=int, help="in place of each case's own")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default cpu)")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="of ours and theirs tuned"
    )
    parser.add_argument("--compile", action="store_true", help="ours and theirs tuned, before the timed rounds")
    parser.add_argument("--tuned", action="store_true", help="theirs in our settings, too")
    args = parser.parse_args()
    terms = Terms(args.device, args.threads, args.clock, args.precision == "bfloat16", args.compile)
    names = SIDES if args.tuned else SIDES[:2]
    print(f"torch {torch.__version__}, {terms}, {args.rounds} rounds; milliseconds, and times ours")
    print(f"case, batch; step: {', '.join(names)}, MiB of each; the same of an evaluation; parameters")
    for case in CASES:
        if args.only not in case.name:
            continue
        case = replace(case, batch=args.batch or case.batch)
        row = f"{case.name:<22}{case.batch:>6}"
        for what in ("train", "evaluate"):
            workers = [Worker(name, case, terms) for name in names]
            assert len({worker.parameters for worker in workers}) == 1, [worker.parameters for worker in workers]
            row += cells(alternate(workers, what, args.rounds))
            row += "".join(f"{worker.ask('memory') / 2**20:>7.0f}" for worker in workers) + " |"
            for worker in workers:
                worker.close()
        print(f"{row}{workers[0].parameters:>12,}", flush=True)


if __name__ == "__main__":
    main()
