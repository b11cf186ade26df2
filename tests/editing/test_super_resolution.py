"""Pictures enlarged by a model that learned to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from undiffuse.config.sampling import SampleConfig
from undiffuse.editing import Editor, enlarge, vary
from undiffuse.errors import UndiffuseError

SETTINGS = SampleConfig.of(sampler="ddpm", steps=4, micro_batch=3, augmentation=0.0)


@pytest.fixture
def editor(stage):
    return Editor.of(stage, SETTINGS)


def test_pictures_of_any_size_become_twice_as_large(editor, pictures):
    assert enlarge(editor, pictures[:, :, :4, :4]).shape == (5, 1, 8, 8)
    assert enlarge(editor, pictures[:, :, :6, :5]).shape == (5, 1, 12, 10)


def test_the_stage_sees_the_picture(editor, pictures):
    small = pictures[:, :, :4, :4]
    made, other = enlarge(editor, small), enlarge(editor, -small)
    assert not torch.allclose(made, other, atol=1e-3)
    noisy = enlarge(Editor.of(editor.model, SETTINGS.changed(augmentation=0.5)), small)
    assert not torch.allclose(made, noisy, atol=1e-3)


def test_a_picture_is_enlarged_alike_whatever_stands_beside_it(editor, pictures):
    small = pictures[:, :, :4, :4]
    settings = SETTINGS.changed(augmentation=0.3)
    among = enlarge(Editor.of(editor.model, settings), small)[3:4]
    alone = enlarge(Editor.of(editor.model, settings, indices=(3,)), small[3:4])
    torch.testing.assert_close(alone, among, rtol=1e-4, atol=1e-4)


def test_a_stage_does_nothing_else_and_others_do_not_enlarge_so(editor, model, pictures):
    with pytest.raises(UndiffuseError, match="edits nothing else"):
        vary(Editor.of(editor.model, SETTINGS), pictures)
    with pytest.raises(UndiffuseError, match="never learned to enlarge"):
        enlarge(Editor.of(model), pictures)
    with pytest.raises(UndiffuseError, match="leave out `overlap`"):
        enlarge(replace(editor, overlap=2), pictures)
