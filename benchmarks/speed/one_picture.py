"""What one picture costs, from the command to the file: seconds, processor time and memory, beside diffusers.

    python -m benchmarks.speed.one_picture                      # both parts; diffusers must be installed
    python -m benchmarks.speed.one_picture --only digits        # without diffusers

* **256 x 256**: the layout of google/ddpm-celebahq-256, 113,673,219 parameters, with random weights that are saved once
  to a scratch folder. Two steps of DDIM. Ours is `undiffuse sample DIR -n 1`, and the same with `--micro-batch 16`, as
  it was before sizes were a rule; theirs is `DDPMPipeline.from_pretrained(DIR)`, its scheduler changed to DDIM, and
  `image.save`.
* **digits**: the model that ships, 1, 4 and 64 pictures with the defaults, by the rule and by sixteen.

Each command is a process of its own, and sides take turns within a round. Memory is the most that the process had.
Writes benchmarks/results/one_picture.json after each round. Sixteen of 256 x 256 need 7 GB and minutes: --no-before
leaves them out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
PARAMETERS = 113_673_219
MAKE = """
import sys, torch, diffusers
torch.manual_seed(0)
down = ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"]
unet = diffusers.UNet2DModel(
    sample_size=256, in_channels=3, out_channels=3, layers_per_block=2,
    block_out_channels=(128, 128, 256, 256, 512, 512),
    down_block_types=down, up_block_types=["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4, attention_head_dim=None,
    downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6,
)
print(sum(p.numel() for p in unet.parameters()))
diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(sys.argv[1])
"""
THEIRS = """
import sys, diffusers
pipeline = diffusers.DDPMPipeline.from_pretrained(sys.argv[1])
pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
pipeline.set_progress_bar_config(disable=True)
pipeline(batch_size=1, num_inference_steps=2).images[0].save(sys.argv[2])
"""


def run(words: list[str]) -> dict[str, float]:
    """Seconds, seconds of the processor and MiB of a command.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read() if process.stderr else b""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: {said.decode(errors='replace')[-2000:]}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "seconds": time.perf_counter() - began,
        "processor": used.ru_utime + used.ru_stime,
        "mib": used.ru_maxrss / unit,
    }


def large(folder: Path, before: bool) -> dict[str, list[str]]:
    """The commands that draw one picture of 256 x 256; the model is saved where it is not there yet."""
    model = folder / "celebahq-256-random"
    if not (model / "model_index.json").exists():
        made = subprocess.run([sys.executable, "-c", MAKE, str(model)], check=True, capture_output=True, text=True)
        assert int(made.stdout.split()[-1]) == PARAMETERS, made.stdout
    ours = [sys.executable, "-m", "undiffuse", "sample", str(model), "-n", "1", "--sampler", "ddim", "--steps", "2"]
    ours += ["--device", "cpu", "--overwrite", "--out", str(folder / "ours")]
    found = {"256 x 256, undiffuse": ours, "256 x 256, diffusers": [sys.executable, "-c", THEIRS, str(model)]}
    found["256 x 256, diffusers"].append(str(folder / "theirs.png"))
    return {**found, "256 x 256, undiffuse by 16": [*ours, "--micro-batch", "16"]} if before else found


def digits(folder: Path) -> dict[str, list[str]]:
    """The commands that draw digits."""
    found = {}
    for n in (1, 4, 64):
        words = [sys.executable, "-m", "undiffuse", "sample", "digits", "-n", str(n), "--device", "cpu", "--overwrite"]
        words += ["--out", str(folder / f"digits-{n}")]
        found |= {f"digits, {n}": words, f"digits, {n} by 16": [*words, "--micro-batch", "16"]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    parser.add_argument("--only", choices=("256", "digits"), help="one of the two parts")
    parser.add_argument("--no-before", action="store_true", help="without sixteen of 256 x 256")
    parser.add_argument(
        "--folder", type=Path, help="for the model and the pictures (default: one in the temporary ones)"
    )
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.gettempdir()) / "undiffuse-one-picture"
    folder.mkdir(parents=True, exist_ok=True)
    commands = {} if args.only == "digits" else large(folder, not args.no_before)
    commands |= {} if args.only == "256" else digits(folder)
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(args.rounds):
        rounds.append({name: run(words) for name, words in commands.items()})
        medians = {
            name: {what: statistics.median(one[name][what] for one in rounds) for what in rounds[0][name]}
            for name in commands
        }
        RESULTS.mkdir(exist_ok=True)
        settings = {"rounds": number + 1, "threads": os.environ.get("OMP_NUM_THREADS"), "cores": os.cpu_count()}
        content = {"settings": settings, "medians": medians, "rounds": rounds}
        (RESULTS / "one_picture.json").write_text(json.dumps(content, indent=2) + "\n")
    for name, row in medians.items():
        print(f"{name:<28}{row['seconds']:8.1f} s {row['processor']:8.1f} s of processor {row['mib']:9,.0f} MiB")


if __name__ == "__main__":
    main()
