"""Classifier guidance: any denoiser led towards a class by the gradient of a classifier of noisy images.

    score of q(x_t | y) = score of q(x_t) + w grad log p(y | x_t)
    eps <- eps - w sigma grad log p(y | x_t),    x0 <- x0 + w sigma^2 / alpha grad log p(y | x_t)

(Dhariwal & Nichol 2021, eq. 14 and algorithm 2, https://arxiv.org/abs/2105.05233.) The classifier must have seen noisy
images; one of clean images knows nothing of x_t.

Where alpha = 0 the gradient is 0 and is divided by it: x0 moves by w (E[x0 | y] - E[x0]) there, though x_t says nothing
of y. The classifier is asked for it at the last time at which there is something of x0 in x_t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from undiffuse.diffusion.denoiser import Denoiser, Prediction
from undiffuse.diffusion.gaussian import Batch, Times, as_times, expand
from undiffuse.diffusion.schedules import Schedule
from undiffuse.runtime.devices import send

NoisyClassifier = Callable[[Batch, Float[Tensor, "*batch"]], Float[Tensor, "batch classes"]]
"""(x_t, t) -> unnormalised log p(y | x_t), differentiable in x_t."""


@dataclass(frozen=True)
class ClassifierGuided:
    """A denoiser led by a classifier.

    Args:
        denoiser: unconditional or not; its schedule must be the classifier's.
        classifier: of noisy images.
        classes: what is wanted of each sample.
        scale: w; 0 leaves the denoiser as it is, 1 is Bayes' rule, more is more of the class and less variety.
    """

    denoiser: Denoiser
    classifier: NoisyClassifier
    classes: Int[Tensor, "batch"]
    scale: float = 1.0

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    def __call__(self, x_t: Batch, t: Times, **conditions: Tensor) -> Prediction:
        t = as_times(t)
        prediction = self.denoiser(x_t, t, **conditions)
        if self.scale == 0:
            return prediction
        q_t = self.schedule(t)
        seen = t if q_t.alpha.all() else torch.where(q_t.alpha == 0, self.schedule.t_last, t)
        alpha, sigma = expand(self.schedule(seen).alpha, x_t), expand(q_t.sigma, x_t)
        gradient = self.scale * log_probability_gradient(self.classifier, x_t, seen, self.classes)
        eps = prediction.eps - sigma * gradient
        if not q_t.alpha.all():  # x_t is eps, whatever y is
            eps = torch.where(expand(q_t.alpha, x_t) == 0, prediction.eps, eps)
        return Prediction(prediction.x0 + sigma**2 / alpha * gradient, eps, prediction.variance_fraction)


def log_probability_gradient(
    classifier: NoisyClassifier, x_t: Batch, t: Float[Tensor, "*batch"], classes: Int[Tensor, "batch"]
) -> Batch:
    """grad_x log p(y | x_t), each sample's own."""
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        log_p = classifier(x, t).log_softmax(-1)
        chosen = log_p.gather(1, send(classes, log_p.device)[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, x)
    return gradient
