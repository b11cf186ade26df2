"""Digits of 28 x 28 by a cascade and by one model, at equal processor time of training, by the judge of lib/judge.py.

    UNDIFFUSE_TEST_DATA=FOLDER python -m benchmarks.quality.cascade --seconds 240 --seeds 2 --out cascade.json

All networks are that of the recipe `digits`, whose patches make 28 x 28 pixels 14 x 14 positions; the base works on
14 x 14 pixels as they are. So a step costs all three about the same; base and stage share the time as --share says.
Rows: the single model; the stage upon real small digits, which is what a perfect base would give; small digits enlarged
by a bicubic filter; the cascade at several levels of augmentation. Drawing from the cascade costs two evaluations where
the single model needs one. One thread; what the machine is stands in the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lib.alternation import alternate, machine, write_json
from benchmarks.lib.judge import HEADER, Bench, TrainingData, as_kept, make_bench, model_space
from benchmarks.lib.ours import MICRO_BATCH, Ours
from undiffuse.conditioning.low_resolution import SmallImages, downsample
from undiffuse.config.data import DataConfig
from undiffuse.config.files import override
from undiffuse.config.sampling import SampleConfig
from undiffuse.config.schema import TrainConfig
from undiffuse.data.codec import codec_of
from undiffuse.data.order import batch_indices
from undiffuse.data.preparation.prepare import prepare
from undiffuse.model import Cascade, Model
from undiffuse.model.plan import LowerStage
from undiffuse.recipes import get_recipe
from undiffuse.visualization.grid import grid, to_image

LEVELS = (0.0, 0.1, 0.2, 0.4)
"""Of augmentation."""


def trainees(bench: Bench, seed: int) -> tuple[Ours, Ours, Ours]:
    """The single model, the base and the stage."""
    recipe = get_recipe("digits").build(bench.data.info)
    config: TrainConfig = override(recipe, seed=seed, device="cpu")
    small = prepare(DataConfig(source="digits", size=14))
    base = replace(config, data=replace(config.data, size=14), network=replace(config.network, patch=1))
    return (
        Ours("single", config, bench.data),
        Ours("base", base, TrainingData(small.info, small.images)),
        Ours("stage", override(config, upscale=2), bench.data),
    )


def rows(bench: Bench, models: tuple[Model, Model, Model], n: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Names and pictures in [-1, 1], (n, 1, 28, 28)."""
    single, base, stage = models
    settings = SampleConfig.of(micro_batch=MICRO_BATCH)
    yield "single model", model_space(single.sample(n, seed=seed, settings=settings).array)
    x0 = codec_of(bench.data.info).encode(bench.data.images[batch_indices(len(bench.data.images), n, 0, seed)])
    real = downsample(x0, 2)
    yield "real small digits, bicubic", as_kept(F.interpolate(real, scale_factor=2, mode="bicubic"))
    drawn = LowerStage(base.plan(settings))(range(n), seed)  # once for all rows, as a cascade draws them
    tried = [("stage upon real small digits", real, 0.1), *(("cascade", drawn, level) for level in LEVELS)]
    for name, small, level in tried:
        samples = stage.plan(settings, low_res=SmallImages(small), augmentation=level).sample(n, seed)
        yield f"{name}, {level:g}", model_space(samples.array)


def picture(cascade: Cascade, path: Path, columns: int = 14) -> None:
    """Small digits above what the stage makes of them."""
    plan = cascade.plan(micro_batch=columns)
    assert plan.low_res is not None
    small = plan.low_res(range(columns), 0)
    above = F.interpolate(small, scale_factor=2, mode="nearest")
    below = model_space(plan.sample(columns).array)
    values = ((torch.cat([above, below]) + 1) * 127.5).round().to(torch.uint8).numpy()
    sheet = grid([to_image(value, cascade.info) for value in values], columns)
    sheet.resize((2 * sheet.width, 2 * sheet.height), 0).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240, help="processor time of each training")
    parser.add_argument("--share", type=float, default=0.5, help="of the cascade's time that the base has")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("-n", type=int, default=1000, help="samples of each row")
    parser.add_argument("--out", type=Path, default=Path("cascade.json"))
    parser.add_argument("--keep", type=Path, help="folder for checkpoints of the models of seed 0")
    parser.add_argument("--picture", type=Path, help="small and enlarged digits of seed 0 as PNG")
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench = make_bench(args.n)
    asked = {"seconds": args.seconds, "share": args.share}
    results: dict[str, Any] = {"machine": machine(), **asked, "judge": bench.name, "seeds": []}
    print(HEADER)
    print(bench.row("held-out real digits", bench.held_out.images), flush=True)
    for seed in range(args.seeds):
        single, base, stage = trainees(bench, seed)
        for trainee, share in ((base, args.share), (stage, 1 - args.share), (single, 1.0)):
            load = alternate([trainee], [share * args.seconds], lambda trainee, mark, spent: None)
            print(f"seed {seed}, {trainee.name}: {load}", flush=True)
        print("; ".join(f"{t.name} {t.steps} steps, {t.parameters:,} parameters" for t in (single, base, stage)))
        models = (single.averaged(), base.averaged(), stage.averaged())
        if seed == 0 and args.keep:
            for trainee in (single, base, stage):
                trainee.keep(args.keep / trainee.name)
        found: dict[str, Any] = {"steps": {t.name: t.steps for t in (single, base, stage)}}
        for name, images in rows(bench, models, args.n, seed):
            scores = bench.measure(images)
            found[name] = scores.to_json()
            print(scores.row(name), flush=True)
        results["seeds"].append(found)
        write_json(args.out, results)
        if seed == 0 and args.picture:
            picture(Cascade((models[1], models[2])), args.picture)


if __name__ == "__main__":
    main()
