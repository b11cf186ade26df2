"""An own sampler and an own rule of guidance, on the model of digits that comes with undiffuse.

python examples/sampler_and_guidance.py
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

import undiffuse
from undiffuse import register
from undiffuse.diffusion import Denoiser, Prediction, Schedule


@register.sampler("midpoint", evaluations_per_step=2, note="DDIM whose direction is that of the step's middle")
@dataclass(frozen=True)
class Midpoint:
    """x_s = alpha_s x0 + sigma_s eps with x0 and eps as the denoiser sees them half way to s."""

    order: int = 2

    def init(self) -> None: ...

    def step(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Any) -> tuple[Tensor, None]:
        middle = (t + s) / 2
        half = self._go(denoiser.schedule, denoiser(x, t), middle)
        return self._go(denoiser.schedule, denoiser(half, middle), s).to(x.dtype), None

    @staticmethod
    def _go(schedule: Schedule, seen: Prediction, s: Tensor) -> Tensor:
        at = schedule(s)
        return at.alpha * seen.x0 + at.sigma * seen.eps


@dataclass(frozen=True)
class Projected:
    """Guidance without what lies along the prediction itself, which oversaturates (APG, Sadat et al. 2024)."""

    scale: float = 4.0

    def active(self, schedule: Schedule, t: Tensor) -> bool:
        return self.scale != 1

    def mix(self, strong: Prediction, weak: Prediction, x_t: Tensor, t: Tensor, schedule: Schedule) -> Prediction:
        apart = (strong.x0 - weak.x0).flatten(1)
        along = normalize(strong.x0.flatten(1), dim=1)
        across = apart - (apart * along).sum(1, keepdim=True) * along
        x0 = strong.x0 + (self.scale - 1) * across.reshape(x_t.shape)
        return strong.with_x0(x0, x_t, schedule(t))


def main(n: int = 40, folder: str = "projected") -> None:
    samples = undiffuse.load("digits").sample(n, sampler="midpoint", steps=10, guidance=Projected(3.0))
    samples.save(folder, overwrite=True)  # each picture says by what it was drawn


if __name__ == "__main__":
    main()
