"""Recorders of the running kernel, killed: ``python -m tests.trace.kills 200``, as root.

Each is killed at a random moment. What of the file was there just before has to be read back: every whole chunk.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kmem.commands.main import main as kmem
from kmem.trace.open import open_trace
from kmem.trace.record import tracefs
from kmem.trace.store import MAGIC

HEAD = struct.Struct("<4sB3xIII")
LATEST = 0.8
"""Seconds after which the last of them is killed; most of them count from when there is a file."""


def whole_chunks(path: Path, size: int) -> int:
    """How many chunks are whole in the first *size* bytes."""
    count, at = 0, len(MAGIC) + 1
    with open(path, "rb") as file:
        while at + HEAD.size <= size:
            file.seek(at)
            at += HEAD.size + HEAD.unpack(file.read(HEAD.size))[3]
            count += at <= size
    return count


def one(path: Path, delay: float, wait: bool) -> tuple[int, int, int]:
    """Record, kill, read: chunks that were there before the kill, chunks that are read back, events."""
    path.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            kmem(["record", "-o", str(path)])
        finally:
            os._exit(1)
    until = time.monotonic() + 20
    while wait and not path.exists() and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(delay)
    size = path.stat().st_size if path.exists() else 0
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if size < len(MAGIC) + 1:
        return 0, 0, 0
    recording = open_trace(path)
    events = sum(batch.n for batch in recording.batches())
    end = path.stat().st_size - recording.info.torn
    return whole_chunks(path, size), whole_chunks(path, end), events


def settings(place: Path) -> list[str]:
    """What is set for the whole machine."""
    names = ("tracing_on", "set_event", "trace_clock", "buffer_size_kb", "current_tracer")
    return [(place / name).read_text() for name in names]


def main() -> None:
    """Kill as many as the first word says."""
    turns, rng = int(sys.argv[1]), random.Random(0)
    chunks = read = events = early = 0
    with tempfile.TemporaryDirectory() as where, tracefs() as place:
        before = settings(place)
        work = subprocess.Popen(["sh", "-c", "while :; do ls -lR /usr/lib/python3* > /dev/null 2>&1; done"])
        try:
            for _ in range(turns):
                there, back, count = one(Path(where) / "t.kmem", rng.random() * LATEST, rng.random() < 0.9)
                assert back >= there, (there, back)
                chunks, read, events, early = chunks + there, read + back, events + count, early + (there == 0)
        finally:
            work.kill()
            work.wait()
        assert settings(place) == before
        last = os.fork()
        if last == 0:
            os._exit(kmem(["record", "-o", str(Path(where) / "t.kmem"), "--", "true"]))
        assert os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]) == 0
        left = list((place / "instances").glob("kmem-*"))
    print(f"{turns} recorders killed, {early} of them before their first chunk; {chunks:,} chunks were there before,")
    print(f"{read:,} are read back, with {events:,} events; instances left: {len(left)}; global settings as before")


if __name__ == "__main__":
    main()
