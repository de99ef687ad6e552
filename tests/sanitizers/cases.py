"""Known-bad cases: the modules of tests/kmod with one defect each, and the same module with the defect taken out.

A case is named for its defect, as those of mm/kasan/kasan_test.c are. It must be found: one finding of its kind, at its
line. Without the defect nothing is found. `test_cases` runs them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kmem.modules.kbuild import INSTRUMENT

KMOD = Path(__file__).resolve().parent.parent / "kmod"
Words = dict[str, str | int]

CLASSES = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
"""The sizes of kmalloc's caches."""
BETWEEN = (1, 7, 9, 20, 61, 100, 130, 250, 1000, 3000, 5000)
LARGE = (8193, 20000, 65536)
"""What has pages of its own."""
OPS = ("read", "write")
SLEEPERS = {
    "kmalloc": "void *p = kmalloc(big, gfp)",
    "pages": "struct page *page = alloc_pages(",
    "vmalloc": "void *p = vmalloc(big)",
    "kvmalloc": "void *p = kvmalloc(",
    "ioremap": "__iomem *p = ioremap(",
    "msleep": "msleep(10);",
}
CONTEXTS = ("spin", "irqoff", "rcu", "tasklet", "timer", "irq")
DMA = "dma_addr_t addr = dma_map_page("
FREE = {
    "double_free": ({"fault": "double"}, "double-free", "give(p);"),
    "free_inside": ({"fault": "inside"}, "invalid-free", "kfree(p + 8)"),
    "free_of_error_pointer": ({"fault": "errptr"}, "invalid-free", "kfree(ERR_PTR("),
    "free_of_stack": ({"fault": "stack"}, "invalid-free", "kfree(local)"),
    "free_of_global": ({"fault": "global"}, "invalid-free", "kfree(room)"),
    "cache_destroyed_twice": ({"fault": "destroy"}, "use-after-free", "kmem_cache_destroy(gone);"),
}
MISMATCHED = {
    "kmalloc_vfree": ("kmalloc", "vfree", "vfree(p);"),
    "pages_vfree": ("pages", "vfree", "vfree(p);"),
    "vmalloc_kfree": ("vmalloc", "kfree", "kfree(p);"),
    "pages_kfree": ("pages", "kfree", "kfree(p);"),
    "cache_other_cache_free": ("cache", "cache", "kmem_cache_free(other"),
    "kmalloc_cache_free": ("kmalloc", "cache", "kmem_cache_free(other"),
    "pages_free_of_more": ("pages", "order", "get_order(size) + 1"),
}


@dataclass(frozen=True)
class Case:
    """*wrong* are the parameters with the defect, *right* those without; *text* stands in the line that is found."""

    name: str
    module: str
    wrong: Words
    right: Words
    kind: str
    text: str
    flags: tuple[str, ...] = ()
    quarantine: bool = False
    scan: bool = False
    """Look for what nothing points to."""

    @property
    def lines(self) -> set[int]:
        """The lines that are right."""
        source = _source(self.module)
        found = {number for number, line in enumerate(source, 1) if self.text in line}
        assert found, self.text
        return found


@cache
def _source(module: str) -> list[str]:
    return (KMOD / module / f"{module}.c").read_text().splitlines()


def at_access(op: str, width: int) -> str:
    """What stands where access.c and local.c read or write so many bytes."""
    if op == "read":
        return {1: "(void)*(volatile u8 *)", 2: "(void)*(volatile u16 *)", 4: "(void)*(volatile u32 *)"}.get(
            width, "(void)*(volatile u64 *)"
        )
    return {1: "*(volatile u8 *)p = 1", 2: "*(volatile u16 *)p = 1", 4: "*(volatile u32 *)p = 1"}.get(
        width, "*(volatile u64 *)p = 1"
    )


FUNCTIONS = {
    "memset": ("set", "memset((void *)p"),
    "memcpy": ("copy", "memcpy(text"),
    "strscpy": ("text", "strscpy((char *)p"),
    "copy_to_user": ("user", "if (copy_to_user"),
}


def access(name: str, kind: str, wrong: Words, right: Words, op: str, width: int = 1, **more: bool) -> Case:
    """A case of tests/kmod/access."""
    both: Words = {"op": op, "width": width}
    return Case(name, "access", {**both, **wrong}, {**both, **right}, kind, at_access(op, width), **more)


def kmalloc_accesses() -> Iterator[Case]:
    """One byte either side of every size, over an end, and after free."""
    for op in OPS:
        for size in CLASSES + BETWEEN + LARGE:
            where: Words = {"size": size}
            yield access(
                f"kmalloc_{size}_oob_right_{op}", "out-of-bounds", where | {"at": size}, where | {"at": size - 1}, op
            )
            if size in CLASSES:
                yield access(
                    f"kmalloc_{size}_oob_left_{op}", "out-of-bounds", where | {"at": -1}, where | {"at": 0}, op
                )
            uaf = where | {"at": size // 2}
            yield access(f"kmalloc_{size}_uaf_{op}", "use-after-free", uaf | {"freed": 1}, uaf, op)
    for size in CLASSES + BETWEEN:
        for width in (2, 4, 8):
            if size >= width:
                wrong: Words = {"size": size, "at": size - 1}
                right: Words = {"size": size, "at": size - width}
                yield access(f"kmalloc_{size}_oob_over_the_end_{width}", "out-of-bounds", wrong, right, "write", width)


def region_accesses() -> Iterator[Case]:
    """The byte behind other memory, the byte before it, and after it was freed."""
    for op in OPS:
        for start in ("kzalloc", "cache", "pages", "vmalloc"):
            for size in (40, 64, 200, 4096, 5000, 8192):
                if start == "cache" and size == 8192:
                    continue  # the slab's last object: the page behind it is in use
                whole = 4096 << (size - 1 >> 12).bit_length() if start == "pages" else size
                where: Words = {"from": start, "size": size}
                yield access(
                    f"{start}_{size}_oob_right_{op}",
                    "out-of-bounds",
                    where | {"at": whole},
                    where | {"at": size - 1},
                    op,
                )
                yield access(f"{start}_{size}_uaf_{op}", "use-after-free", where | {"freed": 1}, where, op)
        for size in (8, 16, 20, 64, 100):
            where = {"from": "percpu", "size": size}
            yield access(
                f"percpu_{size}_oob_right_{op}", "out-of-bounds", where | {"at": size}, where | {"at": size - 1}, op
            )
        where = {"from": "percpu", "size": 32, "at": 8}
        yield access(f"percpu_uaf_{op}", "use-after-free", where | {"freed": 1}, where, op)
        for size in (4096, 8192):
            where = {"from": "ioremap", "size": size}
            yield access(
                f"ioremap_{size}_oob_right_{op}", "out-of-bounds", where | {"at": size}, where | {"at": size - 1}, op
            )
            yield access(f"ioremap_{size}_uaf_{op}", "use-after-free", where | {"freed": 1}, where, op)
        for start in ("kmalloc", "cache"):
            for size in (8, 64, 200, 4096):
                where = {"from": start, "size": size, "at": 3}
                yield access(
                    f"{start}_{size}_uaf_of_what_was_given_out_again_{op}", "use-after-free",
                    where | {"freed": 1, "again": 1}, where | {"again": 1}, op, quarantine=True,
                )  # fmt: skip


def functions() -> Iterator[Case]:
    """Exported functions that go beyond an object, and bytes that were never written."""
    for name, (op, text) in FUNCTIONS.items():
        # Of a cache that was not made for it nothing may be copied to users.
        for start in ("kmalloc", "vmalloc") if op == "user" else ("kmalloc", "cache", "vmalloc"):
            for size in (8, 61, 64, 192):
                both: Words = {"from": start, "size": size, "op": op, "fill": 1}
                yield Case(
                    f"{start}_{size}_oob_in_{name}", "access", both | {"width": size + 1},
                    both | {"width": size - (op == "text")}, "out-of-bounds", text,
                )  # fmt: skip
    for start in ("kmalloc", "pages", "vmalloc"):
        both = {"from": start, "size": 64, "width": 64, "op": "user"}
        yield Case(
            f"{start}_uninitialised_to_user",
            "access",
            both,
            both | {"fill": 1},
            "uninitialised-leak",
            "if (copy_to_user",
        )


def frees() -> Iterator[Case]:
    """What may not be freed, or not so."""
    right: Words = {"size": 64}
    for name, (wrong, kind, text) in FREE.items():
        yield Case(name, "access", right | wrong, right, kind, text)
    for start in ("cache", "pages"):
        both: Words = {"from": start, "size": 64}
        yield Case(f"{start}_double_free", "access", both | {"fault": "double"}, both, "double-free", "give(p);")
    for name, (start, fault, text) in MISMATCHED.items():
        both = {"from": start, "size": 64}
        yield Case(name, "access", both | {"fault": fault}, both, "mismatched-free", text)


def wrong_calls() -> Iterator[Case]:
    """What is handed to a device, flags, registrations that are left, contexts."""
    rows = (
        ("dma_unwritten", "dma_right", "uninitialised-leak", DMA),
        ("dma_beyond", "dma_right", "out-of-bounds", DMA),
        ("dma_write_beyond", "dma_from_device", "out-of-bounds", DMA),
        ("dma_freed", "dma_right", "use-after-free", DMA),
        ("dma_vmalloc", "dma_right", "api-misuse", DMA),
        ("dma_stack", "dma_right", "api-misuse", DMA),
        ("dma_global", "dma_right", "api-misuse", DMA),
        ("sg_beyond", "sg_right", "out-of-bounds", "if (dma_map_sg("),
        ("gfp_zones", "gfp_right", "bad-gfp", "__GFP_DMA | __GFP_HIGHMEM, 0"),
        ("nofail_large", "gfp_right", "bad-gfp", "64 << 10, GFP_KERNEL"),
        ("nofail_atomic", "gfp_right", "bad-gfp", "GFP_ATOMIC | __GFP_NOFAIL"),
        ("vmalloc_atomic", "gfp_right", "bad-gfp", "__vmalloc(8192, GFP_ATOMIC)"),
        ("leave_proc", "nothing", "leak", "proc_create("),
        ("leave_misc", "nothing", "leak", "misc_register("),
        ("leave_cdev", "nothing", "leak", "cdev_add("),
        ("leave_region", "nothing", "leak", "alloc_chrdev_region("),
    )
    for wrong, right, kind, text in rows:
        yield Case(wrong, "misuse", {"what": wrong}, {"what": right}, kind, text)
    for mode in CONTEXTS:
        for op, text in SLEEPERS.items():
            right_mode: Words = {"mode": "proc", "op": op}
            # vmalloc has a BUG_ON(in_interrupt()) of its own.
            kind = "bug" if op == "vmalloc" and mode in ("tasklet", "timer", "irq") else "sleep-in-atomic"
            yield Case(f"{op}_in_{mode}", "atomic", {"mode": mode, "op": op}, right_mode, kind, text)


def lost() -> Iterator[Case]:
    """What nothing points to any more, while the module is loaded."""
    rows = {
        "list": "kzalloc(sizeof(*item)",
        "single": "kzalloc(sizeof(*item)",
        "text": "item->text = kstrdup(",
        "area": "item->area = vmalloc(",
        "drvdata": "kmalloc(300",
        "cache": "from_cache = kmem_cache_alloc(",
        "inside": "(u64)kmalloc(1000",
    }
    for what, text in rows.items():
        yield Case(f"lost_{what}", "lost", {"lost": what}, {}, "leak", text, scan=True)


def faults() -> Iterator[Case]:
    """What the machine itself refuses."""
    rows = (
        ("null", "null-dereference", "WRITE_ONCE(*p, 1)"),
        ("gpf", "use-after-free", "READ_ONCE(*p)"),
        ("rowrite", "read-only-write", "WRITE_ONCE(*p, 13)"),
        ("guard", "out-of-bounds", "WRITE_ONCE(*(unsigned long *)where"),
        ("exec", "exec-fault", "modes[i].run();"),  # what the compiler makes of the call is a jump
        ("bug", "bug", "BUG();"),
        ("warn", "warning", "WARN(1"),
        ("stack", "stack-overflow", "unsigned long frame[32];"),
        ("dblfree", "double-free", "kfree(p);"),
    )
    for mode, kind, text in rows:
        yield Case(f"machine_{mode}", "bug", {"mode": mode}, {"mode": "roread"}, kind, text)


def variables() -> Iterator[Case]:
    """Beside variables, in instrumented code."""
    for start in ("stack", "second", "alloca", "global", "static", "constant"):
        for width in (1, 2, 4, 8):
            both: Words = {"from": start, "width": width, "op": "read"}
            yield Case(
                f"{start}_oob_right_{width}", "local", both | {"at": 20}, both | {"at": 20 - width}, "out-of-bounds",
                at_access("read", width), INSTRUMENT,
            )  # fmt: skip
    for start in ("stack", "second", "alloca"):
        for op in OPS:
            both = {"from": start, "op": op}
            yield Case(
                f"{start}_oob_left_{op}", "local", both | {"at": -1}, both | {"at": 0}, "out-of-bounds",
                at_access(op, 1), INSTRUMENT,
            )  # fmt: skip
    for start in ("stack", "alloca", "global"):
        for name in ("memset", "memcpy", "strscpy"):
            op, text = FUNCTIONS[name]
            both = {"from": start, "op": op}
            yield Case(
                f"{start}_oob_in_{name}", "local", both | {"width": 21}, both | {"width": 20 - (op == "text")},
                "out-of-bounds", text, INSTRUMENT,
            )  # fmt: skip


def every() -> list[Case]:
    """All of them."""
    families = (kmalloc_accesses, region_accesses, functions, frees, wrong_calls, lost, faults, variables)
    return [case for family in families for case in family()]
