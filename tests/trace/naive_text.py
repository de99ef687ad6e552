"""What a line of a trace says, by regular expressions; and lines of all shapes."""

from __future__ import annotations

import random
import re

_LINE = re.compile(r"(\d+)\s+\[(\d+)\]\s+(?:(\S{4,})\s+)?(\d+)\.(\d+):\s+(?:\w+:)*(\w+):\s(.*)$")
_NUMBERS = {"bytes_req": "requested", "bytes_alloc": "allocated", "node": "node", "order": "order"}


def event(line: str) -> dict[str, int | str]:
    """The event of *line*, by the names of the columns; site, flags and cache as text."""
    found = list(_LINE.finditer(line))
    assert found, line
    pid, cpu, _, seconds, fraction, kind, rest = found[0].groups()
    values = dict(word.split("=", 1) for word in rest.split() if "=" in word)
    made: dict[str, int | str] = {
        name: int(values.get(key, -1 if key == "node" else 0)) for key, name in _NUMBERS.items()
    }
    made |= {"task": int(pid), "cpu": int(cpu), "time": int(seconds) * 10**9 + int(f"{fraction:0<9}"), "kind": kind}
    made |= {"site": values.get("call_site", "").split("/")[0], "cache": values.get("name", "")}
    made["ptr"] = int(values["ptr"], 16) if "ptr" in values else int(values["pfn"], 0)
    if kind.startswith("mm_page"):
        made["allocated"] = 4096 << int(made["order"])
    return made


def line(rng: random.Random) -> str:
    """A line that one of the tools could print, its words of any length."""
    word = "".join(rng.choices("abcXYZ_.-:/[] 0129=", k=rng.randrange(1, 17))).strip() or "x"
    long = "".join(rng.choices("abcdefgh_", k=rng.choice((1, 7, 8, 9, 30, 63, 64, 65, 130))))
    site = f"{long}+{rng.randrange(1 << rng.randrange(1, 20)):#x}"
    head = rng.choice((f"{word:>16}-", f"{word:>16} "))
    pid = rng.randrange(1, 10 ** rng.randrange(1, 10))
    flags = rng.choice(("", "....", "d.h1.", "dNs2."))
    time = f"{rng.randrange(10 ** rng.randrange(1, 10))}.{rng.randrange(10**6):06}{rng.choice(('', '', '123'))}"
    system = rng.choice(("", "kmem:"))
    ptr = f"{rng.choice(('', '0x'))}{rng.randrange(1 << rng.choice((4, 31, 32, 33, 64))):x}"
    size = rng.randrange(10 ** rng.randrange(1, 13))
    pfn = rng.choice(("{:#x}", "{}")).format(rng.randrange(1 << rng.randrange(1, 40)))
    sizes = f"bytes_req={size} bytes_alloc={size + 1}"
    text = rng.choice(
        (
            f"kmalloc: call_site={site}/0x180 ptr={ptr} {sizes} gfp_flags={'F|' * 40}G node=-1",
            f"kmem_cache_alloc: (x+0x1) call_site={site} ptr={ptr} name={long} {sizes} node=12",
            f"kfree: call_site={site}/0x1 ptr={ptr}",
            f"kmem_cache_free: name={long} xptr=77 ptrs=5 ptr={ptr} call_site={site}",
            f"mm_page_alloc: page=0000000012345678 pfn={pfn} order={rng.randrange(11)} migratetype=1 gfp_flags=none",
            f"mm_page_free: page=123 pfn={pfn} order={rng.randrange(11)}",
        )
    )
    gap = " " * rng.randrange(1, 12)
    return f"{head}{pid}{gap}[{rng.randrange(300):03}] {flags}{gap}{time}: {gap}{system}{text}"
