"""What a module says about itself: ``.modinfo`` (licence, version magic, parameters …) and ``__versions`` (symbol
CRCs).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from kmem.modules.elf import Elf, malformed

_VERSION = struct.Struct("<Q56s")

GPL_COMPATIBLE = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"),
)
"""Licence strings that do not taint (``license_is_gpl_compatible``, include/linux/license.h)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One ``module_param``: *type* as ``parmtype`` has it ("int", "charp", "array of uint"), *description* from
    MODULE_PARM_DESC.
    """

    name: str
    type: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ModInfo:
    """The decoded ``.modinfo`` section. *tags* has every (tag, value) in file order; texts not valid as UTF-8 are
    escaped.
    """

    tags: tuple[tuple[str, str], ...]
    parameters: dict[str, Parameter] = field(default_factory=dict)

    def get(self, tag: str) -> str | None:
        """The first value of *tag*, as the kernel takes it (``get_modinfo``)."""
        return next((value for name, value in self.tags if name == tag), None)

    def get_all(self, tag: str) -> list[str]:
        """Every value of *tag*."""
        return [value for name, value in self.tags if name == tag]

    @property
    def name(self) -> str | None:
        """The module's name; None in modules older than the tag."""
        return self.get("name")

    @property
    def license(self) -> str | None:
        """The licence string, None when the module has none."""
        return self.get("license")

    @property
    def gpl_compatible(self) -> bool:
        """Whether the module may use GPL-only symbols and does not taint the kernel."""
        return (self.license or "unspecified") in GPL_COMPATIBLE

    @property
    def vermagic(self) -> str | None:
        """Release and build options of the kernel that the module was built for."""
        return self.get("vermagic")

    @property
    def depends(self) -> tuple[str, ...]:
        """Names of the modules whose symbols this one uses."""
        return tuple(name for name in (self.get("depends") or "").split(",") if name)

    @property
    def intree(self) -> bool:
        """Whether the module was built with the kernel."""
        return self.get("intree") is not None

    @property
    def retpoline(self) -> bool:
        """Whether the module was compiled with retpolines."""
        return self.get("retpoline") is not None


def read_modinfo(elf: Elf) -> ModInfo:
    """Decode ``.modinfo``. ModuleFormatError when the file has no such section: it is an object file, not a linked
    module.
    """
    section = elf.find(".modinfo")
    this_module = elf.find(".gnu.linkonce.this_module")
    if section is None or this_module is None:
        missing = [
            name for name, got in ((".modinfo", section), (".gnu.linkonce.this_module", this_module)) if got is None
        ]
        raise malformed(
            f"no {' / '.join(missing)} section: an object file, not a linked module",
            "build it with kbuild (`obj-m`); `kmem run FILE.c` does so",
        )
    tags = []
    for entry in bytes(elf.content(section)).split(b"\0"):
        tag, equals, value = entry.partition(b"=")
        if equals:
            tags.append((tag.decode("utf-8", "backslashreplace"), value.decode("utf-8", "backslashreplace")))
    return ModInfo(tuple(tags), _parameters(tags))


def _parameters(tags: list[tuple[str, str]]) -> dict[str, Parameter]:
    types: dict[str, str] = {}
    texts: dict[str, str] = {}
    for tag, value in tags:
        if tag in ("parmtype", "parm"):
            name, _, text = value.partition(":")
            (types if tag == "parmtype" else texts)[name] = text
    return {name: Parameter(name, types.get(name, ""), texts.get(name, "")) for name in sorted({*types, *texts})}


def read_versions(elf: Elf) -> dict[str, int] | None:
    """CRC of each imported symbol (``__versions``); None when the module has none (CONFIG_MODVERSIONS off)."""
    section = elf.find("__versions")
    if section is None:
        return None
    content = elf.content(section)
    if len(content) % _VERSION.size:
        raise malformed(f"__versions has {len(content)} bytes, not a multiple of {_VERSION.size}")
    return {
        name.split(b"\0")[0].decode("ascii", "backslashreplace"): crc for crc, name in _VERSION.iter_unpack(content)
    }
