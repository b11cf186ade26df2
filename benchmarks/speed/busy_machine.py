"""How fast the demo's recipe trains alone and beside a busy process, with PyTorch's own waiting and with ours.

    python -m benchmarks.speed.busy_machine
    python -m benchmarks.speed.busy_machine --rounds 3 --spins 300000 1000 4000 10000     # other counts of spins
    python -m benchmarks.speed.busy_machine --cores 4

Each training is a process of its own on the given cores, with its threads: as many steps of the recipe 'digits' as
--steps says, the seconds of the wall's clock. The busy processes only count. The sides take turns; the median of the
rounds counts. A number of spins means PyTorch's own way, every operation divided among the threads, and 300,000 are
what libgomp does by itself; 'ours' is what `undiffuse train` does: rows in threads (src/undiffuse/runtime/threads.py)
and the spins of src/undiffuse/runtime/cores.py. On an idle machine: four minutes.
Writes benchmarks/results/busy_machine.json after each round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
UNTIMED = 5
GNU = "300000"
"""Spins of libgomp where nothing is set."""
TRAINING = """
import os
os.sched_setaffinity(0, {cores})
import undiffuse
from undiffuse.training.api import prepare_together
import time, torch
from undiffuse.runtime.allocator import keep_freed_memory
from undiffuse.config.data import DataConfig
from undiffuse.data.stream import open_data
from undiffuse.model import build_model
from undiffuse.recipes import get_recipe
from undiffuse.training.loop import training
from undiffuse.training.build import make_train_state, make_train_step
keep_freed_memory()
if {whole}:
    import undiffuse.runtime.threads
    undiffuse.runtime.threads.WORK = float("inf")
data = open_data(DataConfig(source="digits"), progress=False)
model = build_model(get_recipe("digits").build(data.info), data.info)
steps = training(make_train_step(model, data, 10_000), make_train_state(model))
for _ in range({untimed}):
    next(steps)
before = time.perf_counter()
for _ in range({steps}):
    next(steps)
print(time.perf_counter() - before, torch.get_num_threads())
"""
COUNTING = "import os\nos.sched_setaffinity(0, {cores})\nn = 0\nwhile True: n += 1"


def seconds(spins: str, neighbors: int, cores: set[int], steps: int) -> float:
    """Of a training beside so many busy processes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    if spins != "ours":
        environment["GOMP_SPINCOUNT"] = spins
    busy = [subprocess.Popen([sys.executable, "-c", COUNTING.format(cores=cores)]) for _ in range(neighbors)]
    try:
        time.sleep(1.0)  # so that the neighbours are at it when the training looks
        code = TRAINING.format(cores=cores, untimed=UNTIMED, steps=steps, whole=spins != "ours")
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return float(done.stdout.split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--steps", type=int, default=50, help="timed steps of each training (default 50)")
    parser.add_argument("--cores", type=int, default=2, help="that training and neighbours share (default 2)")
    parser.add_argument("--neighbours", type=int, default=1, help="busy processes (default 1)")
    parser.add_argument("--spins", nargs="*", default=[GNU, "ours"], help=f"(default: {GNU} ours)")
    args = parser.parse_args()
    cores = set(sorted(os.sched_getaffinity(0))[: args.cores])
    cases = [(spins, neighbors) for spins in args.spins for neighbors in (0, args.neighbors)]
    times: dict[str, list[float]] = {f"{spins} beside {neighbors}": [] for spins, neighbors in cases}
    for _ in range(args.rounds):
        for spins, neighbors in cases:
            taken = seconds(spins, neighbors, cores, args.steps)
            times[f"{spins} beside {neighbors}"].append(taken)
            print(f"{spins:>8} spins beside {neighbors}: {taken:7.2f} s", flush=True)
        write(args, times)
    alone = statistics.median(times[f"{args.spins[0]} beside 0"])
    for name, found in times.items():
        print(f"{name:<24}{statistics.median(found):8.2f} s{statistics.median(found) / alone:6.2f} of the first")


def write(args: argparse.Namespace, times: dict[str, list[float]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "busy_machine.json").write_text(json.dumps({"settings": vars(args), "seconds": times}, indent=2) + "\n")


if __name__ == "__main__":
    main()
