"""The x86-64 virtual address map with 4-level page tables and without KASLR (Documentation/arch/x86/x86_64/mm.rst).

These hold for every release that is modelled; what differs by configuration is in releases/*.toml.
"""

from __future__ import annotations

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PMD_SHIFT, PUD_SHIFT, PGDIR_SHIFT = 21, 30, 39

PAGE_OFFSET = 0xFFFF888000000000
"""Where all physical memory is mapped linearly (the direct map, 64 TiB)."""
DIRECT_MAP_SIZE = 64 << 40

VMALLOC_START = 0xFFFFC90000000000
VMALLOC_END = 0xFFFFE8FFFFFFFFFF
VMEMMAP_START = 0xFFFFEA0000000000
"""Where the array of ``struct page`` is mapped: page frame n at VMEMMAP_START + 64 * n."""

START_KERNEL_MAP = 0xFFFFFFFF80000000
"""Where physical address 0 is mapped for the kernel image (``__START_KERNEL_map``)."""
KERNEL_TEXT = 0xFFFFFFFF81000000
"""``_text``: the kernel image is loaded at 16 MiB."""

MODULES_VADDR = 0xFFFFFFFFC0000000
MODULES_END = 0xFFFFFFFFFF000000
TASK_SIZE_MAX = 0x00007FFFFFFFF000
