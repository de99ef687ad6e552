"""Tasks in child processes: whatever becomes of one, it has one answer, and the others have theirs."""

from __future__ import annotations

import os
import signal
import time

from kmem.commands.forkserver import run_all
from kmem.commands.isolate import Limits
from kmem.errors import UsageError


def work(number: int) -> object:
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 2:
        raise UsageError("not this one", remedy="another one")
    if number == 3:
        time.sleep(60)
    return {"number": number, "text": "x" * (200_000 if number == 4 else 1)}


def test_each_task_has_one_answer_however_it_ends() -> None:
    answers = {number: (value, trouble) for number, value, trouble in run_all(7, work, 3, Limits(wall_time=2.0))}
    assert sorted(answers) == list(range(7))
    assert [answers[number][0]["number"] for number in (0, 4, 5, 6)] == [0, 4, 5, 6]
    assert len(answers[4][0]["text"]) == 200_000
    assert "SIGSEGV" in answers[1][1]
    assert answers[2] == (None, "not this one")
    assert "no answer in 2 seconds" in answers[3][1]


def test_a_worker_that_dies_is_replaced() -> None:
    def kills_its_worker(number: int) -> int:
        if number == 0:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return number

    answers = list(run_all(3, kills_its_worker, 1, Limits()))
    assert [(number, value, bool(trouble)) for number, value, trouble in answers] == [
        (0, None, True),
        (1, 1, False),
        (2, 2, False),
    ]


def test_no_process_is_left() -> None:
    before = set(os.listdir("/proc/self/task"))
    for _ in run_all(4, work, 2, Limits(wall_time=2.0)):
        break
    assert set(os.listdir("/proc/self/task")) <= before
    try:
        left = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        left = (0, 0)
    assert left == (0, 0)
