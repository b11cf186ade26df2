"""The edits as methods of a model: what goes in comes out, and is what the functions in model space give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import undiffuse
from undiffuse.config.files import override
from undiffuse.config.schema import TrainConfig
from undiffuse.data.info import DataInfo
from undiffuse.editing import Editor, inpaint
from undiffuse.errors import UndiffuseError
from undiffuse.model import build_model

SIDES = (8, 12)
FEW = {"steps": 2}


def model_of(channels: int):
    small = {"base": 8, "multipliers": (1,), "blocks": 1, "attention_levels": (), "middle_attention": False}
    info = DataInfo("noise", "", 4, (channels, *SIDES), "uint8", 0.0, 255.0, (0.0,) * channels, (1.0,) * channels)
    model = build_model(override(TrainConfig(), parameterization="v", schedule="cosine", **small), info)
    model.network.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def grey():
    return model_of(1)


@pytest.fixture(scope="module")
def color():
    return model_of(3)


def values(channels=1, count=None, seed=0):
    shape = (channels, *SIDES) if count is None else (count, channels, *SIDES)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


MASK = np.zeros(SIDES, dtype=bool)
MASK[:4] = True


def test_inpainting_is_that_of_model_space(grey):
    picture = values()
    found = grey.inpaint(picture, MASK, method="replace", seed=3, sampler="ddim", **FEW)
    from undiffuse.editing.defaults import ADVISED

    editor = Editor.of(grey, ADVISED["replace"].changed(sampler="ddim", **FEW), seed=3, indices=(0,))
    known = torch.from_numpy(~MASK).float()[None, None]
    x0 = inpaint(editor, grey.codec.encode(picture[None]), known, method="replace")
    assert np.array_equal(found, grey.codec.decode(x0)[0])
    assert np.array_equal(found[:, 4:], picture[:, 4:]), "what is known stays"
    assert not np.array_equal(found[:, :4], picture[:, :4])


def test_what_comes_out_is_of_the_kind_that_went_in(color):
    array = values(3)
    last = np.moveaxis(array, 0, -1).copy()
    results = {
        "array": color.vary(array, **FEW),
        "last": color.vary(last, **FEW),
        "tensor": color.vary(torch.from_numpy(array), **FEW),
        "image": color.vary(Image.fromarray(last), **FEW),
    }
    assert results["array"].shape == (3, *SIDES)
    assert np.array_equal(np.moveaxis(results["last"], -1, 0), results["array"])
    assert torch.equal(results["tensor"], torch.from_numpy(results["array"]))
    assert np.array_equal(np.asarray(results["image"]), results["last"])
    several = color.vary([Image.fromarray(last)] * 2, n=2, **FEW)
    assert [image.size for image in several] == [SIDES[::-1]] * 4
    assert np.array_equal(np.asarray(several[0]), results["last"]), "the first stream of the seed"
    assert len({image.tobytes() for image in several}) == 4
    batch = color.vary(values(3, count=2), n=3, **FEW)
    assert batch.shape == (6, 3, *SIDES)


def test_a_picture_without_an_axis_of_channels_comes_back_without_one(grey):
    picture = values()
    flat, found = grey.vary(picture[0], **FEW), grey.vary(picture, **FEW)
    assert np.array_equal(flat, found[0])
    assert np.array_equal(grey.vary(picture[0], n=2, **FEW)[0], flat)


@pytest.mark.parametrize(
    "mask",
    [
        MASK,
        MASK[None, None],
        MASK.astype(np.uint8) * 255,
        torch.from_numpy(MASK.astype(np.float32)),
        Image.fromarray(MASK),
        Image.fromarray(MASK.astype(np.uint8) * 255),
        [Image.fromarray(MASK)],
    ],
)
def test_masks_of_every_kind_are_one(grey, mask):
    how = {"method": "replace", **FEW}
    assert np.array_equal(grey.inpaint(values(), mask, **how), grey.inpaint(values(), MASK, **how))


def test_all_ten(grey, color):
    picture, other = Image.fromarray(values()[0]), Image.fromarray(values(seed=1)[0])
    quick = {"method": "ddnm", **FEW}
    assert grey.outpaint(picture, right=4, method="replace", **FEW).size == (16, 8)
    assert grey.upscale(picture, factor=2, **quick).size == (24, 16)
    assert color.colorize(picture, **quick).mode == "RGB"
    assert grey.deblur(picture, std=1.0, **quick).size == picture.size
    assert grey.denoise(picture, noise=20.0, **FEW).size == picture.size
    assert len(grey.interpolate(picture, other, frames=3, way="shared", **FEW)) == 3
    with pytest.warns(UserWarning, match="comes back with less than 25 dB"):
        inverted = grey.invert(picture, **FEW)
    assert inverted.latents.shape == (1, 1, *SIDES)
    assert inverted.pictures.size == picture.size
    assert "dB" in inverted.notes[0]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: m.vary("photo.png"), "PIL image, an array or a tensor, or a list of them, got a str; open a file"),
        (lambda m: m.vary([]), "the list is empty"),
        (
            lambda m: m.vary(values(3)),
            r"has the shape \(3, 8, 12\); this edit of this model takes \(1, height",
        ),
        (lambda m: m.vary(values() / 255), "has values of float64, and the model learned uint8 from 0 to 255"),
        (lambda m: m.vary(Image.fromarray(np.moveaxis(values(3), 0, -1))), "is of mode 'RGB', and .* takes 'L'"),
        (lambda m: m.vary(values(), strenght=1.0), "has no option 'strenght'; perhaps you meant 'strength'"),
        (lambda m: m.vary(values(), n=0), "`n` is at least 1"),
        (lambda m: m.invert(values(), n=2), "no option 'n'|leave out `n`"),
        (lambda m: m.inpaint(values(), MASK[:4]), "`mask` has the size of the picture, 8 x 12"),
        (lambda m: m.inpaint(values(), ~MASK | MASK), "all of one color"),
        (lambda m: m.inpaint(values(), values()[0]), "holds true and false, 0 and 1, or 0 and 255"),
        (lambda m: m.inpaint(values(), "mask.png"), "`mask` is a PIL image, an array or a tensor, got a str"),
        (lambda m: m.inpaint(values(), MASK, method="dsp"), "'method' in the options must be one of"),
        (lambda m: m.interpolate(values(), values(count=2)), "from one picture to another of its size"),
        (lambda m: m.colorize(values()), "color"),
    ],
)
def test_what_cannot_be_is_one_sentence(grey, call, sentence):
    with pytest.raises(UndiffuseError, match=sentence):
        call(grey)


def test_the_shipped_digits_are_edited_in_one_line():
    digit = undiffuse.load("digits").sample(1, steps=1).images()[0]
    assert undiffuse.load("digits").vary(digit, strength=0.3, steps=2).size == digit.size
