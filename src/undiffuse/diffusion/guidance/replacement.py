"""Inpainting by replacement: the network sees the known pixels as the forward process would show them."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction, noise_in
from undiffuse.diffusion.gaussian import Batch, Times, q_sample
from undiffuse.diffusion.schedules import Schedule


@dataclass(frozen=True, eq=False)
class ReplacementInpainting:
    """Known pixels of x_t are replaced by noised ones before, and those of x0 by the known ones after.

    x_t <- m (alpha y + sigma e) + (1 - m) x_t,   x0 <- m y + (1 - m) x0

    (Song et al. 2021, appendix I.2, https://arxiv.org/abs/2011.13456; Lugmayr et al. 2022, eq. 8,
    https://arxiv.org/abs/2201.09865, without resampling.) The noise e is one for the whole walk, so what the network
    sees is a smooth function of t, as solvers of higher order need it. Under a deterministic sampler that starts from e
    this is DDNM with a mask.

    The rest of the picture learns of the known part only through the network, at each t from a noisy view: the border
    may show. `undiffuse.editing.repaint` goes back and forth to mend it.

    Args:
        known: y, of x's shape; what it holds where m = 0 does not matter.
        mask: m, 1 where y is known and 0 elsewhere; broadcasts against x.
        eps: e, standard normal, of x's shape: a function of (seed, picture), see `diffusion.trajectory.Noise`.
    """

    denoiser: Denoiser
    known: Batch
    mask: Float[Tensor, "..."]
    eps: Batch

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        q_t, m = self.schedule(t), self.mask
        seen = m * q_sample(self.known, self.eps, q_t) + (1 - m) * x_t
        prediction = self.denoiser(seen, t, **conditions)
        # Where x0 is the model's, eps stays the model's; where it is known, eps is what the sampler's own x_t says.
        eps = noise_in(x_t, self.known, q_t, prediction.eps)
        return Prediction(
            m * self.known + (1 - m) * prediction.x0,
            m * eps + (1 - m) * prediction.eps,
            prediction.variance_fraction,
        )
