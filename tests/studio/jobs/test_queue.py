"""The queue: order, limits, events that can be read again, and cancelling."""

from __future__ import annotations

import json
import threading

import pytest

from undiffuse.errors import UndiffuseError
from undiffuse.studio.jobs.queue import FINISHED_KEPT, STEPS_KEPT, BusyError, ClosedError, Job, JobQueue


def kinds(job: Job) -> list[str]:
    return [event.kind for event in job.since(0)]


def over(queue: JobQueue, job: Job) -> Job:
    """Wait for the end of a job."""
    ended = threading.Event()
    stop = job.listen(lambda: ended.set() if job.over else None)
    if not job.over:
        ended.wait(30)
    stop()
    return job


def make(kind: str = "sample") -> Job:
    return Job(kind, "m", {})


def test_events_come_in_order_and_are_numbered_from_one() -> None:
    queue = JobQueue()

    def work(job: Job) -> None:
        job.tell("started", of=2, images=1)
        job.at(1, 2)
        job.at(2, 2)
        job.tell("image", index=0)

    job = over(queue, queue.submit(make(), work))
    numbers = [event.number for event in job.since(0)]
    assert numbers == sorted(set(numbers))
    assert [kind for kind in kinds(job) if kind != "step"] == ["queued", "started", "image", "done"]
    assert job.state == "done"
    assert [event.kind for event in job.since(numbers[-2])] == ["done"]
    assert job.images() == [{"index": 0}]


def test_of_many_steps_the_last_are_remembered() -> None:
    job = make()
    for k in range(100):
        job.at(k, 100)
    assert [json.loads(event.data)["k"] for event in job.since(0)] == list(range(100 - STEPS_KEPT, 100))


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    queue, gate = JobQueue(running=1, waiting=2), threading.Event()
    jobs = [queue.submit(make(), lambda job: bool(gate.wait(30))) for _ in range(3)]  # type: ignore[arg-type, return-value]
    with pytest.raises(BusyError) as refusal:
        queue.submit(make(), lambda job: None)
    assert refusal.value.seconds >= 1
    assert queue.counts() == {"running": 1, "waiting": 2, "limit": 2}
    assert [queue.position(job) for job in jobs] == [0, 0, 1]
    gate.set()
    assert [over(queue, job).state for job in jobs] == ["done"] * 3
    assert over(queue, queue.submit(make(), lambda job: None)).state == "done"


def test_a_job_in_the_queue_is_cancelled_at_once_and_never_begins() -> None:
    queue, gate, begun = JobQueue(running=1, waiting=5), threading.Event(), list[str]()
    first = queue.submit(make(), lambda job: bool(gate.wait(30)))  # type: ignore[arg-type, return-value]
    second = queue.submit(make(), lambda job: begun.append(job.id))
    third = queue.submit(make(), lambda job: begun.append(job.id))
    queue.cancel(second)
    assert second.state == "cancelled"
    assert kinds(second)[-1] == "cancelled"
    gate.set()
    over(queue, first)
    over(queue, third)
    assert begun == [third.id]


def test_a_running_job_ends_at_its_next_step_when_it_is_cancelled() -> None:
    queue, steps = JobQueue(), list[int]()

    def work(job: Job) -> None:
        for k in range(1000):
            job.at(k, 1000)
            steps.append(k)
            if k == 3:
                queue.cancel(job)

    job = over(queue, queue.submit(make(), work))
    assert job.state == "cancelled"
    assert steps == [0, 1, 2, 3]
    queue.cancel(job)  # again: nothing
    assert kinds(job).count("cancelled") == 1


def test_mistakes_are_sentences_and_bugs_are_owned_up_to() -> None:
    queue = JobQueue()

    def mistaken(job: Job) -> None:
        raise UndiffuseError("no such class")

    def broken(job: Job) -> None:
        raise KeyError("x")

    assert over(queue, queue.submit(make(), mistaken)).error == "no such class"
    assert "mistake of ours" in (over(queue, queue.submit(make(), broken)).error or "")
    assert over(queue, queue.submit(make(), lambda job: None)).state == "done"  # the queue goes on


def test_old_jobs_are_forgotten_and_those_under_way_never() -> None:
    queue, gate = JobQueue(running=2, waiting=5), threading.Event()
    waiting = queue.submit(make(), lambda job: bool(gate.wait(60)))  # type: ignore[arg-type, return-value]
    first = over(queue, queue.submit(make(), lambda job: None))
    for _ in range(FINISHED_KEPT):
        over(queue, queue.submit(make(), lambda job: None))
    assert queue.get(first.id) is None
    assert queue.get(waiting.id) is waiting
    assert len(queue.jobs()) == FINISHED_KEPT + 1
    gate.set()
    over(queue, waiting)


def test_numbers_that_are_not_finite_become_null() -> None:
    job = make()
    job.tell("step", t=float("inf"), more=[float("nan"), 1.0])
    assert json.loads(job.since(0)[0].data) == {"t": None, "more": [None, 1.0]}


def test_a_closed_board_cancels_what_is_there_and_takes_nothing_more() -> None:
    queue = JobQueue()

    def work(job: Job) -> None:
        while True:
            job.at(1, 1)

    job = queue.submit(make(), work)
    queue.close()
    assert over(queue, job).state == "cancelled"
    with pytest.raises(ClosedError):
        queue.submit(make(), lambda job: None)
