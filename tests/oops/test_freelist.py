"""The free-list load of newer SLUB by its machine code, and hardened free pointers undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmem.oops.explain import explain

RANDOM, SLOT, OBJECT, OFFSET = 0x9F3C51D7A60B2E84, 0xFFFF888004809240, 0xFFFF888004809220, 0x20


def decoded(word: int) -> int:
    return word ^ RANDOM ^ int.from_bytes(SLOT.to_bytes(8, "little"), "big")


def oops(release: str, code: str, pointer: int, **registers: int) -> str:
    rows = {"RAX": OFFSET, "RBX": pointer, "RCX": 1, "RDX": 3, "RSI": 0xCC0, "RDI": 0xFFFF888001042600, "RBP": 2}
    rows |= registers
    printed = "\n".join(f"{name}: {value:016x}" for name, value in rows.items())
    return f"""general protection fault, probably for non-canonical address {pointer + OFFSET:#x}: 0000 [#1] SMP NOPTI
CPU: 0 PID: 1 Comm: insmod Tainted: G           O      {release} #1
RIP: 0010:kmem_cache_alloc+0x80/0x200
Code: {code}
RSP: 0018:ffffc9000000fec8 EFLAGS: 00010297
{printed}
Call Trace:
 demo_rx+0x18/0x50 [demo]
"""


def told(log: str) -> str:
    return "\n".join(f"{note.label}: {note.text}" for note in explain(log)[0].notes)


HARDENED = "8b 47 28 <48> 8b 14 03 48 8d 0c 03 48 0f c9 48 33 97 b8 00 00 00 48 31 ca"
"""mov eax,[rdi+0x28]; mov rdx,[rbx+rax]; lea rcx,[rbx+rax]; bswap rcx; xor rdx,[rdi+0xb8]; xor rdx,rcx"""
PLAIN = "8b 47 20 <48> 8b 14 03 48 8d 4a 08"


@pytest.mark.parametrize(
    ("release", "code", "hardened"),
    [("6.1.0", HARDENED, True), ("4.19.0", PLAIN, False), ("3.0.0", "8b 47 18 <48> 8b 14 03", False)],
)
def test_the_load_is_told_in_c(release: str, code: str, hardened: bool) -> None:
    text = told(oops(release, code, 0x4141414141414100))
    assert "*(void **)(object + s->offset) with object = rbx = 0x4141414141414100" in text
    assert "s->offset = rax = 0x20, s = rdi = 0xffff888001042600" in text
    assert ("decoded with s->random" in text) is hardened


def test_a_member_of_another_release_is_no_free_list_load() -> None:
    assert "*(void **)" not in told(oops("4.19.0", HARDENED, 0x4141414141414100))


def test_arm64_load() -> None:
    log = """Unable to handle kernel paging request at virtual address 0041414141414141
Internal error: Oops: 96000004 [#1] SMP
CPU: 1 PID: 9 Comm: a Not tainted 5.15.0 #1
pstate: 60000005 (nZCv daif -PAN -UAO -TCO -DIT -SSBS BTYPE=--)
pc : kmem_cache_alloc+0x90/0x300
lr : demo_rx+0x18/0x50 [demo]
x5 : ffff000002c01400 x4 : 0000000000000000 x3 : 0000000000000020
x2 : 4141414141414121 x1 : 0000000000000cc0 x0 : 0000000000000000
Code: 00000000 b94028a3 (f8636840)
"""
    text = told(log.replace("00000000 b94028a3", "b94028a3"))
    assert "object = x2 = 0x4141414141414121, s->offset = x3 = 0x20, s = x5 = 0xffff000002c01400" in text


@pytest.mark.parametrize("word", [0, 0xD, 0x6B6B6B6B6B6B6B6B])
def test_the_stored_word_is_found_when_registers_hold_what_decodes_it(word: int) -> None:
    each = explain(oops("6.1.0", HARDENED, decoded(word), R08=RANDOM, R09=OBJECT))[0]
    assert each.verdict.rule == 10
    assert f"the free pointer at {SLOT:#x} was overwritten with {word:#x}" in each.verdict.verdict


def test_without_the_random_number_nothing_is_claimed() -> None:
    each = explain(oops("6.1.0", HARDENED, decoded(0xD), R09=OBJECT))[0]
    assert each.verdict.cause == "freelist_corruption"
    assert "was overwritten with 0xd" not in told(oops("6.1.0", HARDENED, decoded(0xD), R09=OBJECT))


def test_a_real_load_whose_sum_is_made_by_an_add() -> None:
    excerpt = (Path(__file__).parent / "excerpts/zfs15745.txt").read_text()
    text = told(excerpt.partition("\n\n")[2])
    assert "object = rdi = 0xffff8b016e31a4cf, s->offset = 0x10, s = r12 = 0xffff8b1300042400" in text
    assert "overwritten (it led to 0xffff8b016e31a4cf)" in text
