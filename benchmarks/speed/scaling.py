"""What to expect of N devices: a calculation, not a measurement.

    python -m benchmarks.speed.scaling                                        # the tables of docs/use/distributed.md
    python -m benchmarks.speed.scaling --flops 120e12 --inside 450e9 --across 50e9 --node 8
    python -m benchmarks.speed.scaling --recipe ho2020-cifar10 --size 32 --batch 1024

It is computed from the FLOPs and the parameters of a recipe, which are counted, and from three properties of the
machine, which you give: what a device reaches on this network (`undiffuse bench` measures it), and how many bytes a
second leave a device inside a node and across nodes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from math import prod

from undiffuse.config.training import LoopConfig
from undiffuse.data.info import DataInfo
from undiffuse.factories.network import build_network
from undiffuse.recipes import get_recipe
from undiffuse.reports.speed.flops import flops

FORWARD = 1 / 3
"""Share of the forward pass in a step; gradients travel during the rest."""


@dataclass(frozen=True)
class Work:
    """One step: FLOPs of the whole batch, bytes of the gradient, and normal numbers that every process draws."""

    flops: float
    gradient: float
    normals: float


@dataclass(frozen=True)
class Machine:
    """What one device does.

    Args:
        flops: FLOP/s that it reaches on this network.
        inside, across: bytes a second to the next device, on the same node and on another.
        node: devices on a node.
        latency: seconds of one hop.
        normals: normal numbers a second that one CPU core draws.
    """

    flops: float
    inside: float
    across: float
    node: int = 8
    latency: float = 10e-6
    normals: float = 300e6


def all_reduce(size: float, devices: int, machine: Machine) -> float:
    """Seconds of a ring all-reduce: every device sends 2 (N - 1) / N of the ``size``, in 2 (N - 1) hops.

    seconds = 2 (N - 1) / N size / bandwidth + 2 (N - 1) latency

    (Patarasuk & Yuan 2009, https://doi.org/10.1016/j.jpdc.2008.09.002.) The slowest link of the ring sets the pace.
    """
    bandwidth = machine.inside if devices <= machine.node else machine.across
    return 2 * (devices - 1) / devices * size / bandwidth + 2 * (devices - 1) * machine.latency


def step(work: Work, devices: int, machine: Machine) -> float:
    """Seconds of a step of a fixed batch on ``devices`` devices.

    step = max(draw, compute / 3 + max(2 compute / 3, all_reduce)),   compute = FLOPs / (N FLOP/s)

    Gradients travel while the backward pass goes on, and the next batch is drawn beside all that, by every process for
    the whole batch.
    """
    compute = work.flops / (devices * machine.flops)
    exchanged = max((1 - FORWARD) * compute, all_reduce(work.gradient, devices, machine))
    return max(work.normals / machine.normals, FORWARD * compute + exchanged)


def work_of(recipe: str, size: int, batch: int) -> Work:
    """What a step of a recipe is on colour pictures of ``size`` pixels a side."""
    info = DataInfo("any", "any", 50_000, (3, size, size), "uint8", 0.0, 255.0, (0.0,) * 3, (1.0,) * 3)
    network = build_network(get_recipe(recipe).build(info), info)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Work(flops(network, info.shape, 1, backward=True) * batch, 4.0 * parameters, float(batch * prod(info.shape)))


def table(work: Work, machine: Machine, batch: int, counts: tuple[int, ...]) -> str:
    """Markdown: devices, milliseconds, images a second, times as fast as one, share of N times as fast."""
    one = step(work, 1, machine)
    rows = ["| devices | all-reduce, ms | step, ms | images/s | times one | of N |", "|---|---|---|---|---|---|"]
    for count in counts:
        seconds, exchange = step(work, count, machine), all_reduce(work.gradient, count, machine)
        rows.append(
            f"| {count} | {1e3 * exchange:.2f} | {1e3 * seconds:.2f} | {batch / seconds:,.0f} | "
            f"{one / seconds:.1f} | {one / seconds / count:.0%} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="ho2020-cifar10")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, action="append", help="of all devices together (default: 128 and 4096)")
    parser.add_argument("--flops", type=float, default=100e12, help="that a device reaches on this network")
    parser.add_argument("--inside", type=float, default=300e9, help="bytes a second between devices of a node")
    parser.add_argument("--across", type=float, default=50e9, help="bytes a second between devices of two nodes")
    parser.add_argument("--node", type=int, default=8, help="devices on a node")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64])
    given = parser.parse_args()
    machine = Machine(given.flops, given.inside, given.across, given.node)
    for batch in given.batch or [LoopConfig().batch, 4096]:
        work = work_of(given.recipe, given.size, batch)
        print(f"\n{given.recipe}, {given.size} x {given.size}, batch {batch}: {work.flops / 1e12:.2f} TFLOP a step, ")
        print(f"gradient {work.gradient / 1e6:.0f} MB, noise drawn in {1e3 * work.normals / machine.normals:.1f} ms\n")
        print(table(work, machine, batch, tuple(n for n in given.devices if n <= batch)))


if __name__ == "__main__":
    main()
