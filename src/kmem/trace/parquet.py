"""Parquet, with PyArrow where it is installed (the extra ``parquet``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kmem.errors import UsageError
from kmem.trace.errors import TraceError
from kmem.trace.schema import COLUMNS, KINDS, NUMBER, Array, Columns, Info, Recording

EVENTS = 1 << 16
_SHORT = {"time": "ts", "call_site": "site", "requested": "req", "allocated": "alloc", "task": "pid", "cache": "name"}
"""Columns under the names that other recorders of kmem events give them; their ``ev`` counts these kinds."""
_EV = (
    *("kmalloc", "kfree", "kmem_cache_alloc", "kmem_cache_free", "mm_page_alloc", "mm_page_free"),
    *("mm_page_free_batched", "mm_page_pcpu_drain", "mm_page_alloc_extfrag"),
)
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, OSError)
"""What comes of a file whose columns or whose notes are not what they should be."""


def pyarrow() -> Any:
    """The library, or UsageError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("Parquet needs PyArrow", remedy="pip install 'kmem[parquet]'") from None
    return pyarrow


class ParquetRecording:
    """A Parquet file of events, in the schema or with short names (``ts``, ``ptr``, ``site``, ``ev`` …)."""

    def __init__(self, info: Info, path: Path, names: Path | None = None) -> None:
        self.info, self._path, self._arrow = info, path, pyarrow()
        try:
            self._file = self._arrow.parquet.ParquetFile(path)
            meta = self._file.metadata.metadata or {}
            self._columns = set(self._file.schema_arrow.names)
            kept = json.loads(meta.get(b"kmem", b"{}"))
            if names is not None:
                self.info.strings = ["", *(str(name or "") for name in json.loads(names.read_text()))]
            elif kept:
                self._take(kept)
        except (*_DAMAGE, self._arrow.ArrowException) as error:
            raise self._damaged(error) from None
        self._short = "ev" in self._columns
        if not {"ts", "ptr", "ev"} <= self._columns and not {"time", "ptr", "kind"} <= self._columns:
            raise TraceError(f"{path}: there are no columns time, ptr and kind", remedy="Is this a trace of events?")
        self.info.events = self._file.metadata.num_rows

    def _damaged(self, error: Exception) -> TraceError:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        return TraceError(f"{self._path}: {why}", remedy="The file is no Parquet file that can be read.")

    def _take(self, kept: dict[str, Any]) -> None:
        """What :func:`save_parquet` put beside the columns."""
        self.info.strings = [str(text) for text in kept.get("strings", [""])]
        for when in ("before", "after"):
            setattr(self.info, when, {str(name): str(text) for name, text in kept.get(when, {}).items()})
        self.info.cpus, self.info.release = int(kept.get("cpus", 0)), str(kept.get("release", ""))

    def batches(self) -> Iterator[Columns]:
        """The events, a row group at a time, in small batches."""
        try:
            yield from self._batches()
        except (*_DAMAGE, self._arrow.ArrowException) as error:
            raise self._damaged(error) from None

    def _batches(self) -> Iterator[Columns]:
        out, count = Columns(EVENTS), 0
        kinds: Array = np.array([NUMBER[name] for name in _EV], np.uint8)
        for batch in self._file.iter_batches(EVENTS):
            got = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
            out.n = batch.num_rows
            for column in COLUMNS:
                source = _SHORT.get(column.name, column.name) if self._short else column.name
                if source in got:
                    with np.errstate(all="ignore"):
                        out.arrays[column.name][: out.n] = got[source]
            if self._short:
                self._lengthen(out, got, kinds)
            if out.n and int(out["kind"].max()) >= len(KINDS):
                raise TraceError(f"{self._path}: an event of no kind", remedy="The file is no trace of kmem events.")
            if out.n and int(out["cache"].max()) >= len(self.info.strings):
                out["cache"][out["cache"] >= len(self.info.strings)] = 0
            if out.n:
                self.info.cpus = max(self.info.cpus, int(out["cpu"].max()) + 1)
            count += out.n
            self.info.events = count
            yield out

    def _lengthen(self, out: Columns, got: dict[str, Array], kinds: Array) -> None:
        """Short names: the number of a name counts from 0, the order of a page event is in ``alloc``."""
        if out.n and not 0 <= int(got["ev"].min()) <= int(got["ev"].max()) < len(kinds):
            raise TraceError(f"{self._path}: an event of no kind", remedy="The file is no trace of kmem events.")
        out["kind"][:] = kinds[got["ev"]]
        if "name" in got:
            out["cache"][:] = np.maximum(got["name"].astype(np.int64) + 1, 0)
        pages = got["ev"] >= 4
        order = np.minimum(got["alloc"], 20).astype(np.int64)
        out["order"][:] = np.where(pages, order, 0)
        out["allocated"][:] = np.where(pages, 4096 << order, got["alloc"])


def save_parquet(recording: Recording, path: Path) -> int:
    """Write *recording* as Parquet; how many events."""
    arrow = pyarrow()
    count, writer = 0, None
    schema = arrow.schema([(c.name, arrow.from_numpy_dtype(np.dtype(c.dtype))) for c in COLUMNS])
    for batch in recording.batches():
        if writer is None:
            writer = arrow.parquet.ParquetWriter(path, schema, compression="zstd")
        arrays = [arrow.array(batch[c.name]) for c in COLUMNS]
        writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
        count += batch.n
    if writer is None:
        writer = arrow.parquet.ParquetWriter(path, schema)
    info = recording.info
    kept = {name: getattr(info, name) for name in ("strings", "before", "after", "cpus", "release")}
    writer.add_key_value_metadata({"kmem": json.dumps(kept)})
    writer.close()
    return count
