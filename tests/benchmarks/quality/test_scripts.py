"""Each comparison runs from end to end, for a second, on made-up pictures."""

from __future__ import annotations

import json

import pytest

from benchmarks.lib.ours import Ours
from benchmarks.quality import demo_against_textbook, model_families
from benchmarks.samplers import samplers_by_evaluations
from undiffuse.config.sampling import SampleConfig, Solver
from undiffuse.errors import UndiffuseError


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(demo_against_textbook, "SAMPLERS", {"ddim 2": SampleConfig.of(sampler="ddim", steps=2)})


def test_demo_against_textbook_writes_points_plot_grids_and_checkpoints(bench, quick, tmp_path):
    results = demo_against_textbook.compare(bench, ["demo", "textbook"], [0], [0.2, 0.4], 8, 0.2, tmp_path)
    assert [(p["name"], p["mark"]) for p in results["points"]] == [
        ("demo", 0.2),
        ("textbook", 0.2),
        ("demo", 0.4),
        ("textbook", 0.4),
    ]
    assert json.loads((tmp_path / "results.json").read_text())["points"] == results["points"]
    written = {path.name for path in tmp_path.iterdir()}
    assert {"plot.svg", "demo-0-ddim-2.png", "textbook-0-ddim-2.png", "demo-0", "textbook-0"} <= written
    assert "textbook" in (tmp_path / "plot.svg").read_text()


def test_the_same_command_goes_on_with_the_seeds_that_are_not_through(bench, quick, tmp_path):
    first = demo_against_textbook.compare(bench, ["demo"], [0], [0.1], 8, 0.1, tmp_path)
    both = demo_against_textbook.compare(bench, ["demo"], [0, 1], [0.1], 8, 0.1, tmp_path)
    assert both["points"][:1] == first["points"]
    assert [point["seed"] for point in both["points"]] == [0, 1]
    with pytest.raises(UndiffuseError, match="other settings"):
        demo_against_textbook.compare(bench, ["demo"], [0, 1], [0.2], 8, 0.1, tmp_path)


def test_model_families_fill_the_table(bench, tmp_path):
    effort = model_families.Effort(n=12, likelihood_images=2, likelihood_times=3)
    results = model_families.compare(bench, ["vae", "gan"], [0, 1], 0.3, 0.3, effort, tmp_path)
    assert [(row["name"], row["seed"]) for row in results["rows"]] == [("VAE", 0), ("GAN", 0), ("GAN", 1), ("VAE", 1)]
    text = (tmp_path / "table.md").read_text()
    assert "| GAN | VAE |" in text.splitlines()[0]
    assert "| bits/dim, IWAE | none |" in text
    assert "of 2 | " in text.splitlines()[-1]
    assert (tmp_path / "families.png").exists()


def test_a_broken_or_collapsed_model_counts_as_a_failure(bench):
    effort = model_families.Effort(n=20, likelihood_images=1)
    gan = model_families.GAN(bench.data, 0)
    row, images = model_families.judge(gan, bench, effort)
    assert row["failed"]  # its images are all alike, before any training
    assert min(row["classes"]) == 0
    gan.averaged.ema.averages[gan.averaged.rate][0].fill_(float("nan"))
    row, images = model_families.judge(gan, bench, effort)
    assert row["failed"]
    assert "fd" not in row
    assert images.isfinite().all()


def test_ddpm_has_both_likelihoods(bench):
    ddpm = model_families.DDPM(bench.data, 0)
    bits = ddpm.likelihoods(bench.held_out.images[:1], times=3)
    assert set(bits) == {"bound", "ODE"}
    assert all(value.isfinite().all() and value > 0 for value in bits.values())


def test_samplers_get_no_more_evaluations_than_the_budget(bench, tmp_path):
    ours = Ours("demo", demo_against_textbook.settings("demo", bench.data, 0), bench.data)
    names = ["ddim", "heun:log-snr", "dpm++2m-sde:log-snr"]
    results = samplers_by_evaluations.measure(ours.averaged(), bench, names, [2, 5], 4, 0, tmp_path)
    assert [case["evaluations"] for case in results["cases"]] == [2, 1, 2, 5, 5, 5]
    assert samplers_by_evaluations.table(results).splitlines()[0] == "| sampler | 2 | 5 |"
    assert (tmp_path / "plot.svg").exists()


def test_a_sampler_may_name_its_timesteps():
    assert samplers_by_evaluations.parse("heun:karras").solver.spacing == "karras"
    assert samplers_by_evaluations.parse("heun").solver.spacing == Solver.spacing
