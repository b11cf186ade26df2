"""DDPM: walk the chain back, adding fresh noise at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from undiffuse.denoiser import Denoiser
from undiffuse.errors import UndiffuseError
from undiffuse.gaussian import Posterior, expand, posterior, posterior_mean, transition
from undiffuse.sample import Noise


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

    variance: Literal["small", "large", "learned"] = "small"
    order: int = 1

    def init(self) -> None:
        return None

    def step(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "batch *shape"],
        t: Float[Tensor, ""],
        s: Float[Tensor, ""],
        state: None,
        noise: Noise,
    ) -> tuple[Float[Tensor, "batch *shape"], None]:
        q_s, q_t = denoiser.schedule(s), denoiser.schedule(t)
        prediction = denoiser(x, t)
        post = posterior(q_s, q_t)
        mean = posterior_mean(prediction.x0, x, post)
        if s == 0:
            return mean, None
        beta = transition(q_s, q_t).sigma ** 2
        std = self._std(post, beta, prediction.variance_fraction, like=x)
        return mean + std * noise.like(x), None

    def _std(self, post: Posterior, beta: Tensor, fraction: Tensor | None, like: Tensor) -> Tensor:
        small, large = expand(post.variance.sqrt(), like), expand(beta.sqrt(), like)
        if self.variance != "learned":
            return small if self.variance == "small" else large
        if fraction is None:
            raise UndiffuseError("This model did not learn its variance; use --variance small or large")
        return (fraction * large.log() + (1 - fraction) * small.log()).exp()
