"""Lists in RAM against a Python list, on both engines."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmem.abi.address import PAGE_OFFSET
from kmem.lib.list import LIST_POISON1, LIST_POISON2
from kmem.machine.ram import Ram
from tests.lib.engines import ENGINES

HEADS = (PAGE_OFFSET + 0x1000, PAGE_OFFSET + 0x2000)
INIT, ADD, ADD_TAIL, DEL, DEL_INIT, MOVE_TAIL = range(6)


def entry_at(n: int) -> int:
    return PAGE_OFFSET + 0x10000 + n * 64


def walk(ram: Ram, head: int) -> list[int]:
    """Entries from the front, each link checked backwards."""
    found, before = [], head
    at = struct.unpack_from("<Q", ram.mem, head - PAGE_OFFSET)[0]
    while at != head:
        following, prev = struct.unpack_from("<QQ", ram.mem, at - PAGE_OFFSET)
        assert prev == before
        found.append(at)
        before, at = at, following
    assert struct.unpack_from("<Q", ram.mem, head - PAGE_OFFSET + 8)[0] == before
    return found


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.__name__.lower())
def ops(request: pytest.FixtureRequest) -> Any:
    return request.param(Ram(2 << 20))


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__.lower())
@given(
    steps=st.lists(
        st.tuples(st.sampled_from((ADD, ADD_TAIL, DEL, DEL_INIT, MOVE_TAIL)), st.integers(0, 9), st.booleans())
    )
)
def test_lists_behave_like_lists(engine: Any, steps: list[tuple[int, int, bool]]) -> None:
    ram = Ram(2 << 20)
    ops = engine(ram)
    lists: tuple[list[int], list[int]] = ([], [])
    for head in HEADS:
        assert ops.op_list(INIT, 0, head) == 1
    for op, n, second in steps:
        link, target = entry_at(n), lists[second]
        owner = next((one for one in lists if link in one), None)
        if op in (ADD, ADD_TAIL):
            if owner is not None:
                continue
            target.insert(0 if op == ADD else len(target), link)
        elif owner is None:
            continue
        else:
            owner.remove(link)
            if op == MOVE_TAIL:
                target.append(link)
        empty = ops.op_list(op, link, HEADS[second])
        assert empty == (not target)
        assert [walk(ram, head) for head in HEADS] == list(lists)


def test_a_deleted_entry_is_poisoned(ops: Any) -> None:
    ops.op_list(INIT, 0, HEADS[0])
    ops.op_list(ADD, entry_at(1), HEADS[0])
    ops.op_list(DEL, entry_at(1), HEADS[0])
    assert struct.unpack_from("<qq", ops.ram.mem, entry_at(1) - PAGE_OFFSET) == (LIST_POISON1, LIST_POISON2)


def test_an_entry_deleted_for_reuse_is_an_empty_list(ops: Any) -> None:
    ops.op_list(INIT, 0, HEADS[0])
    ops.op_list(ADD, entry_at(1), HEADS[0])
    ops.op_list(DEL_INIT, entry_at(1), HEADS[0])
    assert struct.unpack_from("<QQ", ops.ram.mem, entry_at(1) - PAGE_OFFSET) == (entry_at(1), entry_at(1))
