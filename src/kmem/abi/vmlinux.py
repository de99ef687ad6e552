"""Finding the type information in a kernel file: raw BTF, an ELF file, or a compressed ``vmlinuz``."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import struct as packing
import subprocess

from kmem.errors import InputError

ELF_MAGIC = b"\x7fELF"

_REMEDY = "give a vmlinux, a vmlinuz, a .ko or raw BTF bytes"
# Documentation/x86/boot.rst: offsets in the boot sector of a bzImage.
_SETUP_SECTS = 0x1F1
_HDRS = 0x202
_PAYLOAD_OFFSET = 0x248
_PAYLOAD_LENGTH = 0x24C
_ZSTD = b"\x28\xb5\x2f\xfd"
_NEEDS_TOOL = {_ZSTD: "zstd", b"\x02\x21\x4c\x18": "lz4", b"\x89LZO": "lzop", b"\x5d\x00\x00": "lzma"}


def is_bzimage(data: bytes) -> bool:
    """True for an x86 boot image with a setup header."""
    return data[_HDRS : _HDRS + 4] == b"HdrS"


def decompress_vmlinuz(data: bytes) -> bytes:
    """The ELF vmlinux in an x86 bzImage. gzip, xz and bzip2 payloads, zstd with its program; InputError names what is
    missing for others.
    """
    setup_sects = data[_SETUP_SECTS] or 4
    offset, length = packing.unpack_from("<II", data, _PAYLOAD_OFFSET)
    start = (setup_sects + 1) * 512 + offset
    payload = data[start : start + length]
    if not length or len(payload) != length:
        raise InputError("truncated kernel image: its payload ends behind the end of the file", remedy=_REMEDY)
    try:
        if payload.startswith(b"\xfd7zXZ"):
            return lzma.LZMADecompressor().decompress(payload)
        if payload.startswith(b"\x1f\x8b"):
            return gzip.GzipFile(fileobj=io.BytesIO(payload[:-4])).read()
        if payload.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(payload)
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise InputError(f"the kernel image cannot be decompressed: {error}", remedy=_REMEDY) from error
    if payload.startswith(ELF_MAGIC):
        return payload
    if payload.startswith(_ZSTD) and shutil.which("zstd"):
        # The four bytes behind the compressed data are its unpacked size.
        done = subprocess.run(["zstd", "-dqc"], input=payload[:-4], capture_output=True, check=False)
        if done.returncode == 0:
            return done.stdout
        raise InputError(
            f"zstd cannot decompress the kernel image: {done.stderr.decode('utf-8', 'replace').strip()}", remedy=_REMEDY
        )
    for magic, tool in _NEEDS_TOOL.items():
        if payload.startswith(magic):
            message = f"the kernel image is compressed with {tool}, which is not in Python's standard library"
            remedy = f"unpack it first: extract-vmlinux (linux-headers: scripts/extract-vmlinux) with {tool} installed"
            raise InputError(message, remedy=remedy)
    raise InputError(f"unknown compression of the kernel image (magic {payload[:4].hex()})", remedy=_REMEDY)


def elf_section(data: bytes, wanted: str) -> bytes | None:
    """The contents of section `wanted` of a 64-bit little-endian ELF file, or None."""
    if data[4:6] != b"\x02\x01":
        raise InputError("not a 64-bit little-endian ELF file", remedy=_REMEDY)
    try:
        (shoff,) = packing.unpack_from("<Q", data, 0x28)
        shentsize, shnum, shstrndx = packing.unpack_from("<HHH", data, 0x3A)
        headers = [packing.unpack_from("<IIQQQQ", data, shoff + i * shentsize) for i in range(shnum)]
        names = headers[shstrndx][4]
        for name, _, _, _, offset, size in headers:
            start = names + name
            if data[start : data.index(b"\0", start)] == wanted.encode():
                return data[offset : offset + size]
    except (packing.error, IndexError, ValueError) as error:
        raise InputError("truncated ELF file: its section table cannot be read", remedy=_REMEDY) from error
    return None


def elf_segments(data: bytes) -> list[tuple[int, int, int]]:
    """Virtual address, file offset and size in the file of each PT_LOAD segment of a 64-bit little-endian ELF file."""
    (phoff,) = packing.unpack_from("<Q", data, 0x20)
    phentsize, phnum = packing.unpack_from("<HH", data, 0x36)
    segments = []
    for index in range(phnum):
        kind, _, offset, virtual, _, size = packing.unpack_from("<IIQQQQ", data, phoff + index * phentsize)
        if kind == 1:
            segments.append((virtual, offset, size))
    return segments
