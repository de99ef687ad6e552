"""Core dumps of simulated RAM: ELF files of type ET_CORE for x86-64, as crash and drgn read them.

Only what was ever touched is in the file. A program header's memory goes on behind its file contents up to the next
one's, and reads as zeros there, which is what untouched RAM holds::

    file      | headers | notes | extra | run 0 | run 1 | …          each run once, whatever maps it
    headers   window 0 (direct map): [run 0 | zeros …][run 1 | zeros …] …
              window 1 (kernel image): the runs below it, at other virtual addresses
              extra memory: virtual only, no physical address
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmem.errors import InputError
from kmem.machine.ram import PAGE, Ram

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_NHDR = struct.Struct("<III")
_IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)
ET_CORE, EM_X86_64, PT_LOAD, PT_NOTE, RWX = 4, 62, 1, 4, 7
NO_PHYS = (1 << 64) - 1
"""Physical address of memory that is not RAM."""
MAX_RUNS = 16000
"""ELF counts program headers in 16 bits; nearer runs are written as one, their gap as a hole of the file."""
_NOTES_LIMIT = 64 << 20


@dataclass(frozen=True)
class Window:
    """*size* bytes of physical memory from *paddr*, mapped at *vaddr*."""

    vaddr: int
    paddr: int
    size: int


@dataclass(frozen=True)
class Note:
    """One note; *name* without the NUL."""

    name: str
    type: int
    desc: bytes


@dataclass(frozen=True)
class Extra:
    """Memory outside RAM that a debugger is to see at *vaddr*."""

    vaddr: int
    data: bytes


@dataclass(frozen=True)
class _Load:
    """A PT_LOAD: the *filesz* bytes at physical *source* (None: of the extra memory), then zeros up to *memsz*."""

    vaddr: int
    paddr: int
    source: int | None
    filesz: int
    memsz: int


def write_core(
    path: str | os.PathLike[str],
    ram: Ram,
    windows: Sequence[Window],
    notes: Sequence[Note],
    extra: Sequence[Extra] = (),
) -> int:
    """Write a core of *ram* to *path* and return the bytes of RAM in it. *path* is replaced when all of it is there.

    Raises InputError if the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            written = _write(fd, ram, windows, notes, extra)
        finally:
            os.close(fd)
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(
            f"{target}: the core cannot be written: {error.strerror}",
            remedy="Name a file in a folder that you may write to and that has room for the touched part of RAM.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _write(fd: int, ram: Ram, windows: Sequence[Window], notes: Sequence[Note], extra: Sequence[Extra]) -> int:
    runs = merge(ram.populated(), MAX_RUNS // max(len(windows), 1))
    raw_notes = b"".join(map(_note, notes))
    loads = [load for window in windows for load in _loads(window, runs)]
    loads += [_Load(piece.vaddr, NO_PHYS, None, len(piece.data), len(piece.data)) for piece in extra]
    at = _EHDR.size + _PHDR.size * (len(loads) + 1)
    headers = [_PHDR.pack(PT_NOTE, 0, at, 0, 0, len(raw_notes), 0, 4)]
    extra_at = _round(at + len(raw_notes))
    runs_at = _round(extra_at + sum(len(piece.data) for piece in extra))
    offsets, end = [], runs_at
    for first, last in runs:
        offsets.append(end)
        end += last - first
    for load in loads:
        if load.source is None:
            offset, extra_at = extra_at, extra_at + load.filesz
        else:
            offset = _offset(load.source, runs, offsets) if load.filesz else 0
        headers.append(_PHDR.pack(PT_LOAD, RWX, offset, load.vaddr, load.paddr, load.filesz, load.memsz, 0))
    ehdr = _EHDR.pack(_IDENT, ET_CORE, EM_X86_64, 1, 0, _EHDR.size, 0, 0, _EHDR.size, _PHDR.size, len(headers), 0, 0, 0)
    os.ftruncate(fd, end)
    _pwrite(fd, memoryview(ehdr + b"".join(headers) + raw_notes), 0)
    _pwrite(fd, memoryview(b"".join(piece.data for piece in extra)), _round(at + len(raw_notes)))
    written = 0
    for first, last in ram.populated():
        _pwrite(fd, ram.mem[first:last], _offset(first, runs, offsets))
        written += last - first
    return written


def merge(runs: Sequence[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """Join neighbouring (first, last) *runs* over the smallest power-of-two gap that leaves at most *limit*."""
    gap = 4 * PAGE
    while True:
        joined: list[tuple[int, int]] = []
        for first, last in runs:
            if joined and first - joined[-1][1] <= gap:
                joined[-1] = (joined[-1][0], last)
            else:
                joined.append((first, last))
        if len(joined) <= limit:
            return joined
        gap *= 2


def _loads(window: Window, runs: Sequence[tuple[int, int]]) -> Iterator[_Load]:
    """The parts of *runs* inside *window*, each with the zeros that follow it; they cover the window."""
    end = window.paddr + window.size
    inside = [(max(first, window.paddr), min(last, end)) for first, last in runs]
    inside = [(first, last) for first, last in inside if first < last]
    if not inside or inside[0][0] > window.paddr:
        inside.insert(0, (window.paddr, window.paddr))
    for index, (first, last) in enumerate(inside):
        following = inside[index + 1][0] if index + 1 < len(inside) else end
        yield _Load(window.vaddr + first - window.paddr, first, first, last - first, following - first)


def _offset(phys: int, runs: Sequence[tuple[int, int]], offsets: Sequence[int]) -> int:
    """Where in the file the byte at physical address *phys* lies."""
    from bisect import bisect_right

    index = bisect_right(runs, (phys, NO_PHYS)) - 1
    return offsets[index] + phys - runs[index][0]


def _note(note: Note) -> bytes:
    name = note.name.encode() + b"\0"
    padded = name.ljust(-(-len(name) // 4) * 4, b"\0") + note.desc.ljust(-(-len(note.desc) // 4) * 4, b"\0")
    return _NHDR.pack(len(name), len(note.desc), note.type) + padded


def _round(at: int) -> int:
    return -(-at // PAGE) * PAGE


def _pwrite(fd: int, data: memoryview, at: int) -> None:
    while data:
        done = os.pwrite(fd, data[: 1 << 30], at)
        data, at = data[done:], at + done


def read_notes(path: str | os.PathLike[str]) -> list[Note]:
    """The notes of the core at *path*. Raises InputError if it is no ELF core for x86-64, or is cut short."""
    remedy = "Give a file that kmem run --core or kmem.modules.vmcoreinfo.dump_core wrote."
    try:
        with open(path, "rb") as file:
            raw = file.read(_EHDR.size)
            if len(raw) < _EHDR.size or raw[:7] != _IDENT[:7]:
                raise InputError(f"{path}: not an ELF file", remedy=remedy)
            fields = _EHDR.unpack(raw)
            kind, machine, phoff, phentsize, phnum = fields[1], fields[2], fields[5], fields[9], fields[10]
            if kind != ET_CORE or machine != EM_X86_64 or phentsize != _PHDR.size:
                raise InputError(f"{path}: an ELF file, but no x86-64 core dump", remedy=remedy)
            size = os.fstat(file.fileno()).st_size
            file.seek(phoff)
            table = file.read(phnum * _PHDR.size)
            if len(table) < phnum * _PHDR.size:
                raise InputError(f"{path}: the core is cut short", remedy=remedy)
            notes: list[Note] = []
            for kind, _, offset, _, _, filesz, _, _ in _PHDR.iter_unpack(table):
                if offset + filesz > size:
                    raise InputError(f"{path}: the core is cut short", remedy=remedy)
                if kind == PT_NOTE and filesz <= _NOTES_LIMIT:
                    file.seek(offset)
                    notes += _notes(file.read(filesz))
            return notes
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", remedy=remedy) from error


def _notes(raw: bytes) -> Iterator[Note]:
    at = 0
    while at + _NHDR.size <= len(raw):
        namesz, descsz, kind = _NHDR.unpack_from(raw, at)
        name_at = at + _NHDR.size
        desc_at = name_at + -(-namesz // 4) * 4
        name = raw[name_at : name_at + namesz].rstrip(b"\0").decode("latin-1")
        yield Note(name, kind, raw[desc_at : desc_at + descsz])
        at = desc_at + -(-descsz // 4) * 4
