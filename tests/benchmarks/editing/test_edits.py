"""What holes are filled with before any model is asked, and the table."""

from __future__ import annotations

import pytest
import torch

from benchmarks.editing import edits

KNOWN = torch.ones(1, 1, 28, 28)
KNOWN[(..., *edits.HOLE)] = 0


@pytest.mark.parametrize("fill", [edits.nearest_known, lambda x: edits.harmonic(x, KNOWN)])
def test_the_fillings_keep_what_is_known_and_do_not_look_at_the_rest(fill):
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    hidden = torch.where(KNOWN.bool(), x, 9.0)
    filled = fill(hidden)
    assert torch.equal(filled * KNOWN, x * KNOWN)
    assert filled.max() <= 1
    assert torch.equal(fill(torch.where(KNOWN.bool(), x, -9.0)), filled)


def test_a_slope_is_filled_exactly_by_the_smoothest_one():
    slope = torch.linspace(-1, 1, 28).expand(1, 1, 28, 28)
    torch.testing.assert_close(edits.harmonic(slope, KNOWN), slope, rtol=0, atol=1e-3)


def test_a_row_that_gives_the_truth_back_is_perfect(bench, capsys):
    edits.report(iter([("truth", 0, False, lambda x: x), ("left out", 0, False, lambda x: -x)]), bench, ("tru",))
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    assert row[1].strip() == "truth"
    assert float(row[3]) >= 90.0
    assert float(row[4]) == 0.0
