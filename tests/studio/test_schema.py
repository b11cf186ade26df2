"""Whatever fits the description, or nearly fits it, is answered as described: never by a failure of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from undiffuse.studio.addresses import Doors
from undiffuse.studio.app import make_app
from undiffuse.studio.jobs import processes
from undiffuse.studio.limits import Limits
from undiffuse.studio.studio import Studio

TESTER = Doors(names=("testserver",))
"""The name under which schemathesis speaks to an application."""
DESCRIBED = schemathesis.openapi.from_asgi("/openapi.json", make_app(Studio.of(runs=Path("nowhere")), TESTER))
CALLS = [found.ok().label for found in DESCRIBED.get_all_operations()]
LEFT_TO_CONTENT = "positive_data_acceptance"
"""A check that is left out: what has the described form may still be no picture of ours, or no setting of a sampler."""
KNOWN = {"model": "digits", "runs": ["a", "b"], "data": "digits", "recipe": "small", "id": "a"}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Any:
    """The calls of a studio that draws little and whose trainings are never really started, by name."""
    folder = tmp_path_factory.mktemp("described") / "runs"
    shutil.copytree(runs, folder)
    studio = Studio.of(runs=folder, limits=Limits(steps=3, count=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "start", lambda *words: processes.Process(0, ""))
        patch.setattr(Studio, "close", lambda studio: None)  # each call here is a server that starts and ends
        found = schemathesis.openapi.from_asgi("/openapi.json", make_app(studio, TESTER))
        yield {one.ok().label: one.ok() for one in found.get_all_operations()}
    studio.close()


def told(case: Any, known: bool) -> Any:
    """The same call, of things that are there if ``known``; and little to draw."""
    if known:
        for name in KNOWN.keys() & (case.path_parameters or {}).keys():
            case.path_parameters[name] = KNOWN[name]
        for place in (case.query, case.body):
            if isinstance(place, dict):
                place |= {name: KNOWN[name] for name in KNOWN.keys() & place.keys()}
    if isinstance(case.body, dict) and isinstance(case.body.get("settings"), dict):
        case.body["settings"] |= {"steps": 2}
    return case


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_answered_as_it_is_described(asked: dict[str, Any], name: str) -> None:
    fitting = asked[name].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)

    @settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(fitting, st.booleans())
    def answered(case: Any, known: bool) -> None:
        answer = told(case, known).call()
        case.validate_response(answer, excluded_checks=[getattr(schemathesis.checks, LEFT_TO_CONTENT)])
        assert answer.status_code < 500
        if answer.status_code >= 400:
            assert answer.json()["error"]

    answered()


def test_every_call_has_a_sentence_and_a_described_refusal() -> None:
    for path, calls in DESCRIBED.raw_schema["paths"].items():
        for verb, call in calls.items():
            assert call["description"], (verb, path)
            assert "default" in call["responses"], (verb, path)


@pytest.mark.slow
def test_nothing_is_found_by_a_long_search_on_a_real_server(server: str, tmp_path: Path) -> None:
    """Each limit of the description and what lies just beyond it, undeclared methods, calls that follow on others."""
    words = ["run", f"{server}/openapi.json", "--exclude-path-regex", "/v1/runs$|/resume$", "--continue-on-failure"]
    words += ["--exclude-checks", LEFT_TO_CONTENT, "--max-examples", "10", "--seed", "1", "--no-color"]
    words += ["--request-timeout", "120"]
    tool = Path(sys.executable).parent / "st"
    found = subprocess.run([tool, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
