"""Pictures that follow a slider: drawn while the request waits, by the plan of `undiffuse sample`.

They are no jobs: nobody watches their steps, and whoever moves a slider wants the newest alone.
"""

from __future__ import annotations

from undiffuse.config.students import walking_student
from undiffuse.errors import UndiffuseError, counted
from undiffuse.model import AnyModel
from undiffuse.model.cascade import check_alone
from undiffuse.model.plan import SamplePlan, check_numbers
from undiffuse.model.samples import Samples
from undiffuse.studio.jobs.batched_network import RequestHandle
from undiffuse.studio.jobs.sampling import steps_of
from undiffuse.studio.library.models import Loaded


def live_steps(model: AnyModel, most: int) -> list[int]:
    """The numbers of steps, a student's usual one first, that take at most so many evaluations of the network.

    Raises:
        UndiffuseError: there are none.
    """
    student = walking_student(check_alone(model, "live drawing").config)
    steps = [steps for steps in student.student_steps if steps <= most] if student else []
    if steps:
        return steps
    least = f"takes {counted(min(student.student_steps), 'evaluation')}" if student else "was made for more"
    raise UndiffuseError(
        f"Live drawing takes a model that draws in at most {most} evaluations of its network, and this one {least}: "
        "`undiffuse distill` makes a fast model of it"
    )


def draw_live(loaded: Loaded, plan: SamplePlan, seed: int, index: int) -> Samples:
    """Sample ``index`` of a seed, its rows alone evaluated, and together with those of jobs under way."""
    check_numbers(1, seed, index)
    handle, block = RequestHandle(), range(index, index + 1)
    with loaded.session(handle) as network:
        plan = plan.with_network(network)
        for step in steps_of(plan, handle, block, seed):  # noqa: B007 - the last one is the end
            pass
        return plan.samples(step, block, seed)
