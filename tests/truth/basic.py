"""Facts of ``km1024`` and ``vm1024``: where small allocations lie."""

from __future__ import annotations

import re

from tests.truth.address import HUGE_PAGE, PAGE, PAGE_OFFSET, PAGE_STRUCT, VMEMMAP, region, yes
from tests.truth.facts import Collector, FactsError
from tests.truth.log import Step, pairs

ADDRESSES = ("addr", "phys", "page", "pfn", "lin")


def _values(text: str) -> dict[str, int]:
    """Read ``name value …``; addresses and frame numbers are hexadecimal, the rest is decimal."""
    words = text.split()
    return {
        name: int(value, 16 if name in ADDRESSES or len(value) == 16 else 10)
        for name, value in zip(words[::2], words[1::2], strict=True)
    }


def collect_kmalloc(out: Collector, step: Step) -> None:
    """Add the facts of one load of ``km1024``."""
    address = 0
    for line in step.lines:
        text = line.removeprefix("km1024: ")
        if text.startswith("addr "):
            v = _values(text)
            address = v["addr"]
            for name in ("ksize", "PageSlab", "order", "vmalloc", "virt_valid"):
                out.add("kmalloc", name, v[name])
            out.add("kmalloc", "region", region(address))
            out.add("kmalloc", "aligned to size", yes(address % v["ksize"] == 0))
            out.add("kmalloc", "phys is addr - PAGE_OFFSET", yes(v["phys"] == address - PAGE_OFFSET))
            out.add("kmalloc", "pfn is phys / PAGE_SIZE", yes(v["pfn"] == v["phys"] // PAGE))
        elif text.startswith("code "):
            for name, value in pairs(text, 16).items():
                assert isinstance(value, int)
                out.add("sections", name, f"{value:#x}" if name == "PAGE_OFFSET" else region(value))
        elif text.startswith("freed "):
            out.add("exit", "frees the same address", yes(int(text.split()[1], 16) == address))
    if not address:
        raise FactsError("km1024: no address was printed")


def collect_vmalloc(out: Collector, step: Step) -> None:
    """Add the facts of one load of ``vm1024``."""
    for line in step.lines:
        text = line.removeprefix("vm1024: ")
        if text.startswith("VMALLOC_START "):
            for name, value in pairs(text, 16).items():
                out.add("regions", name, f"{value:#x}")
        elif text == "freed":
            out.add("exit", "freed", "yes")
        elif match := re.fullmatch(r"(k?vmalloc\w+) (addr .*)", text):
            _mapped(out, match[1], _values(match[2]))


def _mapped(out: Collector, step: str, v: dict[str, int]) -> None:
    """One allocation: its flags, its region, and whether the address helpers agree with each other."""
    for name in ("is_vmalloc", "ksize", "PageSlab", "virt_addr_valid"):
        if name in v:
            out.add(step, name, v[name])
    out.add(step, "region", region(v["addr"]))
    if "page" not in v:
        return
    out.add(step, "page aligned", yes(v["addr"] % PAGE == 0))
    out.add(step, "page is vmemmap[pfn]", yes(v["page"] == VMEMMAP + PAGE_STRUCT * v["pfn"]))
    out.add(step, "phys is pfn * PAGE_SIZE", yes(v["phys"] == v["pfn"] * PAGE))
    out.add(step, "lin is phys + PAGE_OFFSET", yes(v["lin"] == v["phys"] + PAGE_OFFSET))
    if step == "kvmalloc8M":
        out.add(step, "address and first frame are 2 MiB aligned", yes((v["addr"] | v["phys"]) % HUGE_PAGE == 0))
