"""A replay that stops at moments of the trace, so that somebody can look at the model on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from kmem.trace.replay import Replay
from kmem.trace.result import Options
from kmem.trace.schema import Columns, Recording

Wait = Callable[[int], int]
"""Called with the time up to which all events have been replayed; returns the time up to which to go on. What it raises
ends the replay.
"""


def part(batch: Columns, begin: int, end: int) -> Columns:
    """Some of the events of *batch*, where they are."""
    if begin == 0 and end == batch.n:
        return batch
    some = Columns(0)
    some.n = end - begin
    some.arrays = {name: array[begin:end] for name, array in batch.arrays.items()}
    some.addresses = np.array([array.ctypes.data for array in some.arrays.values()], np.int64)
    return some


class SteppedReplay(Replay):
    """A `Replay` that calls *wait* on the way. *begin* and *end* are the moments before the first event and of the
    last, once it runs.
    """

    def __init__(self, recording: Recording, options: Options, wait: Wait) -> None:
        super().__init__(recording, options)
        self._wait = wait
        self.begin = self.end = 0

    def _batches(self) -> Iterator[Columns]:
        """The batches, which end where *wait* wants to look."""
        self.begin, self.end = self._first.begin - 1, self._first.end
        now = self.begin
        limit = self._wait(now)
        for batch in super()._batches():
            times, done = batch["time"], 0
            while done < batch.n:
                end = int(np.searchsorted(times, np.uint64(max(limit, 0)), side="right"))
                if end > done:
                    yield part(batch, done, end)
                    done = end
                    now = max(now, int(times[end - 1]))
                limit = self._wait(now if end == batch.n else limit)
        self._wait(max(now, self.end))
