"""Edits by models of classes: translation from one to another, and classes together with the other edits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from undiffuse.conditioning.request import CLASS
from undiffuse.config.sampling import SampleConfig
from undiffuse.diffusion.denoiser import Prediction
from undiffuse.diffusion.gaussian import expand
from undiffuse.diffusion.linear_operators import Downsample
from undiffuse.diffusion.schedules import Schedule
from undiffuse.editing import Editor, Inverter, inpaint, invert, translate, upscale, vary
from undiffuse.editing.inversion import from_noise
from undiffuse.errors import UndiffuseError

SETTINGS = SampleConfig.of(sampler="ddim", steps=8, spacing="linspace", micro_batch=3)
KNOWN = torch.ones(1, 1, 8, 8)
KNOWN[..., 2:6, 3:7] = 0


@pytest.fixture
def editor(class_model):
    return Editor.of(class_model, SETTINGS)


@dataclass
class Told:
    """The exact denoiser of two Gaussians, N(mean of the class, std^2 I); of both alike where no class is told."""

    schedule: Schedule
    network: object = None
    means: tuple[float, float] = (-0.3, 0.4)
    stds: tuple[float, float] = (0.2, 0.1)

    def __call__(self, x_t, t, **conditions):
        label = conditions[CLASS]
        mean, std = (
            torch.tensor([*values, 0.0])[label].reshape(-1, 1, 1, 1).to(x_t) for values in (self.means, self.stds)
        )
        q_t = self.schedule(t)
        alpha, sigma = expand(q_t.alpha, x_t), expand(q_t.sigma, x_t)
        v = (alpha * std) ** 2 + sigma**2
        x0 = mean + alpha * std**2 / v * (x_t - alpha * mean)
        return Prediction(x0, (x_t - alpha * x0) / sigma)


def test_between_two_gaussians_translation_is_the_map_between_them(class_model, monkeypatch):
    """The flow of N(m, s^2) takes x to (x - m) / s in the limit; there and back is x -> m' + s' (x - m) / s."""
    monkeypatch.setattr(type(class_model), "denoiser", property(lambda self: Told(self.schedule)))
    editor = Editor.of(class_model, SETTINGS.changed(steps=50, threshold="none"))
    x0 = -0.3 + 0.2 * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = translate(editor, x0, "dogs", "cats", inverter=Inverter(exact=True, iterations=50, within=1e-6))
    assert found.inversion.error.max() < 1e-3
    torch.testing.assert_close(found.pictures, 0.4 + 0.1 * (x0 + 0.3) / 0.2, rtol=0, atol=0.05)


def test_an_edit_by_a_model_of_classes_tells_it_none_where_none_is_named(class_model, pictures):
    by_default, none, cats = (
        vary(Editor.of(class_model, SETTINGS.changed(classes=classes)), pictures, 0.5)
        for classes in ((), ("none",), ("cats",))
    )
    assert torch.equal(by_default, none)
    assert not torch.equal(by_default, cats)


def test_translation_to_its_own_class_without_guidance_is_the_reconstruction(editor, pictures):
    found = translate(editor, pictures, "cats", "cats")
    assert torch.equal(found.pictures, found.inversion.reconstructions)
    other = translate(editor, pictures, "dogs", "cats")
    assert torch.equal(other.inversion.latents, found.inversion.latents)
    assert not torch.allclose(other.pictures, found.pictures, atol=1e-3)


def test_guidance_leads_the_way_home_alone(editor, pictures):
    """Nobody is told that rescaling and an interval change nothing there: warnings are errors here."""
    how = SETTINGS.changed(guidance=3.0, guidance_rescale=0.1, guidance_interval=(0.0, 100.0), spacing="linspace")
    guided = Editor.of(editor.model, how)
    plain, led = (translate(e, pictures, "dogs", "cats") for e in (editor, guided))
    assert torch.equal(plain.inversion.latents, led.inversion.latents)
    assert not torch.allclose(plain.pictures, led.pictures, atol=1e-3)


def test_less_strength_keeps_more(editor, pictures):
    apart = [
        float((translate(editor, pictures, "dogs", "cats", strength=s).pictures - pictures).square().mean())
        for s in (0.2, 0.6, 1.0)
    ]
    assert apart[0] < apart[1] < apart[2]


def test_without_a_source_no_class_is_told(editor, pictures):
    none = Editor.of(editor.model, SETTINGS.changed(classes=("none",)))
    found = translate(editor, pictures, "dogs")
    assert torch.equal(found.inversion.latents, invert(none, pictures).latents)
    dogs = Editor.of(editor.model, SETTINGS.changed(classes=("dogs",)))
    assert torch.equal(found.pictures, from_noise(dogs, found.inversion.latents))


@pytest.mark.parametrize("edit", ["vary", "inpaint", "upscale"])
def test_every_edit_is_told_the_class_that_is_asked_for(class_model, pictures, edit):
    def made(**asked):
        editor = Editor.of(class_model, SampleConfig.of(sampler="ddpm", steps=5, micro_batch=3, **asked))
        if edit == "vary":
            return vary(editor, pictures, 0.8)
        if edit == "inpaint":
            return inpaint(editor, pictures, KNOWN, method="ddnm")
        return upscale(editor, Downsample(2).A(pictures), 2, method="ddnm")

    cats, dogs, led = made(classes=("cats",)), made(classes=("dogs",)), made(classes=("dogs",), guidance=3.0)
    assert not torch.allclose(cats, dogs, atol=1e-3)
    assert not torch.allclose(dogs, led, atol=1e-3)
    by_turns = made(classes=("cats", "dogs"))
    torch.testing.assert_close(by_turns[0::2], cats[0::2])
    torch.testing.assert_close(by_turns[1::2], dogs[1::2])
    if edit == "inpaint":
        assert torch.equal(led * KNOWN, pictures * KNOWN)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "dog"}, "perhaps you meant 'dogs'"),
        ({"to": "dogs", "source": "cat"}, "perhaps you meant 'cats'"),
        ({"to": "dogs", "strength": 0.0}, "above 0"),
        ({"to": "dogs", "strength": 1.2}, r"lies in 0\.\.1"),
    ],
)
def test_what_cannot_be_translated_is_a_sentence(editor, pictures, options, said):
    with pytest.raises(UndiffuseError, match=said):
        translate(editor, pictures, **options)


def test_a_model_without_classes_translates_nothing(model, pictures):
    with pytest.raises(UndiffuseError, match="trained without classes"):
        translate(Editor.of(model, SETTINGS), pictures, "dogs")
