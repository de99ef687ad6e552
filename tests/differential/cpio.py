"""Writes the archive of an initial RAM file system (cpio, format newc), the same bytes for the same contents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

DIRECTORY, FILE = 0o040755, 0o100755


def archive(files: Mapping[str, bytes], directories: tuple[str, ...] = ()) -> bytes:
    """Return an archive of *files*, all executable, with the directories that they need and *directories*."""
    needed = {str(parent) for name in files for parent in PurePosixPath(name).parents} | set(directories)
    out = bytearray()
    entries = [(name, DIRECTORY, b"") for name in sorted(needed - {".", "/"})]
    entries += [(name, FILE, data) for name, data in sorted(files.items())]
    for number, (name, mode, data) in enumerate(entries, 1):
        out += b"".join(_entry(number, name, mode, data))
    out += b"".join(_entry(0, "TRAILER!!!", 0, b""))
    return bytes(out)


def _entry(number: int, name: str, mode: int, data: bytes) -> Iterator[bytes]:
    """One entry: thirteen numbers in eight hexadecimal digits each, the name and the data, both padded to four."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields)
    yield head + encoded
    yield bytes(-(len(head) + len(encoded)) % 4)
    yield data
    yield bytes(-len(data) % 4)
