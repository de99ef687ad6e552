"""Runs a function in a child process that may die in any way without taking the caller along.

The child answers with one JSON document through a pipe; nothing else of it is believed. Its limits bound what a module
can make the emulator do to the host: address space, processor time, file size, open files, wall time, size of the
answer. This is best effort. An emulator is no security boundary: run a module that you do not trust in a container or a
virtual machine as well.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from kmem import errors
from kmem.errors import InternalError, KmemError

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use. Sizes are bytes, times are seconds; *result* bounds the JSON document."""

    address_space: int = 8 << 30
    file_size: int = 4 << 30
    open_files: int = 256
    processor_time: int = 120
    wall_time: float = 120.0
    result: int = 64 << 20


def isolated(work: Callable[[], object], limits: Limits) -> Any:
    """Run *work* in a child process and return the value it returned, after a passage through JSON.

    A ``KmemError`` in the child is raised here again, with its message, remedy, slug and exit status. Any other
    exception, and any way of dying, becomes an ``InternalError``. What the child prints goes to standard error.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(work, limits, writer)
    os.close(writer)
    trouble = ""
    try:
        answer, trouble = _receive(reader, limits)
    except BaseException:
        trouble = "was interrupted"
        raise
    finally:
        os.close(reader)
        if trouble:
            _kill(pid)
        _, status = os.waitpid(pid, 0)
    if not trouble and status != 0:
        trouble = _death(status, limits)
    if trouble:
        raise InternalError(
            f"the emulator's process {trouble}",
            remedy="This is a fault of kmem or of its CPU emulator, set off by the module; nothing else was harmed.\n"
            "Please report it, with the module, the command and the seed.",
        )
    return _unpack(answer)


def _child(work: Callable[[], object], limits: Limits, writer: int) -> NoReturn:
    """Do the work, send the answer, and leave without running anybody's exit handlers."""
    status = 1
    try:
        remaining = memoryview(_answer(work, limits))
        while remaining:
            remaining = remaining[os.write(writer, remaining) :]
        status = 0
    except BrokenPipeError:
        pass
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _answer(work: Callable[[], object], limits: Limits) -> bytes:
    """Do the work under the limits and return the JSON document that says what came of it."""
    try:
        os.setpgid(0, 0)
        _die_with_parent()
        os.dup2(2, 1)
        _set_limits(limits)
        return json.dumps({"value": work()}).encode()
    except KmemError as error:
        told = {name: getattr(error, name) for name in ("slug", "status", "message", "remedy")}
        told["names"] = [kind.__name__ for kind in type(error).__mro__]
        return json.dumps({"error": told}).encode()
    except BaseException as error:
        import traceback

        return json.dumps({"crash": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}).encode()


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent is gone."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _set_limits(limits: Limits) -> None:
    """Lower this process's resource limits; a limit that is lower already stays."""
    import resource

    for which, wanted in (
        (resource.RLIMIT_AS, limits.address_space),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CPU, limits.processor_time),
        (resource.RLIMIT_CORE, 0),
    ):
        soft, hard = resource.getrlimit(which)
        if soft == resource.RLIM_INFINITY or soft > wanted:
            resource.setrlimit(which, (wanted, hard))


def _receive(reader: int, limits: Limits) -> tuple[bytes, str]:
    """Read the child's answer to its end; return it, and what is wrong when it has to be stopped."""
    deadline = time.monotonic() + limits.wall_time
    chunks: list[bytes] = []
    received = 0
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return b"", f"gave no answer in {limits.wall_time:g} seconds and was stopped"
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return b"".join(chunks), ""
        chunks.append(chunk)
        received += len(chunk)
        if received > limits.result:
            return b"", f"sent more than {limits.result} bytes of results and was stopped"


def _kill(pid: int) -> None:
    """Kill the child and what it started."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _death(status: int, limits: Limits) -> str:
    """Say in words how a process with this wait status ended."""
    if not os.WIFSIGNALED(status):
        return f"ended by itself with exit status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    if number == signal.SIGXCPU:
        return f"used more than {limits.processor_time} seconds of processor time and was stopped"
    known = number in {known.value for known in signal.Signals}
    return f"died of {signal.Signals(number).name if known else f'signal {number}'}"


def _unpack(answer: bytes) -> Any:
    """Return the value in the child's document, or raise the error in it."""
    try:
        document = json.loads(answer)
    except ValueError:
        document = {"crash": "the emulator's process sent half an answer", "traceback": ""}
    if "value" in document:
        return document["value"]
    if "error" in document:
        told = document["error"]
        base = next(vars(errors)[name] for name in told["names"] if name in vars(errors))
        kind = type(told["names"][0], (base,), {"slug": told["slug"], "status": told["status"]})
        raise kind(told["message"], remedy=told["remedy"])
    error = InternalError(
        f"internal error: {document['crash']}",
        remedy="This is a fault of kmem, not of the module. Please report it, with the module and what the same\n"
        "command prints when KMEM_DEBUG=1 is set in the environment.",
    )
    error.add_note(document["traceback"])
    raise error
