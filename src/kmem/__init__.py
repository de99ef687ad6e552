"""kmem: Linux kernel memory on your desk. The public names, and nothing else; each is imported when it is first
used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmem.abi.gfp_by_name import (
        GFP_ATOMIC,
        GFP_DMA,
        GFP_DMA32,
        GFP_KERNEL,
        GFP_NOFS,
        GFP_NOIO,
        GFP_NOWAIT,
        GFP_USER,
    )
    from kmem.kapi.executor import TaskDied
    from kmem.kapi.insmod import InitFailed, LoadedModule
    from kmem.kernel import Kernel, boot

_HOME = {"TaskDied": "kmem.kapi.executor"} | dict.fromkeys(
    ("InitFailed", "Kernel", "LoadedModule", "boot"), "kmem.kernel"
)

__all__ = [
    "GFP_ATOMIC",
    "GFP_DMA",
    "GFP_DMA32",
    "GFP_KERNEL",
    "GFP_NOFS",
    "GFP_NOIO",
    "GFP_NOWAIT",
    "GFP_USER",
    "InitFailed",
    "Kernel",
    "LoadedModule",
    "TaskDied",
    "boot",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'kmem' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "kmem.abi.gfp_by_name")), name)
