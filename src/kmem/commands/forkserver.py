"""Many tasks, each in a child process of its own, several at a time, out of one warm process.

The caller's process has everything loaded. It forks a few workers, which wait for tasks; a worker forks once more for
each task (`kmem.commands.isolate`), so that a task starts with the warm state and may die in any way. Workers are
processes and not threads because a process with threads must not fork.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from kmem.commands.isolate import Limits, isolated
from kmem.errors import KmemError

Answer = tuple[int, Any, str]
"""Number of the task, the value that it returned, and what went wrong instead ("" if nothing did)."""


@dataclass
class _Worker:
    pid: int
    line: socket.socket
    task: int | None = None
    received: bytes = b""


def run_all(tasks: int, work: Callable[[int], object], workers: int, limits: Limits) -> Iterator[Answer]:
    """Do *work* on the numbers below *tasks*, each in a child process under *limits*; answers come as they are ready.

    However a task ends, it has exactly one answer.
    """
    waiting = iter(range(tasks))
    crew = [_hire(work, limits) for _ in range(min(workers, tasks))]
    try:
        for worker in crew:
            _assign(worker, waiting)
        while busy := [worker for worker in crew if worker.task is not None]:
            poll = select.poll()
            by_file = {worker.line.fileno(): worker for worker in busy}
            for number in by_file:
                poll.register(number, select.POLLIN)
            for number, _ in poll.poll():
                worker = by_file[number]
                yield from _hear(worker)
                if worker.task is None and worker.line.fileno() < 0:
                    crew[crew.index(worker)] = worker = _hire(work, limits)
                if worker.task is None:
                    _assign(worker, waiting)
    finally:
        for worker in crew:
            _dismiss(worker)


def _hire(work: Callable[[int], object], limits: Limits) -> _Worker:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve(theirs, work, limits)
    theirs.close()
    return _Worker(pid, ours)


def _serve(line: socket.socket, work: Callable[[int], object], limits: Limits) -> NoReturn:
    """A worker's life: a number comes, a line of JSON goes, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller's process hears it and dismisses us
    try:
        requests = line.makefile("r")
        while request := requests.readline():
            number = int(request)
            try:
                answer = {"value": isolated(lambda number=number: work(number), limits)}  # type: ignore[misc]
            except KmemError as error:
                answer = {"error": error.message}
            line.sendall(json.dumps(answer).encode() + b"\n")
    finally:
        os._exit(0)


def _assign(worker: _Worker, waiting: Iterator[int]) -> None:
    worker.task = next(waiting, None)
    if worker.task is not None:
        worker.line.sendall(b"%d\n" % worker.task)


def _hear(worker: _Worker) -> Iterator[Answer]:
    """What has come from a worker; its socket is closed if that was the end of it."""
    assert worker.task is not None
    try:
        chunk = worker.line.recv(1 << 16)
    except ConnectionError:
        chunk = b""
    worker.received += chunk
    if chunk and not worker.received.endswith(b"\n"):
        return
    number, worker.task = worker.task, None
    if not chunk:
        _dismiss(worker)
        yield number, None, "its worker process died"
        return
    answer = json.loads(worker.received)
    worker.received = b""
    yield number, answer.get("value"), answer.get("error", "")


def _dismiss(worker: _Worker) -> None:
    if worker.line.fileno() < 0:
        return
    worker.line.close()
    os.kill(worker.pid, signal.SIGKILL)  # its own child dies with it
    os.waitpid(worker.pid, 0)
