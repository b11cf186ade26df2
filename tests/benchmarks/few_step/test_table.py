"""Rows of few evaluations: added one at a time, never twice, never of two judges."""

from __future__ import annotations

import json

import pytest

from benchmarks.few_step.plot import curves, plot
from benchmarks.few_step.table import TEACHER, UNIT, Table, key_of
from undiffuse.errors import UndiffuseError

JUDGE, OTHER = "a" * 64, "b" * 64
REAL = "held-out digits"


def row(fd, evaluations=4, **key):
    return key_of(**{"method": TEACHER, "sampler": "ddim", "spacing": "trailing", "steps": 4} | key) | {
        "evaluations": evaluations,
        "fd": fd,
    }


@pytest.fixture
def table(tmp_path):
    return Table.open(tmp_path / "table.json", JUDGE, "a judge")


def test_rows_are_lines_in_one_order_whatever_order_they_came_in(table):
    for added in (
        row(9, 1, method="student", training_seed=1, steps=1),
        row(8, 1, method="student", training_seed=0, steps=1),
        row(5, 16, steps=16),
        row(6, 4),
        row(7, 4, guidance=2.0, steps=2),
        row(4, 0, method=REAL, steps=0),
    ):
        table.add(added, JUDGE)
    lines = table.path.read_text().splitlines()
    rows = [json.loads(line.rstrip(",")) for line in lines if line.startswith('  {"')]
    assert [found["fd"] for found in rows] == [4, 6, 7, 5, 8, 9]
    assert Table.open(table.path, JUDGE, "a judge") == table


def test_what_is_there_is_not_missing_and_not_added_again(table):
    table.add(row(6), JUDGE)
    wanted = [key_of(method=TEACHER, sampler="ddim", spacing="trailing", steps=steps) for steps in (4, 8, 8)]
    assert [key["steps"] for key in table.missing(wanted)] == [8]
    with pytest.raises(UndiffuseError, match="already"):
        table.add(row(7), JUDGE)


def test_two_who_add_to_one_file_keep_what_the_other_wrote(table):
    other = Table.open(table.path, JUDGE, "a judge")
    table.about |= {"learned": {"1": [788.0]}}
    table.add(row(5, 16, steps=16), JUDGE)
    other.add(row(6, 4), JUDGE)
    assert [found["fd"] for found in Table.open(table.path, JUDGE, "a judge").rows] == [6, 5]
    assert Table.open(table.path, JUDGE, "a judge").about == table.about


def test_rows_of_two_judges_do_not_meet(table):
    with pytest.raises(UndiffuseError, match="not of bbbbbbbbbbbb"):
        table.add(row(6), OTHER)
    table.add(row(6), JUDGE)
    with pytest.raises(UndiffuseError, match="another file"):
        Table.open(table.path, OTHER, "a judge")
    with pytest.raises(UndiffuseError, match="another file"):
        Table.open(table.path, JUDGE, "the same judge against other digits")


def test_a_row_says_what_it_is_by_the_names_of_the_key_alone():
    with pytest.raises(UndiffuseError, match="not by sampelr"):
        key_of(sampelr="ddim")


def test_the_ratio_is_to_the_default_of_as_many_samples_over_all_seeds(table):
    for added in (
        row(4, 20, **UNIT),
        row(6, 20, **UNIT, seed=1),
        row(100, 20, **UNIT, n=10),
        row(9),
        row(11, seed=1),
    ):
        table.add(added, JUDGE)
    lines = table.markdown().splitlines()
    assert [cell.strip() for cell in lines[0].split("|")][-4:-1] == ["seeds", "FD", "ratio"]
    ddim = next(line for line in lines if " ddim " in line)
    assert ddim.endswith("| 0, 1 | 9, 11 | 2.00 |")
    assert next(line for line in lines if "| 10 |" in line).endswith("| 100 | 1.00 |")


def test_a_point_of_the_figure_is_the_mean_of_seeds_and_guided_rows_are_left_out(table):
    for added in (
        row(5, 0, method=REAL, steps=0),
        row(9),
        row(11, seed=1),
        row(3, guidance=2.0, steps=2),
        row(30, 1, steps=1, spacing="learned"),
        row(20, 1, method="halving", steps=1, training_seed=0),
        row(22, 1, method="halving", steps=1, training_seed=1),
    ):
        table.add(added, JUDGE)
    assert curves(table.rows, 5000) == {"ddim": {4: 10}, "halving": {1: 21}}
    assert {"ddim", "halving", "real digits"} <= set(plot(table.rows).replace("<", ">").split(">"))


def test_the_table_for_a_page_has_a_row_for_each_way_with_all_its_seeds(table):
    rest = dict.fromkeys(("fd_pixels", "accuracy", "precision", "recall", "coverage", "ink"), 0.5)
    for added in (
        row(4.0, 20, **UNIT),
        row(9.0, 1, method="jump", training_seed=0, steps=1),
        row(7.0, 1, method="jump", training_seed=1, steps=1),
        row(3.0, 4),
        row(99.0, 4, n=1000),
    ):
        table.add(added | rest, JUDGE)
    figures = " 0.50 |" * 6
    assert table.summary().splitlines()[2:] == [
        f"| 1 | **jump** | 9.0, 7.0 | 2.00 |{figures}",
        f"| 4 | `ddim` trailing | 3.0 | 0.75 |{figures}",
        f"| 20 | `dpm++2m-sde` trailing | 4.0 | 1.00 |{figures}",
    ]
