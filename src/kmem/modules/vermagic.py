"""Is this module for this kernel? Version magic and the CRC of the module interface (``check_modinfo``,
kernel/module/main.c, 6.1).
"""

from __future__ import annotations

import re
from typing import Protocol

from kmem.errors import ModuleFormatError
from kmem.modules.modinfo import ModInfo

_DEBIAN = re.compile(r"(\d+\.\d+)\.[\w.+~]*(?:-\d+)?-([a-z][a-z0-9-]*)")


class ReleaseInfo(Protocol):
    """The part of `kmem.abi.release.Release` that loading needs."""

    @property
    def name(self) -> str:
        """What users call it: ``6.1``."""
        ...

    @property
    def vermagic(self) -> str:
        """The kernel's own version magic: ``6.1.0-56-amd64 SMP preempt mod_unload modversions ``."""
        ...


def series_of(version: str) -> tuple[str, str] | None:
    """Series and flavour of a Debian kernel release: ("6.1", "amd64") of 6.1.0-56-amd64; None for other kernels."""
    match = _DEBIAN.fullmatch(version)
    return (match[1], match[2]) if match else None


def age_of(version: str) -> tuple[int, ...]:
    """What sorts the updates of one series and flavour: (6, 1, 0, 56) of 6.1.0-56-amd64, (6, 12, 41, 13) of
    6.12.41+deb13-amd64."""
    series = series_of(version)
    return tuple(map(int, re.findall(r"\d+", version.removesuffix(series[1])))) if series else ()


def check_vermagic(module: str, info: ModInfo, versions: dict[str, int] | None, release: ReleaseInfo) -> str:
    """Refuse a module of another release with a ModuleFormatError; return a note about one that is let in, or "".

    As in the kernel, a module with symbol CRCs may be of another update of the kernel if ``module_layout`` has the same
    CRC. Differs: other updates of the same Debian series and flavour are let in as well, with a note; the kernel would
    say that they disagree about the version of ``module_layout``.
    """
    wanted, given = release.vermagic, info.vermagic
    if given == wanted:
        return ""
    kernel, _, tail = wanted.partition(" ")
    if given is None:
        raise ModuleFormatError(
            f"{module}: no version magic, should be '{wanted}'", remedy=f"build the module with the headers of {kernel}"
        )
    other, _, other_tail = given.partition(" ")
    if other_tail == tail:
        from kmem.abi.exports import export

        ours = export("module_layout", release.name)
        if versions is not None and ours is not None and versions.get("module_layout") == ours.crc:
            return ""
        if series_of(other) is not None and series_of(other) == series_of(kernel):
            return (
                f"built for {other} and run as {kernel}, an update of the same series; a real {kernel} would refuse it"
            )
    raise ModuleFormatError(
        f"{module}: version magic '{given}' should be '{wanted}'",
        remedy=f"rebuild it for {kernel}: `kmem run FILE.c` does so, `kmem headers {release.name}` gets the headers",
    )
