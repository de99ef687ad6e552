"""Which kind of trace a path is, and its reader."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from kmem.trace import store, text, tracedat
from kmem.trace.errors import TraceError
from kmem.trace.formats import Format, PageLayout, parse_formats, parse_header_page
from kmem.trace.pages import PageRecording
from kmem.trace.schema import Info, Recording
from kmem.trace.state import read_states

KNOWN = "a .kmem file, text of ftrace, perf script or trace-cmd report, trace.dat, Parquet, or a directory of raw pages"


def open_trace(path: Path) -> Recording:
    """The reader for *path*; TraceError if it is nothing that is known."""
    try:
        if path.is_dir():
            return _directory(path)
        with open(path, "rb") as file:
            head = file.read(1 << 16)
        return _file(path, head)
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}", remedy="Give the path of a trace.") from None


def _file(path: Path, head: bytes) -> Recording:
    info = Info(source=str(path))
    if head.startswith(store.MAGIC):
        return store.StoredRecording(path)
    if head.startswith(tracedat.MAGIC):
        read_states(path.parent, info)
        return tracedat.DatRecording(info, path)
    if head.startswith(b"PAR1"):
        from kmem.trace.parquet import ParquetRecording

        read_states(path.parent, info)
        names = path.parent / "names.json"
        return ParquetRecording(info, path, names if names.is_file() else None)
    if text.is_text(head):
        read_states(path.parent, info)
        flags: dict[str, int] = {}
        for format in _formats(path.parent):
            flags = flags or format.gfp_names()
        return text.TextRecording(info, path, flags)
    raise TraceError(f"{path}: this is no trace that is known", remedy=f"A trace is {KNOWN}.")


def _formats(directory: Path) -> list[Format]:
    """The format files of a directory."""
    found = []
    for path in [directory / "formats.txt", *sorted(directory.glob("format.*"))]:
        if path.is_file():
            found += parse_formats(path.read_text(errors="replace"))
    return found


def _directory(path: Path) -> Recording:
    pages = sorted([*path.glob("raw/cpu*.pages"), *path.glob("cpu*.pages")])
    formats = _formats(path)
    if not pages or not formats:
        for name in ("events.parquet", "trace_kmem.txt", "trace.txt"):
            if (path / name).is_file():
                return open_trace(path / name)
        raise TraceError(f"{path}: there are no cpuN.pages with format files", remedy=f"A trace is {KNOWN}.")
    header = path / "header_page"
    layout = parse_header_page(header.read_text(errors="replace")) if header.is_file() else PageLayout()
    info = Info(source=str(path))
    read_states(path, info)

    def streams() -> Sequence[tuple[int, BinaryIO, int]]:
        found = []
        for page in pages:
            number = re.search(r"(\d+)", page.stem)
            file = open(page, "rb", buffering=0)  # noqa: SIM115  the reader closes it
            found.append((int(number[1]) if number else 0, file, page.stat().st_size))
        return found

    return PageRecording(info, formats, layout, streams)
