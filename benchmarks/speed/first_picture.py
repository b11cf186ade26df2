"""How long the first picture takes, from the command to the file, beside what it cannot do without.

    python -m benchmarks.speed.first_picture

`undiffuse sample digits -n 4` beside `import torch` and the evaluations of the network, which take turns, each in
processes of their own, of one thread. Seconds are the processor's, so that a busy machine stretches them little (with
more threads they would hold what threads spin while they wait); the ratio of each round is of neighbours in time, and
the median of the rounds is what counts. Writes benchmarks/results/first_picture.json. A minute on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
IMPORT = "import torch"
EVALUATIONS = """
import time, undiffuse
model = undiffuse.load("digits")
model.sample({n}, steps=1)
before = time.process_time()
model.sample({n})
print(time.process_time() - before)
"""
"""Prints the seconds that the steps of a sample take once everything is loaded."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="(default 7)")
    parser.add_argument("-n", type=int, default=4, help="pictures (default 4)")
    args = parser.parse_args()
    rows = []
    for number in range(args.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            command = ["-m", "undiffuse", "sample", "digits", "-n", str(args.n), "--out", folder + "/pictures"]
            whole = processor_seconds(command)
            needed = processor_seconds(["-c", IMPORT])
        evaluations = float(python(["-c", EVALUATIONS.format(n=args.n)]))
        row = {"command": whole, "import torch": needed, "evaluations": evaluations}
        row["ratio"] = whole / (needed + evaluations)
        if number:  # the first fills the system's cache of files
            rows.append(row)
            print("  ".join(f"{name} {value:.2f}" for name, value in row.items()), flush=True)
    medians = {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}
    print("median: " + "  ".join(f"{name} {value:.2f}" for name, value in medians.items()))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "first_picture.json").write_text(json.dumps({"medians": medians, "rounds": rows}, indent=2) + "\n")


def python(words: list[str]) -> str:
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True, env=one).stdout


def processor_seconds(words: list[str]) -> float:
    before = os.times()
    python(words)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
