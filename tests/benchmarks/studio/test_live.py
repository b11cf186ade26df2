"""Every number of steps of a student is measured, and its picture is the library's."""

from __future__ import annotations

from benchmarks.studio import live
from tests.students import Students


def test_a_student_is_measured_in_each_number_of_steps(students: Students, capsys) -> None:
    live.main([str(students.jump), "--moves", "10"])
    told = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1:3] for line in told[2:5]] == [[" jump ", f" {steps} "] for steps in (1, 2, 4)]
    assert told[-1] == "the same as Model.sample: True"
