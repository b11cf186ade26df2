"""A small generative adversarial network: a generator that a discriminator cannot tell from the data.

The non-saturating losses (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3), in logits D,

    discriminator:  E softplus(-D(x)) + E softplus(D(G(z))) + gamma / 2 E |grad_x D(x)|^2
    generator:      E softplus(-D(G(z))),                                z ~ N(0, I)

with the penalty R1 on the gradient at real images, which makes the training converge (Mescheder et al. 2018,
https://arxiv.org/abs/1801.04406, eq. 9). As it is smooth it is taken at every 16th step with 16 times the weight
(Karras et al. 2020, https://arxiv.org/abs/1912.04958, section 3.1).

Notable choices: no normalisation in either network; Adam without momentum, as is usual with R1; the generator that
draws has averaged weights, as for the other families. It has no likelihood.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.lib.baselines.family import (
    LATENT,
    Averaged,
    FallingRate,
    batch_of,
    generator_trunk,
    image_trunk,
    seeded,
)
from benchmarks.lib.judge import TrainingData, as_kept
from undiffuse.runtime.random_streams import generator

LAZY = 16
"""Steps from one penalty to the next."""


def make_discriminator() -> nn.Sequential:
    """x (B, 1, 28, 28) -> logits (B, 1)."""
    return image_trunk(1)


def make_generator() -> nn.Sequential:
    """z (B, LATENT) -> x in [-1, 1], (B, 1, 28, 28)."""
    return nn.Sequential(generator_trunk(1), nn.Tanh())


def gradient_penalty(discriminator: nn.Module, x: Tensor) -> Tensor:
    """|grad_x D(x)|^2 of each image, differentiable, (B,)."""
    x = x.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1)


class GAN:
    """A training of both networks, step by step: one of the discriminator, one of the generator."""

    name = "GAN"
    evaluations = 1

    def __init__(
        self,
        data: TrainingData,
        seed: int,
        batch: int = 32,
        rate: float = 2e-3,
        gamma: float = 2.0,
        average: float = 0.995,
    ) -> None:
        self.data, self.seed, self.batch, self.gamma = data, seed, batch, gamma
        self.rate = FallingRate(rate)
        self.generator, self.discriminator = seeded(make_generator, seed), seeded(make_discriminator, seed)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate, betas=(0.0, 0.99), fused=True)
            for network in (self.generator, self.discriminator)
        ]
        self.averaged = Averaged(self.generator, average)
        self.steps = 0

    @property
    def parameters(self) -> int:
        networks = (self.generator, self.discriminator)
        return sum(parameter.numel() for network in networks for parameter in network.parameters())

    def plan(self, spent: float, left: float) -> None:
        self.rate.plan(self.steps, spent, left)

    def step(self) -> None:
        x = batch_of(self.data.images, self.batch, self.steps, self.seed)
        stream = generator(self.seed, "latent", self.steps)
        of_generator, of_discriminator = self.optimizers
        self.rate.set(of_generator, self.steps)
        self.rate.set(of_discriminator, self.steps)
        fake = self.generator(torch.randn(len(x), LATENT, generator=stream))

        loss = (F.softplus(-self.discriminator(x)) + F.softplus(self.discriminator(fake.detach()))).mean()
        if self.steps % LAZY == 0:
            loss = loss + LAZY * self.gamma / 2 * gradient_penalty(self.discriminator, x).mean()
        of_discriminator.zero_grad()
        loss.backward()
        of_discriminator.step()

        # The same images serve the generator, whose graph is still there: one pass through it a step instead of two.
        self.discriminator.requires_grad_(False)
        of_generator.zero_grad()
        F.softplus(-self.discriminator(fake)).mean().backward()
        self.discriminator.requires_grad_(True)
        of_generator.step()
        self.averaged.ema.update(self.steps)
        self.steps += 1

    @torch.no_grad()
    def draw(self, n: int, seed: int) -> Tensor:
        """Samples in [-1, 1], (n, 1, 28, 28)."""
        z = torch.randn(n, LATENT, generator=generator(seed, "gan"))
        network = self.averaged.copy_into(seeded(make_generator, self.seed))
        return as_kept(torch.cat([network(part) for part in z.split(100)]))
