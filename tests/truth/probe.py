"""Facts of ``probe``: sizes, overflows, whole pages, refused requests, caches, I/O memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tests.truth.address import PAGE, PAGE_OFFSET, region, yes
from tests.truth.facts import Collector, FactsError, Value
from tests.truth.log import Step, pairs
from tests.truth.reports import Warned, warnings_before

PREFIX = "probe: "
PAGES_THAT_SCATTER = 256
"""From so many pages on, vmalloc's are never one run, whatever the page allocator's lists were like before."""

SIZE = re.compile(
    r"size (?P<size>\d+) kmalloc (?P<kmalloc>\w+)(?: addr (?P<addr>\w+))? ksize (?P<ksize>\d+)"
    r"(?: slab (?P<slab>\d) order (?P<order>\d+) align (?P<align>\d+))?"
    r" \| vmalloc (?P<vmalloc>\w+)(?: addr (?P<vaddr>\w+) pages (?P<pages>\d+) runs (?P<runs>\d+))?"
    r" \| kvmalloc (?P<kvmalloc>\w+)"
    r" \| dma (?P<dma>\w+) (?P<dma_phys>\w+) (?P<below>\S+)"
    r" \| kzalloc (?P<kzalloc>\w+) zeroed (?P<zeroed>\d)"
)


def collect(out: Collector, step: Step) -> None:
    """Add the facts of one load of the module."""
    for text, warned in warnings_before(step.lines, PREFIX):
        for pattern, reader in READERS:
            match = re.fullmatch(pattern, text)
            if match:
                reader(out, match, warned)
                break
        else:
            if not text.startswith(("loading out-of-tree", "module verification failed")):
                raise FactsError(f"probe: no such line is known: {text}")


def _constants(out: Collector, match: re.Match[str], _: Sequence[Warned]) -> None:
    out.update("constants", pairs(match[0]))


def _sizeof(out: Collector, match: re.Match[str], _: Sequence[Warned]) -> None:
    out.update("sizeof", pairs(match[1]))
    for name, value in pairs(match[2], 16).items():
        out.add("constants", name, f"{value:#x}")


def _size(out: Collector, match: re.Match[str], warned: Sequence[Warned]) -> None:
    m = match.groupdict()
    step = f"size {m['size']}"
    given = int(m["ksize"])
    out.update(step, {"kmalloc": m["kmalloc"], "ksize": given})
    if m["addr"]:
        out.update(step, {"slab": int(m["slab"]), "order": int(m["order"]), "region": region(int(m["addr"], 16))})
        if given & (given - 1) == 0:
            out.add(step, "aligned to ksize", yes(int(m["align"]) >= given))
        elif out.config != "debug":
            out.add(step, "aligned as in an array", yes(int(m["align"]) >= given & -given))
    if m["vaddr"]:
        pages, runs = int(m["pages"]), int(m["runs"])
        address = int(m["vaddr"], 16)
        out.update(step, {"vmalloc": f"{region(address)} region, offset {address % PAGE}", "pages": pages})
        if pages == 1 or pages >= PAGES_THAT_SCATTER:
            out.add(step, "one run", yes(runs == 1))
    else:
        out.add(step, "vmalloc", m["vmalloc"])
    out.update(step, {"kvmalloc": m["kvmalloc"], "dma": f"{m['dma']} {m['below']}"})
    out.add(step, "kzalloc", f"{m['kzalloc']} zeroed {m['zeroed']}")
    out.add(step, "warning", _warning(warned))


def _warning(warned: Sequence[Warned]) -> str:
    return "; ".join(f"{w.place} {w.function}" for w in warned if w.place) or "none"


def _says(out: Collector, step: str, warned: Sequence[Warned]) -> None:
    said = [text for report in warned for text in report.said]
    if said:
        out.add(step, "says", "; ".join(said))


def _overflow(out: Collector, match: re.Match[str], warned: Sequence[Warned]) -> None:
    for name, value in re.findall(r"(\S+) ([0-9a-f]{16})", match[0]):
        out.add("overflow", name, f"{int(value, 16):#x}")
    out.add("overflow", "warning", _warning(warned))


def _krealloc(out: Collector, match: re.Match[str], _: Sequence[Warned]) -> None:
    out.update(f"krealloc {match[1]}", pairs(match[2]))


def _krealloc_zero(out: Collector, match: re.Match[str], _: Sequence[Warned]) -> None:
    out.add("krealloc ->0", "result", f"{int(match[1], 16):#x}")


def _bytes(text: str) -> str:
    """Say what eight-byte words hold: a repeated byte, a pointer into the direct map, or something else."""
    data = bytes.fromhex(text)
    words = []
    for start in range(0, len(data), 8):
        word = data[start : start + 8]
        if len(set(word)) == 1:
            words.append(f"{word[0]:02x}")
        else:
            words.append("pointer" if int.from_bytes(word, "little") >= PAGE_OFFSET else "other")
    return " ".join(words)


def _reuse(out: Collector, match: re.Match[str], _: Sequence[Warned]) -> None:
    """Compare the object's first half and the half that begins with the free pointer.

    A cache that is being debugged has no slab of its own CPU: an object that was the last of its slab comes back later.
    """
    if out.config != "debug":
        out.add("reuse", "same", int(match[1]))
    out.update("reuse", {"bytes 0-15": _bytes(match[2]), "bytes 32-47": _bytes(match[3])})


def _pages(out: Collector, match: re.Match[str], warned: Sequence[Warned]) -> None:
    step = f"alloc_pages order {match[1]}"
    out.update(step, {"result": "NULL" if match[2] == "NULL" else "ok", "warning": _warning(warned)})
    found = re.fullmatch(r"pfn (\w+) zone (\w+) refcount (\d+)", match[2])
    if found:
        aligned = int(found[1], 16) % (1 << int(match[1])) == 0
        out.update(step, {"zone": found[2], "refcount": int(found[3]), "aligned": yes(aligned)})


def _refused(out: Collector, match: re.Match[str], warned: Sequence[Warned]) -> None:
    out.update(match[1], {"result": region(int(match[2], 16)), "warning": _warning(warned)})
    _says(out, match[1], warned)


def _caches(out: Collector, match: re.Match[str], _: Sequence[Warned]) -> None:
    for name, size, given in re.findall(r"([\w/]+) size (\d+) ksize (\d+)", match[1]):
        out.update(f"kmem_cache {name}", {"size": int(size), "ksize": int(given)})


def _ioremap(out: Collector, match: re.Match[str], warned: Sequence[Warned]) -> None:
    for name, value in re.findall(r"(\w+) ([0-9a-f]{16})", match[1]):
        address = int(value, 16)
        answers: dict[str, Value] = {"region": region(address), "page offset": address % PAGE}
        out.update(f"ioremap {name}", answers)
    out.add("ioremap", "warning", _warning(warned))
    _says(out, "ioremap", warned)


Reader = Callable[[Collector, re.Match[str], Sequence[Warned]], None]
READERS: tuple[tuple[str, Reader], ...] = (
    (r"PAGE_SIZE .*", _constants),
    (r"sizeof (page .*) kmem_cache\(opaque\) (ZERO_SIZE_PTR .*)", _sizeof),
    (SIZE.pattern, _size),
    (r"kcalloc\(huge.*", _overflow),
    (r"krealloc (\d+->\d+) (.*)", _krealloc),
    (r"krealloc ->0 (\w+)", _krealloc_zero),
    (r"reuse same (\d) bytes0-15 ([0-9a-f ]+) bytes32-47 ([0-9a-f ]+) \(init_on_alloc check\)", _reuse),
    (r"alloc_pages order (\d+) (.*)", _pages),
    (r"(k?v?malloc\(.*\)(?: no NOWARN)?) ([0-9a-f]{16})", _refused),
    (r"kmem_cache (.*)", _caches),
    (r"ioremap (.*)", _ioremap),
)
