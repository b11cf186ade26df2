"""Guidance on a Gaussian mixture whose classes are its components, where everything is known exactly."""

import math
from dataclasses import dataclass

import pytest
import torch

from undiffuse.config.sampling import Solver
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.exact_denoisers import MixtureDenoiser, gaussian_denoiser
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.guidance import Autoguided, ClassifierFree, ClassifierGuided, Conditioned, Guidance
from undiffuse.diffusion.samplers import DDIM, SAMPLERS
from undiffuse.diffusion.schedules import linear
from undiffuse.diffusion.timesteps import make_timesteps
from undiffuse.diffusion.trajectory import Noise, sample
from undiffuse.errors import UndiffuseError
from undiffuse.factories.sampler import make_sampler

MEANS = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
STD = 0.5
NULL = len(MEANS)
SCHEDULE = linear()


@dataclass(frozen=True)
class ByClass:
    """The exact denoiser of a mixture, or of one component where a class is given; class `NULL` is the mixture."""

    @property
    def schedule(self):
        return SCHEDULE

    def __call__(self, x_t, t, **conditions):
        rows = []
        for k, label in enumerate(conditions["label"].tolist()):
            means = MEANS if label == NULL else MEANS[label : label + 1]
            rows.append(MixtureDenoiser(SCHEDULE, means, STD)(x_t[k : k + 1], t[k : k + 1] if t.ndim else t))
        return Prediction(torch.cat([r.x0 for r in rows]), torch.cat([r.eps for r in rows]))


def exact_classifier(x_t, t):
    """log p(k | x_t) of the mixture's components, up to a constant."""
    q_t = SCHEDULE(t)
    v = expand((q_t.alpha * STD) ** 2 + q_t.sigma**2, x_t)
    return -(x_t[:, None] - expand(q_t.alpha, x_t)[..., None] * MEANS.to(x_t)).square().sum(-1) / (2 * v)


def points(n=6):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def labels(n=6, label=1):
    return {"label": torch.full((n,), label)}


def at(t):
    return torch.tensor(float(t), dtype=torch.float64)


def close(a, b, **tolerance):
    torch.testing.assert_close(a.x0, b.x0, **tolerance)
    torch.testing.assert_close(a.eps, b.eps, **tolerance)


@pytest.mark.parametrize("t", [1, 300, 1000])
def test_scale_one_is_the_conditional_model_and_zero_the_unconditional_one(t):
    x, wanted, null = points(), labels(), labels(label=NULL)
    one = ClassifierFree(ByClass(), wanted, null, Guidance(1.0))(x, at(t))
    zero = ClassifierFree(ByClass(), wanted, null, Guidance(0.0))(x, at(t))
    close(one, ByClass()(x, at(t), **wanted), rtol=0, atol=0)
    close(zero, ByClass()(x, at(t), **null), rtol=0, atol=0)


def test_a_scale_of_one_for_each_sample_is_exact_too():
    x, wanted, null = points(), labels(), labels(label=NULL)
    scales = torch.tensor([1.0, 0.0] * 3)
    mixed = ClassifierFree(ByClass(), wanted, null, Guidance(scales))(x, at(500))
    strong, weak = ByClass()(x, at(500), **wanted), ByClass()(x, at(500), **null)
    torch.testing.assert_close(mixed.x0[0::2], strong.x0[0::2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixed.x0[1::2], weak.x0[1::2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_x0_and_eps_stay_consistent_with_x_t(rescale):
    x = points()
    seen = ClassifierFree(ByClass(), labels(), labels(label=NULL), Guidance(4.0, rescale))(x, at(400))
    q_t = SCHEDULE(at(400))
    torch.testing.assert_close(q_t.alpha * seen.x0 + q_t.sigma * seen.eps, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_classifier_guidance_by_the_exact_classifier_is_classifier_free_guidance(scale):
    """grad log p(y | x_t) is the difference of the two scores, by Bayes' rule."""
    x, times = points(), torch.tensor([3.0, 50, 200, 500, 800, 1000], dtype=torch.float64)
    mixture = MixtureDenoiser(SCHEDULE, MEANS, STD)
    by_classifier = ClassifierGuided(mixture, exact_classifier, labels()["label"], scale)(x, times)
    free = ClassifierFree(ByClass(), labels(), labels(label=NULL), Guidance(scale))(x, times)
    close(by_classifier, free, rtol=1e-9, atol=1e-9)


def test_guidance_towards_a_gaussian_moves_its_mean_and_narrows_it_as_the_formula_says():
    """Two Gaussians of variance s^2: the guided score is that of another Gaussian, whose ODE has a closed form in mean.

    With equal variances the guided score is that of N(m_u + w (m_c - m_u), s^2), at every t, so samples have that mean
    and the old width.
    """
    weak, strong = gaussian_denoiser(SCHEDULE, (1,), 0.0, 0.5), gaussian_denoiser(SCHEDULE, (1,), 0.4, 0.5)
    guided = Autoguided(strong, weak, Guidance(3.0))
    exact = gaussian_denoiser(SCHEDULE, (1,), 3 * 0.4, 0.5)
    x = points()[:, :1]
    close(guided(x, at(321)), exact(x, at(321)), rtol=1e-10, atol=1e-10)
    drawn = sample(guided, DDIM(), make_timesteps(SCHEDULE, 250), (1,), Noise(0, range(2000)))
    assert drawn.mean() == pytest.approx(1.2, abs=0.04)
    assert drawn.std() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_sampler_takes_a_guided_denoiser(name):
    mixture = MixtureDenoiser(SCHEDULE, MEANS, STD)
    guided = ClassifierGuided(mixture, exact_classifier, torch.full((16,), 2), 2.0)
    drawn = sample(guided, make_sampler(Solver(sampler=name)), make_timesteps(SCHEDULE, 20), (2,), Noise(0, range(16)))
    nearest = (drawn.double()[:, None] - MEANS).square().sum(-1).argmin(1)
    assert (nearest == 2).all()


def test_outside_the_interval_it_is_the_conditional_model():
    level = SCHEDULE(at(500))
    sigma = float(level.sigma / level.alpha)
    x, wanted, null = points(), labels(), labels(label=NULL)
    for interval, acts in (((0.0, sigma / 2), False), ((sigma / 2, 2 * sigma), True), ((2 * sigma, math.inf), False)):
        seen = ClassifierFree(ByClass(), wanted, null, Guidance(3.0, 0.0, interval))(x, at(500))
        plain = ByClass()(x, at(500), **wanted)
        assert torch.equal(seen.x0, plain.x0) is not acts


def test_full_rescaling_gives_the_spread_of_the_conditional_prediction():
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = ClassifierFree(ByClass(), labels(4), labels(4, NULL), Guidance(5.0, 1.0))(x, at(200))
    plain = ByClass()(x, at(200), **labels(4))
    torch.testing.assert_close(seen.x0.std(1), plain.x0.std(1), rtol=1e-10, atol=1e-10)


def test_a_negative_condition_is_kept_away_from():
    """With weights 2 and -1 on two components, samples lie at 2 m_1 - m_0 for components of equal width."""
    guided = ClassifierFree(ByClass(), labels(64, 1), labels(64, 0), Guidance(2.0))
    drawn = sample(guided, DDIM(), make_timesteps(SCHEDULE, 100), (2,), Noise(0, range(64))).double()
    torch.testing.assert_close(drawn.mean(0), 2 * MEANS[1] - MEANS[0], rtol=0, atol=0.2)


def test_given_fills_conditions_in():
    x = points()
    close(Conditioned(ByClass(), labels())(x, at(9)), ByClass()(x, at(9), **labels()), rtol=0, atol=0)


@pytest.mark.parametrize("wrong", [{"rescale": 1.5}, {"interval": (2.0, 1.0)}, {"interval": (-1.0, 1.0)}])
def test_wrong_strengths_are_one_sentence(wrong):
    with pytest.raises(UndiffuseError):
        Guidance(2.0, **wrong)


def test_the_two_sides_need_the_same_names():
    with pytest.raises(UndiffuseError, match="same conditions"):
        ClassifierFree(ByClass(), labels(), {})
