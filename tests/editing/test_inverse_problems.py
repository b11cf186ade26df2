from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.linear_operators import LUMA, Blur, Downsample, Gray
from undiffuse.diffusion.samplers import SAMPLERS
from undiffuse.diffusion.schedules import Schedule, cosine
from undiffuse.editing import Editor, colorize, deblur, inpaint, outpaint, upscale
from undiffuse.editing.defaults import FillMethod, Method
from undiffuse.errors import UndiffuseError

# one list of options for all methods
pytestmark = pytest.mark.filterwarnings("ignore:.*changes nothing here")

KNOWN = torch.ones(1, 1, 8, 8)
KNOWN[..., 2:6, 3:7] = 0


@pytest.mark.parametrize("method", FillMethod.__args__)
def test_known_pixels_are_kept_to_the_bit_and_the_others_are_made(editor, pictures, method):
    made = inpaint(editor, pictures, KNOWN, method=method, jump=2, repeats=2)
    kept = KNOWN.bool().expand_as(made)
    assert torch.equal(made[kept], pictures[kept])
    assert made.isfinite().all()
    assert not torch.isclose(made, pictures)[~kept].all()


@pytest.mark.parametrize("method", FillMethod.__args__)
def test_what_is_hidden_makes_no_difference(editor, pictures, method):
    other = torch.where(KNOWN.bool(), pictures, 0.7)
    made = [inpaint(editor, x, KNOWN, method=method, jump=2, repeats=2) for x in (pictures, other)]
    assert torch.equal(*made)


def test_the_network_sees_the_known_pixels(editor, pictures):
    other = torch.where(KNOWN.bool(), -pictures, 0.0)
    hole = ~KNOWN.bool().expand_as(pictures)
    for method in ("replace", "repaint", "ddnm", "pigdm", "dps"):
        a, b = (inpaint(editor, x, KNOWN, method=method, jump=2, repeats=2) for x in (pictures, other))
        assert not torch.allclose(a[hole], b[hole])


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n != "ode"])
@pytest.mark.parametrize("method", ["repaint", "ddnm", "pigdm"])
def test_every_sampler_fills_holes(model, pictures, name, method):
    editor = Editor.of(model, SampleConfig.of(sampler=name, steps=4))
    made = inpaint(editor, pictures[:2], KNOWN, method=method, jump=2, repeats=2)
    assert made.isfinite().all()
    assert torch.equal(made * KNOWN, pictures[:2] * KNOWN)


def test_each_picture_may_have_a_mask_of_its_own(editor, pictures):
    masks = torch.ones(5, 1, 8, 8)
    for k in range(5):
        masks[k, :, k] = 0
    made = inpaint(editor, pictures, masks, method="ddnm")
    changed = ((made - pictures).abs() > 0).any(dim=(1, 3))
    assert torch.equal(changed, torch.eye(5, 8).bool())


def test_a_picture_gets_its_own_noise_whatever_stands_beside_it(editor, pictures):
    alone = inpaint(replace(editor, indices=(3,)), pictures[3:4], KNOWN, method="replace")
    among = inpaint(editor, pictures, KNOWN, method="replace")[3:4]
    torch.testing.assert_close(alone, among, rtol=1e-4, atol=1e-4)
    other = inpaint(replace(editor, indices=(2,)), pictures[3:4], KNOWN, method="replace")
    assert not torch.allclose(alone, other, atol=1e-2)


@pytest.mark.parametrize("method", Method.__args__)
def test_block_means_of_the_enlarged_are_the_small_picture(editor, pictures, method):
    small = Downsample(4).A(pictures)
    made = upscale(editor, small, 4, method=method)
    assert made.shape == pictures.shape
    torch.testing.assert_close(Downsample(4).A(made), small, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", Method.__args__)
def test_the_luma_of_the_coloured_is_the_grey_picture(color_model, pictures, method):
    made = colorize(Editor.of(color_model, SampleConfig.of(sampler="ddpm", steps=6)), pictures, method=method)
    assert made.shape == (5, 3, 8, 8)
    torch.testing.assert_close(Gray().A(made), pictures, rtol=1e-5, atol=1e-5)


@dataclass
class TwoColors:
    """The exact denoiser of pixels whose three channels are N(0, C), C = STD^2 [[1, r, 0], [r, 1, 0], [0, 0, 1]]."""

    schedule: Schedule
    covariance: torch.Tensor
    network: object = None

    def __call__(self, x_t, t, **conditions):
        q_t, C = self.schedule(t), self.covariance
        gain = q_t.alpha * C @ torch.linalg.inv(q_t.alpha**2 * C + q_t.sigma**2 * torch.eye(3).double())
        x0 = torch.einsum("ij,bj...->bi...", gain.to(x_t), x_t)
        return Prediction(x0, (x_t - expand(q_t.alpha, x_t) * x0) / expand(q_t.sigma, x_t))


def test_colours_follow_the_posterior_of_an_exact_prior(color_model, monkeypatch):
    """Given its luma y = w'x, N(0, C) has the mean C w y / (w' C w) and the covariance C - C w w' C / w'Cw."""
    C = 0.25**2 * torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
    w, y = torch.tensor(LUMA).double(), 0.1
    model = replace(color_model, schedule=cosine(1000))
    oracle = TwoColors(model.schedule, C)
    monkeypatch.setattr(type(model), "denoiser", property(lambda self: oracle))
    editor = Editor.of(model, SampleConfig.of(sampler="ddpm", steps=150))
    made = colorize(editor, torch.full((16, 1, 8, 8), y), method="pigdm")
    pixels = made.movedim(1, -1).reshape(-1, 3).double()
    mean, covariance = C @ w * y / (w @ C @ w), C - torch.outer(C @ w, C @ w) / (w @ C @ w)
    torch.testing.assert_close(pixels.mean(0), mean, rtol=0, atol=0.02)
    error = torch.linalg.norm(pixels.T.cov() - covariance)
    assert error < 0.25 * torch.linalg.norm(covariance)


def test_the_blur_of_the_sharpened_is_the_blurred_picture_up_to_its_noise(editor, pictures):
    blur, noise = Blur.gaussian(0.8), 0.05
    y = blur.A(pictures)
    made = deblur(editor, y, 0.8, noise=noise, method="ddnm")
    assert (blur.A(made) - y).square().mean().sqrt() < 2 * noise


@pytest.mark.parametrize("overlap", [None, 4])
def test_a_larger_picture_is_painted_around_the_given_one(editor, pictures, overlap):
    made = outpaint(replace(editor, overlap=overlap), pictures, ((0, 3), (5, 8)), method="replace")
    assert made.shape == (5, 1, 11, 21)
    assert torch.equal(made[:, :, :8, 5:13], pictures)
    assert made.isfinite().all()


def test_training_mode_is_given_back(editor, pictures):
    network = editor.model.network
    network.train()
    inpaint(editor, pictures[:1], KNOWN, method="ddnm")
    assert network.training
    network.eval()


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda e, x: inpaint(e, x, torch.ones(1, 1, 8, 9)), "mask should have"),
        (lambda e, x: inpaint(e, x, KNOWN * 0.5), "mask should be 1 where the pictures are known"),
        (lambda e, x: inpaint(e, x, KNOWN * torch.nan), "it has other values"),
        (lambda e, x: inpaint(e, x, KNOWN, method="dsp"), "perhaps you meant 'dps'"),
        (lambda e, x: colorize(e, x), "3 channels"),
        (lambda e, x: outpaint(e, x, ((-1, 0), (0, 0))), "from 0 on"),
        (lambda e, x: inpaint(replace(e, indices=(1,)), x, KNOWN), "random stream"),
        (
            lambda e, x: inpaint(e, x, KNOWN, method="repaint", repeats=0),
            "`repeats` takes a whole number from 1 on, and it is 0",
        ),
    ],
)
def test_what_makes_no_sense_is_a_sentence(editor, pictures, edit, said):
    with pytest.raises(UndiffuseError, match=said):
        edit(editor, pictures)
