"""The errors of all samplers where the exact answer is known, as the tables in docs/measure/samplers.md.

    python -m benchmarks.samplers.sampler_convergence

* Convergence: the VP process (beta 0.1..20) from t = 1 to 1e-3 on a grid even in log-SNR, data N(0, 0.25). On Gaussian
  data a sampler is linear in x and in its noise, so that its error needs no sampling: of x for the deterministic
  samplers, of the output's variance for the others.
* Few evaluations: the linear chain of Ho et al. down to data, a 2-D mixture of three Gaussians, 512 starts; the root
  mean square distance of a deterministic sampler's end from that of the exact ODE.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from undiffuse.config.sampling import Solver
from undiffuse.diffusion.exact_denoisers import BasisNoise, MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.samplers import SAMPLERS, SamplerEntry
from undiffuse.diffusion.schedules import VP, DiscreteSchedule, cosine, linear
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, trajectory
from undiffuse.factories.sampler import make_sampler

STEPS = (12, 24, 48, 96)
DRAWS_PER_STEP = 2
"""The most noises that a sampler draws in a step."""


def error(info: SamplerEntry, steps: int) -> float:
    """The relative error after ``steps`` steps."""
    process = VP()
    denoiser = gaussian_denoiser(process)
    sampler = make_sampler(Solver(sampler=info.name, steps=steps, churn=2.0))
    times = make_timesteps(process, steps + 1, "log-snr")[:-1]
    first, last = (float(0.25 * q.alpha**2 + q.sigma**2) for q in (process(times[0]), process(times[-1])))
    x = torch.zeros(DRAWS_PER_STEP * steps + 1, 1, dtype=torch.float64)
    x[0] = math.sqrt(first)
    state, noise = sampler.init(), BasisNoise()
    for t, s in pairwise(times):
        x, state = sampler.step(denoiser, x, t, s, state, noise)
    ratio = float(x.square().sum()) / last
    return abs(ratio - 1 if info.stochastic else math.sqrt(ratio) - 1)


def convergence() -> None:
    """Print the table of errors over steps."""
    print("| sampler | " + " | ".join(f"{n} steps" for n in STEPS) + " | observed order |")
    print("|---|---|---|---|---|---|")
    for info in SAMPLERS.values():
        if info.evaluations_per_step is not None:
            errors = [error(info, n) for n in STEPS]
            cells = " | ".join(f"{e:.2e}" for e in errors)
            print(f"| `{info.name}` | {cells} | {math.log2(errors[-2] / errors[-1]):.2f} |", flush=True)


def mixture(evaluations: int = 20, spacings: Sequence[str] = ("trailing", "log-snr", "karras")) -> None:
    """Print the table of distances from the exact ODE's end."""
    means = torch.tensor([[-0.6, -0.4], [0.6, -0.5], [0.1, 0.7]], dtype=torch.float64)
    chains = {"linear": linear(), "cosine": cosine()}
    x = torch.randn(512, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def end(chain: DiscreteSchedule, name: str, steps: int, spacing: str) -> torch.Tensor:
        denoiser = MixtureDenoiser(chain, means, 0.15, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
        sampler = make_sampler(Solver(sampler=name, steps=steps, tolerance=1e-8))
        times = make_timesteps(chain, steps, spacing)
        return list(trajectory(denoiser, sampler, times, x, Noise(0, ())))[-1]

    print("| sampler | " + " | ".join(f"{c}, {spacing}" for c in chains for spacing in spacings) + " |")
    print("|---" * (1 + len(chains) * len(spacings)) + "|")
    exact = {name: end(chain, "ode", 1, "trailing") for name, chain in chains.items()}
    for info in SAMPLERS.values():
        if info.evaluations_per_step is not None and not info.stochastic:
            steps = evaluations // info.evaluations_per_step
            gaps = [end(c, info.name, steps, spacing) - exact[n] for n, c in chains.items() for spacing in spacings]
            cells = " | ".join(f"{float(gap.square().mean().sqrt()):.4f}" for gap in gaps)
            print(f"| `{info.name}` | {cells} |", flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    convergence()
    mixture()
