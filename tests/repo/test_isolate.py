"""A child process may die in any way; the parent always answers."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from kmem.commands.isolate import Limits, isolated
from kmem.errors import InputError, InternalError, ModuleFormatError

SMALL = Limits(wall_time=20, processor_time=10)


def test_the_value_comes_back() -> None:
    value = {"verdict": "clean", "dmesg": ["é"], "n": 1 << 63, "none": None}
    assert isolated(lambda: value, SMALL) == value


def test_a_large_value_comes_back() -> None:
    assert isolated(lambda: "x" * (8 << 20), SMALL) == "x" * (8 << 20)


def test_a_kmem_error_keeps_its_message_remedy_slug_and_status() -> None:
    def work() -> None:
        raise ModuleFormatError("truncated", remedy="Copy it again.")

    with pytest.raises(InputError) as caught:
        isolated(work, SMALL)
    error = caught.value
    assert (error.message, error.remedy, error.slug, error.status) == (
        "truncated",
        "Copy it again.",
        "module-format",
        2,
    )


def test_an_error_of_a_kind_that_only_the_child_knows_is_still_of_its_parents_kind() -> None:
    class NoRoom(InputError):
        slug = "no-room"
        status = 3

    def work() -> None:
        raise NoRoom("full", remedy="Make room.")

    with pytest.raises(InputError) as caught:
        isolated(work, SMALL)
    assert (type(caught.value).__name__, caught.value.slug, caught.value.status) == ("NoRoom", "no-room", 3)


def test_an_unexpected_exception_is_an_internal_error_with_the_childs_traceback() -> None:
    def explode() -> None:
        raise ZeroDivisionError("a / b")

    with pytest.raises(InternalError, match="ZeroDivisionError: a / b") as caught:
        isolated(explode, SMALL)
    assert "in explode" in "".join(caught.value.__notes__)


def test_exit_of_the_child_is_reported() -> None:
    with pytest.raises(InternalError, match="ended by itself with exit status 1"):
        isolated(lambda: os._exit(1), SMALL)


def test_exit_0_without_an_answer_is_reported_too() -> None:
    with pytest.raises(InternalError, match="half an answer"):
        isolated(lambda: os._exit(0), SMALL)


def test_sys_exit_does_not_end_the_parent() -> None:
    with pytest.raises(InternalError, match="SystemExit"):
        isolated(lambda: sys.exit(0), SMALL)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_deadly_signal_is_named(number: signal.Signals) -> None:
    def work() -> None:
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)

    with pytest.raises(InternalError, match=f"died of {number.name}"):
        isolated(work, SMALL)


def test_an_endless_loop_is_stopped_by_the_wall_clock() -> None:
    started = time.monotonic()
    with pytest.raises(InternalError, match=r"gave no answer in 0\.3 seconds"):
        isolated(lambda: time.sleep(60), Limits(wall_time=0.3))
    assert time.monotonic() - started < 10


def test_an_endless_loop_is_stopped_by_processor_time() -> None:
    def work() -> None:
        while True:
            pass

    with pytest.raises(InternalError, match="more than 1 seconds of processor time"):
        isolated(work, Limits(wall_time=60, processor_time=1))


def test_processes_that_the_child_started_are_stopped_with_it() -> None:
    reader, writer = os.pipe()

    def work() -> None:
        os.set_inheritable(writer, True)
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")
        time.sleep(60)

    with pytest.raises(InternalError, match="gave no answer"):
        isolated(work, Limits(wall_time=0.5))
    os.close(writer)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b"", "the grandchild still holds the pipe open"
    os.close(reader)


def test_too_large_an_answer_is_refused() -> None:
    with pytest.raises(InternalError, match="more than 1000 bytes of results"):
        isolated(lambda: "x" * (1 << 20), Limits(result=1000))


def test_what_is_no_json_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match="not JSON serializable"):
        isolated(lambda: object(), SMALL)


def test_endless_memory_is_bounded() -> None:
    def work() -> int:
        hoard: list[bytearray] = []
        while True:
            hoard.append(bytearray(64 << 20))

    with pytest.raises(InternalError, match="MemoryError"):
        isolated(work, Limits(address_space=2 << 30))


def test_a_large_file_is_bounded(tmp_path: Path) -> None:
    def work() -> None:
        with open(tmp_path / "big", "wb") as file:
            file.truncate(1 << 20)

    with pytest.raises(InternalError, match="File too large"):
        isolated(work, Limits(file_size=4096))


def test_what_the_child_prints_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        os.write(1, b"progress\n")

    isolated(work, SMALL)
    assert capfd.readouterr() == ("", "progress\n")


def test_an_interrupt_of_the_parent_stops_the_child() -> None:
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        isolated(lambda: time.sleep(60), SMALL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert time.monotonic() - started < 10
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_it_costs_a_few_milliseconds() -> None:
    def spent() -> float:  # processor time, of the children too: the machine may be busy
        return sum(os.times()[:4])

    before = spent()
    for _ in range(20):
        isolated(int, SMALL)
    assert (spent() - before) / 20 < 0.1
