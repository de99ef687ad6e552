"""Reading ahead: while one batch of a trace is worked on, a thread reads the next ones."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread

import numpy as np

from kmem.trace.schema import Columns, Recording

ROOMS = 3
"""Batches that there is room for: the one that is worked on, the one that is read, and one in between."""


class _Reader(Thread):
    """Reads a trace into the rooms that it is given; ends when it is given None."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(name="kmem-read-ahead", daemon=True)
        self._recording = recording
        self.free: SimpleQueue[Columns | None] = SimpleQueue()
        self.full: SimpleQueue[Columns | BaseException | None] = SimpleQueue()

    def run(self) -> None:
        """Put each batch into a free room; last comes what ended it, None for the end of the trace."""
        try:
            for batch in self._recording.batches():
                room = self.free.get()
                if room is None:
                    return
                self.full.put(_copy(batch, room))
        except BaseException as error:  # whatever it is, it is raised where the batches are taken
            self.full.put(error)
        else:
            self.full.put(None)


def _copy(batch: Columns, room: Columns) -> Columns:
    """The events of *batch* in *room*, or in a larger one."""
    if batch.n > room.capacity:
        room = Columns(max(batch.n, batch.capacity))
    room.n = batch.n
    for name, values in room.arrays.items():
        np.copyto(values[: batch.n], batch.arrays[name][: batch.n])
    return room


def ahead(recording: Recording) -> Iterator[Columns]:
    """The batches of *recording*, read by a thread; each is overwritten once the next is asked for.

    The counts in ``recording.info`` run ahead of the batch that is worked on.
    """
    reader = _Reader(recording)
    for _ in range(ROOMS):
        reader.free.put(Columns(0))
    reader.start()
    try:
        while (got := reader.full.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got
            reader.free.put(got)
    finally:
        reader.free.put(None)
        reader.join()
