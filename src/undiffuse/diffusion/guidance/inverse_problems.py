"""Pictures that explain a measurement y = A x0 + noise: three approximations of one equation.

By Bayes' rule the posterior's score is that of the prior and the likelihood's gradient, and with it

    x0 <- x0 + sigma^2 / alpha grad_{x_t} log p(y | x_t),    eps <- eps - sigma grad log p(y | x_t).

p(y | x_t) is an integral over x0 that no network gives. Who takes what for it, with J = d x0 / d x_t, e = y - A x0:

    DPS    x0 | x_t is the point x0                     gradient  ~ J' At e, a step of fixed length
    PiGDM  x0 | x_t ~ N(x0, r^2 I)                      gradient  J' At (r^2 A At + noise^2 I)^-1 e
    DDNM   the same with J for an isotropic Gaussian    x0 <- x0 + At (A At + noise^2 / r^2 I)^-1 e

The last is a projection where there is no noise, and costs nothing: the others differentiate the network. For data
from an isotropic Gaussian of std ``data_std``, r^2 = data_std^2 sigma^2 / (alpha^2 data_std^2 + sigma^2) is the
variance of x0 given x_t, J = alpha r^2 / sigma^2, and the last two are the same and exact. docs/use/editing.md has
their errors where data are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Marginal, Times, as_times, expand, posterior
from undiffuse.diffusion.linear_operators import LinearOperator
from undiffuse.diffusion.schedules import Schedule
from undiffuse.errors import UndiffuseError


@dataclass(frozen=True, eq=False)
class LinearMeasurement:
    """Known values y = A x0 + noise of a batch of pictures.

    Args:
        operator: A.
        y: the measurements, one a picture, in model space.
        noise: standard deviation of their noise, in model space; 0 for exact ones.
        data_std: of the data in model space; 1 is what the papers take.

    Raises:
        UndiffuseError: negative noise, or data without spread.
    """

    operator: LinearOperator
    y: Float[Tensor, "batch measured_channels *measured"]
    noise: float = 0.0
    data_std: float = 1.0

    def __post_init__(self) -> None:
        if not (self.noise >= 0 and self.data_std > 0):
            raise UndiffuseError(
                "A measurement needs noise >= 0 and data_std > 0; "
                f"it got noise={self.noise:g} and data_std={self.data_std:g}"
            )

    def correction(self, x0: Batch, q_t: Marginal) -> Batch:
        """At (A At + noise^2 / r^2 I)^-1 (y - A x0): the least change that explains y, as far as it can be trusted."""
        gap = self.y - self.operator.A(x0)
        if self.noise == 0:
            return self.operator.pinv(gap)
        return self.operator.At(self.operator.resolvent(gap, self.noise**2 / self.variance(q_t)))

    def variance(self, q_t: Marginal) -> Float[Tensor, "*batch"]:
        """r^2, the variance of x0 given x_t (Song et al. 2023, section 3.2, there with data_std = 1)."""
        return (self.data_std * q_t.sigma) ** 2 / ((self.data_std * q_t.alpha) ** 2 + q_t.sigma**2)

    def projected(self, x0: Batch) -> Batch:
        """The nearest picture with A x0 = y; for a mask the known values are put in place."""
        return x0 + self.operator.pinv(self.y - self.operator.A(x0))


@dataclass(frozen=True, eq=False)
class DDNM:
    """The prediction's part in the range of A' is the measurement's, the rest stays the model's.

    x0 <- pinv(y) + (I - pinv A) x0   without noise       Wang et al. 2023, eq. 8, https://arxiv.org/abs/2212.00490
    x0 <- argmin |y - A x|^2 / noise^2 + |x - x0|^2 / r^2   with it       Zhu et al. 2023, https://arxiv.org/abs/2305.08995

    For a mask the known values follow the exact bridge q(x_s | x_t, y) of the sampler, down to y itself.
    """

    denoiser: Denoiser
    observation: LinearMeasurement

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        prediction, q_t = self.denoiser(x_t, t, **conditions), self.schedule(t)
        return prediction.with_x0(prediction.x0 + self.observation.correction(prediction.x0, q_t), x_t, q_t)


@dataclass(frozen=True, eq=False)
class PiGDM:
    """Pseudo-inverse guidance (Song et al. 2023, eq. 5-7, https://openreview.net/forum?id=9_gsMA8MRKQ).

    x0 <- x0 + scale sigma^2 / (alpha r^2) J' At (A At + noise^2 / r^2 I)^-1 (y - A x0)

    One evaluation and its gradient. Where alpha = 0 the factor is infinite and J is 0: a network that is exact has
    J = alpha r^2 / sigma^2 I there for isotropic data, as it is told of them by data_std, and the correction is DDNM's,
    x0 + scale At (A At + noise^2 / r^2 I)^-1 (y - A x0). What a network has in place of that 0 is its error.

    Args:
        scale: 1 is Bayes' rule for this likelihood.
    """

    denoiser: Denoiser
    observation: LinearMeasurement
    scale: float = 1.0

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        q_t = self.schedule(t)
        if not q_t.alpha.any():
            return self._from_noise(self.denoiser(x_t, t, **conditions), x_t, q_t)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            prediction = self.denoiser(x, t, **conditions)
            toward = self.observation.correction(prediction.x0.detach(), q_t)
            (pulled,) = torch.autograd.grad((prediction.x0 * toward).sum(), x)
        variance = self.observation.data_std**2
        gain = (variance * q_t.alpha**2 + q_t.sigma**2) / (q_t.alpha * variance)  # sigma^2 / (alpha r^2)
        corrected = expand(torch.where(q_t.alpha == 0, 0.0, gain), x_t) * pulled
        if not q_t.alpha.all():
            corrected = torch.where(expand(q_t.alpha, x_t) == 0, toward, corrected)
        prediction = detached(prediction)
        return prediction.with_x0(prediction.x0 + self.scale * corrected, x_t, q_t)

    def _from_noise(self, prediction: Prediction, x_t: Batch, q_t: Marginal) -> Prediction:
        x0 = prediction.x0
        return prediction.with_x0(x0 + self.scale * self.observation.correction(x0, q_t), x_t, q_t)


@dataclass(frozen=True, eq=False)
class DPS:
    """Diffusion posterior sampling (Chung et al. 2023, algorithm 1, https://arxiv.org/abs/2209.14687).

    x_s <- x_s - scale grad_{x_t} |y - A x0|

    The paper's step has this length whatever the time, so the denoiser must know the grid: x0 is moved by as much as
    moves DDPM's x_s that far. Under DDPM it is the paper's algorithm; under other samplers x0 is moved as much. It
    wants the paper's many steps (hundreds): the gradient of the norm does not get smaller near the end. At t = 0 there
    is no step to take, and nothing is done.

    Args:
        times: the grid that is walked, falling to 0.
        scale: zeta', 0.3 to 1 in the paper's experiments.
    """

    denoiser: Denoiser
    observation: LinearMeasurement
    times: Float[Tensor, "points"]
    scale: float = 1.0

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        t = as_times(t)
        q_t = self.schedule(t)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            prediction = self.denoiser(x, t, **conditions)
            gap = self.observation.y - self.observation.operator.A(prediction.x0)
            # The gradient of a norm at 0 is not a number; there it should be 0.
            norm = (gap.flatten(1).square().sum(1) + torch.finfo(x.dtype).tiny).sqrt().sum()
            (gradient,) = torch.autograd.grad(norm, x)
        weight = posterior(self.schedule(self._next(t)), q_t).x0_weight
        length = torch.where(q_t.sigma == 0, 0.0, self.scale / weight)
        prediction = detached(prediction)
        return prediction.with_x0(prediction.x0 - expand(length, x_t) * gradient, x_t, q_t)

    def _next(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The time to which a step of the grid leads from t; between two points, a step as long as theirs."""
        rising = self.times.flip(0)
        above = torch.searchsorted(rising, t.cpu().double()).clamp(1, len(rising) - 1)
        return (t - (rising[above] - rising[above - 1])).clamp(min=0)


def detached(prediction: Prediction) -> Prediction:
    """The prediction without the network's graph behind it."""
    fraction = prediction.variance_fraction
    return Prediction(prediction.x0.detach(), prediction.eps.detach(), None if fraction is None else fraction.detach())
