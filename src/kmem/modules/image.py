"""Module files as they lie on disk: plain, or compressed as distributions ship them (``.ko.xz``, ``.ko.gz``,
``.ko.zst``).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmem.errors import InputError, ModuleFormatError

MAX_FILE = 1 << 30
"""Largest module file that is read, in bytes, before and after decompression."""

_CHUNK = 1 << 20
_XZ_MEMORY = 256 << 20
_GIVE = "give a kernel module (.ko), a .c file or a directory with a Kbuild file"


def read_module(path: Path) -> bytes:
    """The uncompressed bytes of the module file at *path*. InputError when it cannot be read."""
    try:
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
            raise InputError(f"{path}: {what}", remedy=_GIVE)
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", remedy="check the path and its permissions") from error
    if len(data) > MAX_FILE:
        raise ModuleFormatError(f"{path}: larger than {MAX_FILE >> 20} MiB", remedy=_GIVE)
    return unpack(data)


def unpack(data: bytes, limit: int = MAX_FILE) -> bytes:
    """*data* decompressed if it is xz, gzip or zstd (told by its first bytes, not by a name), else unchanged.

    The output is bounded by *limit* while it grows.
    """
    if data[:6] == b"\xfd7zXZ\0":
        return _collect("xz", _xz(data), limit)
    if data[:2] == b"\x1f\x8b":
        return _collect("gzip", _gzip(data), limit)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return _collect("zstd", _zstd(data), limit)
    return data


def _collect(kind: str, chunks: Iterator[bytes], limit: int) -> bytes:
    out: list[bytes] = []
    size = 0
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise ModuleFormatError(f"the {kind} data grow beyond {limit} bytes", remedy=_GIVE)
            out.append(chunk)
    except EOFError:
        remedy = "copy the file again; it was cut off"
        raise ModuleFormatError(f"truncated: the {kind} data end too early", remedy=remedy) from None
    except _Damaged as error:
        raise ModuleFormatError(
            f"damaged {kind} data: {error}", remedy="copy the file again; it was damaged"
        ) from error
    return b"".join(out)


class _Damaged(Exception):
    """A decompressor refused its input."""


def _xz(data: bytes) -> Iterator[bytes]:
    import lzma

    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    try:
        chunk = stream.decompress(data, _CHUNK)
        while not stream.eof:
            if not chunk:
                raise EOFError
            yield chunk
            chunk = stream.decompress(b"", _CHUNK)
        yield chunk
    except lzma.LZMAError as error:
        raise _Damaged(error) from error


def _gzip(data: bytes) -> Iterator[bytes]:
    import gzip
    import zlib

    try:
        yield from _read(gzip.GzipFile(fileobj=io.BytesIO(data)))
    except (zlib.error, gzip.BadGzipFile) as error:
        raise _Damaged(error) from error


def _zstd(data: bytes) -> Iterator[bytes]:
    import zstandard

    size = 0
    try:
        for chunk in _read(zstandard.open(io.BytesIO(data))):
            size += len(chunk)
            yield chunk
        if size < zstandard.frame_content_size(data):
            raise EOFError
    except zstandard.ZstdError as error:
        raise _Damaged(error) from error


def _read(file: Any) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
