"""Ink in water: particles that only shake become a Gaussian cloud.

N particles start in a drop, a disc of radius R, and each does Brownian motion of its own,

    dx = sqrt(2 D) dW,

so that at time t the cloud is the drop blurred by a Gaussian of variance 2 D t a coordinate:

    Var[x_t] = R^2 / 4 + 2 D t,        x_t -> N(0, 2 D t) as 2 D t outgrows the drop.

This is diffusion as Einstein (1905) saw it, and the "variance exploding" forward process of a diffusion model. With a
restoring force it is the Ornstein-Uhlenbeck process

    dx = -theta x dt + sqrt(2 D) dW,    x_t = e^(-theta t) x_0 + sqrt(D / theta (1 - e^(-2 theta t))) eps,

which forgets its start and stays at variance D / theta: the "variance preserving" process (DDPM) with beta = 2 theta
and D = theta. Both have Gaussian transitions, so particles are moved exactly, whatever the length of a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from undiffuse.errors import UndiffuseError
from undiffuse.runtime.random_streams import stream_seed

Array = NDArray[np.float64]
NODES = 400
"""Quadrature nodes over the drop's width; exact to 1e-6 once sqrt(2 D t) exceeds R / 50."""


@dataclass(frozen=True)
class Water:
    """A drop of ink and the water it falls into."""

    particles: int = 6000
    diffusivity: float = 0.5
    """D, in squared lengths per unit of time."""
    radius: float = 0.35
    """R, the radius of the drop at t = 0."""
    centre: float = 0.0
    """Horizontal place of the drop; with a restoring force its mean decays as e^(-theta t)."""
    theta: float = 0.0
    """Strength of the restoring force; 0 is pure Brownian motion."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.particles < 1 or self.diffusivity <= 0 or self.radius <= 0 or self.theta < 0:
            raise UndiffuseError(
                "Ink in water needs at least one particle, a positive diffusivity and radius, and theta >= 0; got "
                f"{self.particles} particles, D = {self.diffusivity}, R = {self.radius}, theta = {self.theta}"
            )

    def transition(self, t: float) -> tuple[float, float]:
        """(a, s) of the Gaussian transition x_t = a x_0 + s eps, the `alpha` and `sigma` of this process."""
        if self.theta == 0:
            return 1.0, math.sqrt(2 * self.diffusivity * t)
        a = math.exp(-self.theta * t)
        return a, math.sqrt(self.diffusivity / self.theta * -math.expm1(-2 * self.theta * t))

    def mean(self, t: float) -> float:
        return self.transition(t)[0] * self.centre

    def variance(self, t: float) -> float:
        """Variance of one coordinate: a^2 R^2 / 4 + s^2."""
        a, s = self.transition(t)
        return a**2 * self.radius**2 / 4 + s**2

    def density(self, x: Array, t: float) -> Array:
        """Exact density of the horizontal coordinate at time t.

        A disc seen from the side is Wigner's semicircle, p_0(u) = 2 sqrt(1 - u^2) / pi on [-1, 1], and

            p_t(x) = integral p_0(u) N(x; a (c + R u), s^2) du

        is done by Gauss-Chebyshev quadrature of the second kind, whose weight the semicircle is.
        """
        a, s = self.transition(t)
        if s == 0:
            u = (x - self.centre) / self.radius
            return 2 / (math.pi * self.radius) * np.sqrt(np.clip(1 - u**2, 0, None))
        angle = np.arange(1, NODES + 1) * math.pi / (NODES + 1)
        weight = 2 / (NODES + 1) * np.sin(angle) ** 2
        z = (x[:, None] - a * (self.centre + self.radius * np.cos(angle))) / s
        return np.exp(-(z**2) / 2) @ weight / (s * math.sqrt(2 * math.pi))


def walk(water: Water, times: Array) -> Iterator[Array]:
    """Positions (particles, 2) at each of the increasing times, the first of which is 0: the drop."""
    random = np.random.default_rng(stream_seed(water.seed, "brownian"))
    angle = random.uniform(0, 2 * math.pi, water.particles)
    reach = water.radius * np.sqrt(random.uniform(0, 1, water.particles))
    places = np.stack([water.centre + reach * np.cos(angle), reach * np.sin(angle)], axis=1)
    yield places
    for dt in np.diff(times):
        a, s = water.transition(float(dt))
        places = a * places + s * random.standard_normal(places.shape)
        yield places
