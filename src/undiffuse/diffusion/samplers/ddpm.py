"""DDPM: walk the chain back, adding fresh noise at every step."""

from __future__ import annotations

from dataclasses import dataclass

from undiffuse.diffusion.denoiser import Denoiser
from undiffuse.diffusion.gaussian import Batch, Time
from undiffuse.diffusion.reverse_step import Variance, reverse_log_variance, reverse_mean
from undiffuse.diffusion.trajectory import Noise


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), for any pair s < t.

    x_s = mean of q(x_s | x_t, predicted x0) + std z,   z ~ N(0, I)

    In the paper's terms the mean is (x_t - beta_t / sqrt(1 - alpha-bar_t) eps) / sqrt(1 - beta_t). The last step, to
    data, adds no noise.

    Args:
        variance: 'small' is beta-tilde, right where the data is one point; 'large' is beta, right where the data is
            N(0, I) (Ho et al. 2020, section 3.2; their CIFAR-10 samples use 'large', CelebA-HQ and LSUN 'small');
            'learned' is what the network says between the two (Nichol & Dhariwal 2021, eq. 15):
            log variance = fraction log beta + (1 - fraction) log beta-tilde.
    """

    variance: Variance = "small"
    order: int = 1

    def init(self) -> None:
        return None

    def step(self, denoiser: Denoiser, x: Batch, t: Time, s: Time, state: None, noise: Noise) -> tuple[Batch, None]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        prediction = denoiser(x, t)
        mean = reverse_mean(prediction, x, q_s, q_t)
        if s == 0:
            return mean, None
        log_variance = reverse_log_variance(self.variance, prediction, q_s, q_t)
        return mean + (0.5 * log_variance).exp() * noise.like(x), None
