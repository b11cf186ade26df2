"""How long should the average of the weights be? Distance against its relative width, of one training.

    undiffuse train mnist-train.npz --recipe small --steps 1400 --ema 0.995 --ema-std 0.05,0.1 --name lengths
    python -m benchmarks.quality.average_lengths runs/lengths mnist-train.npz --widths 0.01 0.02 0.05 0.1 0.15 0.2

The rows: the last step's weights, each average that the training kept, and those made afterwards of its copies
(`undiffuse ema`). All draw the same -n samples; lib/feature_judge.py is the judge. Nothing is written to the run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import undiffuse
from benchmarks.lib.feature_judge import FeatureJudge, make_judge
from benchmarks.lib.ours import MICRO_BATCH
from undiffuse.config.data import DataConfig
from undiffuse.data.preparation.prepare import prepare
from undiffuse.model import Model
from undiffuse.training.optim.posthoc_ema import make_average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", help="labelled data that the run learned from")
    parser.add_argument("--widths", type=float, nargs="+", default=[0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2])
    parser.add_argument("-n", type=int, default=1000, help="samples of each row")
    args = parser.parse_args()
    torch.set_num_threads(1)
    judge = make_judge(prepare(DataConfig(source=args.data)))
    print(f"{judge}; N = {args.n}")
    print(f"{'weights':<16}{'copies':>8}{'mismatch':>10}{'distance':>10}")
    model = undiffuse.load(args.run, "raw")
    for weights in ("raw", *map(str, model.config.ema.ema)):
        print(f"{weights:<16}{'':>18}{distance(undiffuse.load(args.run, weights), judge, args.n):>10.1f}", flush=True)
    for std in args.widths:
        made = make_average(args.run, std)
        model.network.load_state_dict(dict(made.model.tensors))
        found = distance(model, judge, args.n)
        print(f"width {std:<10g}{made.copies:>8}{made.mismatch:>10.1%}{found:>10.1f}", flush=True)


def distance(model: Model, judge: FeatureJudge, n: int) -> float:
    """Of n samples of seed 0 by the default sampler."""
    return judge.distance(model.sample(n, seed=0, micro_batch=min(n, MICRO_BATCH)).array)


if __name__ == "__main__":
    main()
