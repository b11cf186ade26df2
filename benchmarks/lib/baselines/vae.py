"""A small convolutional variational autoencoder.

A latent z of 16 dimensions with a standard normal prior, a Gaussian posterior and a logistic decoder over 256 levels,
trained on the bound (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114, eq. 3)

    log p(x) >= E_q(z|x) [log p(x|z)] - KL(q(z|x) || N(0, I))

The decoder gives a mean and a scale to each pixel; the probability of a level is the logistic's mass in its bin, the
outermost bins reaching to infinity (Salimans et al. 2017, https://arxiv.org/abs/1701.05517, eq. 2, one component). So
its likelihood is one of the data as they are, comparable to that of any model of integers. A tighter bound is the
importance-weighted one (Burda et al. 2016, https://arxiv.org/abs/1509.00519, eq. 8)

    log p(x) >= E log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x),     z_k ~ q(z|x)

Notable choices: a trunk of convolutions without normalisation, as deep as the GAN's generator; Adam with a falling
rate and averaged weights as for the other families; the bound itself as the loss, no weight on the KL term.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from benchmarks.lib.baselines.family import (
    LATENT,
    PIXELS,
    Averaged,
    FallingRate,
    batch_of,
    generator_trunk,
    image_trunk,
    seeded,
)
from benchmarks.lib.judge import TrainingData, as_kept
from undiffuse.runtime.random_streams import generator

HALF_BIN = 1 / 255
"""Of 256 levels in [-1, 1]."""
MIN_LOG_SCALE = -7.0
"""Below it a pixel's level is certain, and the mass in a bin is 1 to float32."""
LOG_STD = (-6.0, 2.0)
"""Bounds of a posterior's log standard deviation: its exponential is where training at a high rate breaks."""


def level_log_probability(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log P of levels x under a discretised logistic, elementwise.

        P(x) = S(a) - S(b),   a, b = (x +- 1/255 - mean) / s,   S the logistic function
             = S(a) S(-b) (1 - e^(b - a)),                      without cancellation

    and S(b) = 0 for the lowest level, S(a) = 1 for the highest.
    """
    narrow = torch.exp(-log_scale)
    a, b = (x + HALF_BIN - mean) * narrow, (x - HALF_BIN - mean) * narrow
    upper, lower = F.logsigmoid(a), F.logsigmoid(-b)
    inside = upper + lower + torch.log(-torch.expm1(-2 * HALF_BIN * narrow))
    return torch.where(x < -1 + HALF_BIN, upper, torch.where(x > 1 - HALF_BIN, lower, inside))


def expected_level(mean: Tensor, log_scale: Tensor) -> Tensor:
    """The mean of a logistic whose tails are cut to the ends of [-1, 1], elementwise.

        E clip(X, -1, 1) = -1 + int_{-1}^{1} P(X > u) du = -1 + s (softplus((m + 1) / s) - softplus((m - 1) / s))

    The location m itself says little: for a pixel that is often black it lies far below -1.
    """
    scale = log_scale.exp()
    return scale * (F.softplus((mean + 1) / scale) - F.softplus((mean - 1) / scale)) - 1


class Network(nn.Module):
    """Encoder x -> (mean, log standard deviation) of q(z|x); decoder z -> (location, log scale) of p(x|z)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = image_trunk(2 * LATENT)
        self.decoder = generator_trunk(2)

    def encode(self, x: Tensor) -> Normal:
        mean, log_std = self.encoder(x).chunk(2, 1)
        return Normal(mean, log_std.clamp(*LOG_STD).exp(), validate_args=False)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        location, log_scale = self.decoder(z).chunk(2, 1)
        return location, MIN_LOG_SCALE + F.softplus(log_scale - MIN_LOG_SCALE)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z), (B,)."""
        return level_log_probability(x, *self.decode(z)).flatten(1).sum(1)

    def bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """The bound on log p(x) with z = mean + std noise, nats, (B,)."""
        posterior = self.encode(x)
        z = posterior.mean + posterior.stddev * noise
        kl = torch.distributions.kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
        return self.log_likelihood(x, z) - kl

    @torch.no_grad()
    def weighted_bound(self, x: Tensor, count: int, stream: torch.Generator) -> Tensor:
        """The importance-weighted bound on log p(x) of ``count`` latents an image, nats, (B,)."""
        posterior, prior = self.encode(x), Normal(0.0, 1.0)
        weights = []
        for _ in range(count):
            z = posterior.mean + posterior.stddev * torch.randn(posterior.mean.shape, generator=stream)
            weights.append(self.log_likelihood(x, z) + (prior.log_prob(z) - posterior.log_prob(z)).sum(1))
        return torch.stack(weights).double().logsumexp(0) - math.log(count)


class VAE:
    """A training of the network above, step by step."""

    name = "VAE"
    evaluations = 1

    def __init__(
        self, data: TrainingData, seed: int, batch: int = 32, rate: float = 2e-3, average: float = 0.995
    ) -> None:
        self.data, self.seed, self.batch, self.rate = data, seed, batch, FallingRate(rate)
        self.network = seeded(Network, seed)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=rate, fused=True)
        self.averaged = Averaged(self.network, average)
        self.steps = 0

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def plan(self, spent: float, left: float) -> None:
        self.rate.plan(self.steps, spent, left)

    def step(self) -> None:
        x = batch_of(self.data.images, self.batch, self.steps, self.seed)
        noise = torch.randn(len(x), LATENT, generator=generator(self.seed, "latent", self.steps))
        loss = -self.network.bound(x, noise).mean() / PIXELS
        self.rate.set(self.optimizer, self.steps)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.averaged.ema.update(self.steps)
        self.steps += 1

    def trained(self) -> Network:
        """The network with the averaged weights."""
        return self.averaged.copy_into(seeded(Network, self.seed))

    @torch.no_grad()
    def draw(self, n: int, seed: int, expected: bool = False) -> Tensor:
        """Samples in [-1, 1], (n, 1, 28, 28): levels drawn from p(x|z), or expected ones, as often shown."""
        stream = generator(seed, "vae")
        location, log_scale = self.trained().decode(torch.randn(n, LATENT, generator=stream))
        if expected:
            return as_kept(expected_level(location, log_scale))
        u = torch.rand(location.shape, generator=stream).clamp(1e-6, 1 - 1e-6)
        return as_kept(location + log_scale.exp() * torch.logit(u))

    def bits(self, x: Tensor, count: int = 200, seed: int = 0) -> Tensor:
        """Upper bounds of the images' bits/dim, importance-weighted, (N,)."""
        network, stream = self.trained(), generator(seed, "importance")
        parts = [network.weighted_bound(part, count, stream) for part in x.split(100)]
        return -torch.cat(parts) / (PIXELS * math.log(2))
