"""/proc, /sys/kernel/slab and /sys/devices/system/node as files in a directory: ``DIR/meminfo``,
``DIR/sys/vm/min_free_kbytes``, ``DIR/sys/kernel/slab/kmalloc-64/objects``,
``DIR/sys/devices/system/node/node0/numastat``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kmem.errors import UsageError
from kmem.mm import node_sysfs, proc
from kmem.mm.slub_sysfs import ATTRIBUTES, directory, sysfs

if TYPE_CHECKING:
    from kmem.mm.api import Mm
    from kmem.mm.proc_symbols import Symbols
    from kmem.mm.proc_vmalloc import HashPointer

_REMEDY = "Name a directory that is empty, or that is not there yet."
_SYSCTLS: dict[str, Callable[[Mm], str]] = {
    "lowmem_reserve_ratio": lambda mm: "256\t256\t32\t0\t0",
    "min_free_kbytes": lambda mm: str(mm.view.kdata.min_free_kbytes),
    "watermark_boost_factor": lambda mm: str(mm.view.kdata.watermark_boost_factor),
    "watermark_scale_factor": lambda mm: str(mm.view.kdata.watermark_scale_factor),
}


def prepare(where: str | Path) -> Path:
    """Make the directory, or find it empty; UsageError if neither can be."""
    path = Path(where).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        taken = next(path.iterdir(), None)
        probe = path / ".kmem"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{where}: cannot write there: {error.strerror}", remedy=_REMEDY) from None
    if taken is not None:
        raise UsageError(f"{where}: is not empty: it holds {taken.name}", remedy=_REMEDY)
    return path


def write(mm: Mm, where: Path, *, kallsyms: Symbols | None = None, hash_pointer: HashPointer | None = None) -> int:
    """Write the whole tree into the empty directory *where*; the number of files.

    As in sysfs a cache that others may merge with has a directory like ``:0000128``, to which its name is a link. Of
    two caches that want one such directory the newer has none, as sysfs refuses the second.
    """
    files = {name: proc.text(mm, name, kallsyms=kallsyms, hash_pointer=hash_pointer) for name in proc.NAMES}
    files |= {f"sys/vm/{name}": show(mm) + "\n" for name, show in _SYSCTLS.items()}
    files |= {f"sys/devices/system/node/{name}": text for name, text in node_sysfs.files(mm).items()}
    links = {}
    seen = set()
    for s in reversed(list(mm.view.caches())):
        home, name = directory(mm.view, s), mm.view.cache_name(s)
        if home in seen:
            continue
        seen.add(home)
        if home != name:
            links[name] = home
        at = s._addr & (1 << 64) - 1
        for attribute in ATTRIBUTES:
            files[f"sys/kernel/slab/{home}/{attribute}"] = sysfs(mm, at, attribute, kallsyms=kallsyms)
    try:
        for name, text in files.items():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_text(text)
        for name, home in links.items():
            (where / "sys/kernel/slab" / name).symlink_to(home)
    except OSError as error:
        raise UsageError(f"{where}: cannot write there: {error.strerror}", remedy=_REMEDY) from None
    return len(files)
