"""What a replay can be asked to change: boot options of the model, knobs, and what no kernel has a knob for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kmem.errors import UsageError

BOOT = {
    "slub_max_order": (0, 10),
    "slub_min_order": (0, 10),
    "slub_min_objects": (0, 1 << 15),
    "slub_cpu_partial": (0, 1),
    "min_free_kbytes": (0, 1 << 40),
    "watermark_scale_factor": (1, 3000),
}
"""Boot options of the model, and what they may be."""
MACHINE = {"cpus": (1, 64), "ram": (1 << 20, 1 << 40)}
WHAT_IF = {
    "nomerge": (0, 1),
    "min_partial": (0, 1 << 20),
    "pageblock_order": (4, 10),
    "site_caches": (0, 1000),
    "kvmalloc_above": (0, 1 << 40),
}
"""``nomerge``: 0 merges caches as the kernel does, 1 keeps them as recorded. ``min_partial``: of every cache.
``pageblock_order``: of a kernel that was built with it. ``site_caches``: so many call sites of kmalloc get a cache of
their own. ``kvmalloc_above``: more bytes than this are single pages, mapped; 0: never.
"""
CLASSES = "size_classes"
"""Sizes of kmalloc's caches, as 16+32+48+64; a class of 8 KiB is there in any case."""
LARGEST = 8192
NAMES = (*BOOT, *MACHINE, *WHAT_IF, CLASSES)

_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def number(text: str) -> int:
    """What ``64``, ``8K`` and ``0x40`` mean; ValueError for anything else."""
    word = text.strip()
    shift = _UNITS.get(word[-1:].upper(), 0)
    return int(word[:-1] if shift else word, 0) << shift


def value(name: str, text: str) -> int | str:
    """The value of the setting *name*; UsageError if it may not be that."""
    if name == CLASSES:
        return "+".join(map(str, classes(text)))
    low, high = (BOOT | MACHINE | WHAT_IF)[name]
    try:
        found = number(text)
    except ValueError:
        raise UsageError(f"{name}={text}: this is no number", remedy="Give a whole number, as 64 or 8K.") from None
    if not low <= found <= high:
        raise UsageError(f"{name}={text} cannot be", remedy=f"Give a number from {low} to {high}.")
    return found


def classes(text: str) -> list[int]:
    """The sizes of ``16+32+48``, in order, and the largest."""
    try:
        sizes = {number(word) for word in text.split("+")}
    except ValueError:
        sizes = {0}
    if any(size % 8 or not 8 <= size <= LARGEST for size in sizes):
        raise UsageError(
            f"{CLASSES}={text}: these are no sizes of classes",
            remedy=f"Give multiples of 8 up to {LARGEST} with + between them, as 16+32+48+64.",
        )
    return sorted({*sizes, LARGEST})


def boot_options(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Those of *chosen* that boot the model."""
    found = {name: chosen[name] for name in chosen if name in BOOT}
    if "slub_cpu_partial" in found:
        found["slub_cpu_partial"] = bool(found["slub_cpu_partial"])
    return found
