"""Reading ahead: the same batches in the same order, errors where they happen, no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from kmem.trace.ahead import ahead
from kmem.trace.errors import TraceError
from kmem.trace.schema import Columns, Info


class Made:
    """A recording of batches of these sizes, each event's time its number; it may end with an error."""

    def __init__(self, sizes: list[int], error: Exception | None = None) -> None:
        self.info, self.sizes, self.error = Info(), sizes, error
        self.read = 0

    def batches(self) -> Iterator[Columns]:
        room, count = Columns(max(self.sizes)), 0
        for size in self.sizes:
            room.n = size
            room["time"][:] = range(count, count + room.n)
            room["order"][:] = room.n % 7
            count += room.n
            self.read += 1
            yield room
        if self.error:
            raise self.error


def readers() -> int:
    """How many threads read ahead now."""
    return sum(thread.name == "kmem-read-ahead" for thread in threading.enumerate())


def test_batches_of_any_size_come_whole_and_in_order() -> None:
    sizes = [3, 50, 0, 1000, 7, 20000, 1]
    seen: list[int] = []
    found = []
    for batch in ahead(Made(sizes)):
        found.append(batch.n)
        seen += batch["time"].tolist()
        assert set(batch["order"].tolist()) <= {batch.n % 7}
    assert found == sizes
    assert seen == list(range(sum(sizes)))
    assert readers() == 0


def test_an_error_comes_after_the_batches_that_were_read() -> None:
    found = []
    with pytest.raises(TraceError, match="torn"):
        found.extend(batch.n for batch in ahead(Made([5, 6], TraceError("torn", remedy="-"))))
    assert found == [5, 6]
    assert readers() == 0


def test_who_stops_early_leaves_no_thread_and_has_not_had_all_read() -> None:
    made = Made([10] * 100)
    batches = ahead(made)
    assert next(batches).n == 10
    assert readers() == 1
    batches.close()  # type: ignore[attr-defined]
    assert readers() == 0
    assert made.read < 10
