"""``python -m kmem.abi.image VMLINUZ``: writes what a kernel image says of itself besides its types.

    exports          `releases/*.exports.txt`: name, CRC, kind, address, size and licence of every exported symbol
    module-exports   `releases/*.module-exports.txt`: what modules export, by module
    flags            `releases/*.flags.json`: the names that %pGg, %pGp and %pGv print, and those of /proc/vmstat
    functions        address, size and name of every function: the source of the function lines of `releases/*.sites`
    bugs             where each WARN and BUG stands: the source of the warn and bug lines of `releases/*.sites`

Only for x86-64 images with a kallsyms table (see `kmem.abi.kallsyms_image`).
"""

from __future__ import annotations

import argparse
import json
import struct as packing
import sys
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from kmem.abi.kallsyms_image import ImageSymbol, read_symbols
from kmem.abi.vmlinux import ELF_MAGIC, decompress_vmlinuz, elf_section, elf_segments, is_bzimage
from kmem.errors import InputError, KmemError

START_KERNEL_MAP = 0xFFFFFFFF80000000

_SYMVERS_REMEDY = "give the Module.symvers of the same kernel's headers"


class KernelImage:
    """A decompressed vmlinux: its memory by virtual address, and its symbols."""

    def __init__(self, data: bytes) -> None:
        if is_bzimage(data):
            data = decompress_vmlinuz(data)
        if not data.startswith(ELF_MAGIC):
            raise InputError("not a kernel image", remedy="give a vmlinux or vmlinuz")
        self.data = data
        self.symbols = read_symbols(data)
        self._by_name = {symbol.name: symbol for symbol in reversed(self.symbols)}
        self._segments = [segment for segment in elf_segments(data) if segment[0]]
        self.text = [symbol for symbol in self.symbols if symbol.kind in "tTwW" and symbol.address >= START_KERNEL_MAP]
        self._text_starts = [symbol.address for symbol in self.text]

    def symbol(self, name: str) -> ImageSymbol:
        """The first symbol called `name`. Raises InputError when there is none."""
        if name not in self._by_name:
            raise InputError(f"the kernel image has no symbol {name}", remedy="give an image of a modelled release")
        return self._by_name[name]

    def find(self, name: str) -> ImageSymbol | None:
        """The first symbol called `name`, or None."""
        return self._by_name.get(name)

    def offset(self, address: int) -> int:
        """File offset of a virtual address."""
        for virtual, offset, size in self._segments:
            if virtual <= address < virtual + size:
                return offset + address - virtual
        raise InputError(f"{address:#x} is not in the kernel image", remedy="give a complete image")

    def string(self, address: int) -> str:
        """The C string at a virtual address."""
        start = self.offset(address)
        return self.data[start : self.data.index(b"\0", start)].decode("ascii")

    def where(self, address: int) -> str:
        """``%pS``: "kvmalloc_node+0xc0/0xd0"."""
        symbol = self.text[bisect_right(self._text_starts, address) - 1]
        return f"{symbol.name}+{address - symbol.address:#x}/{symbol.size:#x}"

    def flag_names(self, table: str) -> dict[str, int]:
        """A ``const struct trace_print_flags[]``: name and mask, in printing order."""
        at = self.offset(self.symbol(table).address)
        names: dict[str, int] = {}
        while True:
            mask, name = packing.unpack_from("<QQ", self.data, at)
            if not name:
                return names
            names[self.string(name)] = mask
            at += 16

    def strings(self, table: str) -> list[str]:
        """A ``const char * const[]``, as far as its entries are pointers: unnamed data may follow it."""
        symbol = self.symbol(table)
        pointers = packing.unpack_from(f"<{symbol.size // 8}Q", self.data, self.offset(symbol.address))
        last = next((at for at, pointer in enumerate(pointers) if pointer and not self._holds(pointer)), len(pointers))
        return [self.string(pointer) for pointer in pointers[:last] if pointer]

    def _holds(self, address: int) -> bool:
        return any(virtual <= address < virtual + size for virtual, _, size in self._segments)

    def bugs(self) -> Iterator[tuple[str, str, int, str]]:
        """``__bug_table``: "warn", "warn-once" or "bug", file, line, and function+offset/size."""
        section = elf_section(self.data, "__bug_table") or b""
        base = self.symbol("__start___bug_table").address
        for at in range(0, len(section) - 11, 12):
            bug, file, line, flags = packing.unpack_from("<iiHH", section, at)
            kind = ("bug", "warn", "bug", "warn-once")[flags & 3]
            yield kind, self.string(base + at + 4 + file), line, self.where(base + at + bug)


def exports_text(image: KernelImage, symvers: str) -> str:
    """One line an export: name, CRC, kind (nm's letter), address, size, and "gpl" when it is only for GPL modules.

    Addresses and sizes are hexadecimal; kernel addresses count from __START_KERNEL_map, those of kind A (per-CPU
    variables) are absolute.
    """
    lines = []
    for row in symvers.splitlines():
        crc, name, owner, export = row.split("\t")[:4]
        if owner != "vmlinux":
            continue
        symbol = image.symbol(name)
        address = symbol.address if symbol.kind == "A" else symbol.address - START_KERNEL_MAP
        gpl = " gpl" if export.endswith("_GPL") else ""
        lines.append(f"{name} {crc[2:]} {symbol.kind} {address:x} {symbol.size:x}{gpl}\n")
    if not lines:
        raise InputError("Module.symvers names no export of vmlinux", remedy=_SYMVERS_REMEDY)
    return "".join(sorted(lines))


def module_exports_text(symvers: str) -> str:
    """The exports of modules: a line "[path of the module]", then one name a line."""
    by_owner: dict[str, list[str]] = {}
    for row in symvers.splitlines():
        _, name, owner = row.split("\t")[:3]
        if owner != "vmlinux":
            by_owner.setdefault(owner, []).append(name)
    parts = []
    for owner in sorted(by_owner):
        parts += [f"[{owner}]\n", *(f"{name}\n" for name in sorted(by_owner[owner]))]
    return "".join(parts)


def functions_text(image: KernelImage) -> str:
    """A line a function: address, size, name."""
    return "".join(f"{symbol.address:#x} {symbol.size:#x} {symbol.name}\n" for symbol in image.text)


def bugs_text(image: KernelImage) -> str:
    """A line a site: "warn", "warn-once" or "bug", file:line, function+offset/size."""
    return "".join(f"{kind} {file}:{line} {where}\n" for kind, file, line, where in sorted(image.bugs()))


def flags_text(image: KernelImage) -> str:
    """JSON: the flag names with their masks in printing order, and the names of /proc/vmstat in theirs."""
    tables = {
        "gfp": image.flag_names("gfpflag_names"),
        "page": image.flag_names("pageflag_names"),
        "vma": image.flag_names("vmaflag_names"),
        "vmstat": image.strings("vmstat_text"),
    }
    return json.dumps(tables, indent=1) + "\n"


WRITERS = {"flags": flags_text, "functions": functions_text, "bugs": bugs_text}


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kmem.abi.image", description="write facts of a kernel image")
    parser.add_argument("what", choices=("exports", "module-exports", *WRITERS))
    parser.add_argument("file", type=Path, help="vmlinux or vmlinuz")
    parser.add_argument("--symvers", type=Path, metavar="F", help="Module.symvers (for exports and module-exports)")
    parser.add_argument("-o", "--output", type=Path, metavar="F", required=True)
    options = parser.parse_args(argv)
    try:
        if options.what.endswith("exports") and options.symvers is None:
            raise InputError("exports need the CRCs of Module.symvers", remedy="add --symvers FILE")
        symvers = options.symvers.read_text() if options.symvers else ""
        if options.what == "module-exports":
            text = module_exports_text(symvers)
        else:
            image = KernelImage(options.file.read_bytes())
            text = exports_text(image, symvers) if options.what == "exports" else WRITERS[options.what](image)
    except KmemError as error:
        print(f"error: {error.message}\nremedy: {error.remedy}", file=sys.stderr)
        return error.status
    options.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
