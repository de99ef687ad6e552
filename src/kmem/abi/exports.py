"""What a release's kernel exports, with CRC, address and size, and which module exports what the kernel does not.

The data are ``releases/<release>.exports.txt`` and ``releases/<release>.module-exports.txt``, written by
``python -m kmem.abi.image``. A single lookup searches the text; nothing is parsed for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kmem.abi.data import read

_START_KERNEL_MAP = 0xFFFFFFFF80000000


@dataclass(frozen=True, slots=True)
class Export:
    """One exported symbol of vmlinux.

    `crc` is its CONFIG_MODVERSIONS checksum. `kind` is nm's letter: T function, D R B data, A per-CPU variable.
    `address` is that of a kernel without KASLR, for kind A the offset in the per-CPU area; `size` is the distance to
    the next symbol, as call traces print it.
    """

    name: str
    crc: int
    kind: str
    address: int
    size: int
    gpl_only: bool


@cache
def _text(release: str, what: str) -> str:
    return "\n" + read(release, f"{what}.txt")


@cache
def exports(release: str) -> frozenset[str]:
    """The names of all symbols that vmlinux exports. Raises UsageError for a release that is not modelled."""
    return frozenset(line.partition(" ")[0] for line in _text(release, "exports").splitlines() if line)


def export(name: str, release: str) -> Export | None:
    """The export of vmlinux called `name`, or None."""
    text = _text(release, "exports")
    at = text.find(f"\n{name} ")
    if at < 0:
        return None
    _, crc, kind, address, size, *gpl = text[at + 1 : text.index("\n", at + 1)].split(" ")
    base = 0 if kind == "A" else _START_KERNEL_MAP
    return Export(name, int(crc, 16), kind, base + int(address, 16), int(size, 16), bool(gpl))


def module_owner(name: str, release: str) -> str | None:
    """The module that exports `name`, as its path below the kernel's module directory without ".ko", or None.

    ``module_owner("usb_register_driver", "6.1")`` is "drivers/usb/core/usbcore".
    """
    text = _text(release, "module-exports")
    at = text.find(f"\n{name}\n")
    if at < 0 or name.startswith("["):
        return None
    header = text.rindex("\n[", 0, at + 1)
    return text[header + 2 : text.index("]", header)]
