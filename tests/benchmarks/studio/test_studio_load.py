"""A small load on a real server, and what counts as a failure."""

from __future__ import annotations

import pytest

from benchmarks.studio import studio_load


def test_pictures_under_load_are_the_librarys_and_share_evaluations(capsys):
    counts = studio_load.minute(8, 3, 6)
    assert counts.ends["done"] >= 8
    assert set(counts.statuses) <= {200, 202, 429}
    assert len(counts.to_picture) == counts.ends["done"]
    told = capsys.readouterr().out
    assert "6 pictures compared with Model.sample: 0 differ" in told
    assert float(told.split(" rows each")[0].split()[-1]) > 1


@pytest.mark.slow
def test_memory_stays_flat(capsys):
    first, last = studio_load.flat(600, 200, 16)
    assert last < 1.1 * first, capsys.readouterr().out


def test_failures_end_the_benchmark():
    counts = studio_load.Counts()
    studio_load.check(counts, 0)
    counts.statuses[429] += 1
    studio_load.check(counts, 0)
    with pytest.raises(SystemExit, match="1 differ"):
        studio_load.check(counts, 1)
    counts.ends["cancelled"] += 1
    with pytest.raises(SystemExit, match="1 streams ended ill"):
        studio_load.check(counts, 0)
    counts.statuses[500] += 1
    counts.statuses[422] += 1
    with pytest.raises(SystemExit, match="2 answers were refusals or failures"):
        studio_load.check(counts, 0)
