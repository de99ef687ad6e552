"""Red-black trees in RAM against a sorted list: order, colours, black heights, parents and the augmented value."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmem.abi.address import PAGE_OFFSET
from kmem.lib.cstruct import Struct
from kmem.machine.ram import Ram
from tests.lib.engines import ENGINES

TREE = PAGE_OFFSET + 0x800
NODE_AT = Struct.registry["vmap_area"].field("rb_node").offset if "vmap_area" in Struct.registry else 16
MAX_AT = Struct.registry["vmap_area"].field("subtree_max_size").offset


def area_at(n: int) -> int:
    return PAGE_OFFSET + 0x10000 + n * 64


class Tree:
    """Reads the tree as it lies in memory, and complains."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram

    def word(self, addr: int) -> int:
        value: int = struct.unpack_from("<Q", self.ram.mem, addr - PAGE_OFFSET)[0]
        return value

    def areas(self, augmented: bool) -> list[int]:
        """Areas in order; every rule of the tree is checked on the way."""
        found: list[int] = []
        root = self.word(TREE)
        if root:
            assert self.word(root) & 1, "the root is red"
            self._subtree(root, 0, found, augmented)
        return found

    def _subtree(self, node: int, parent: int, found: list[int], augmented: bool) -> tuple[int, int]:
        """Black height and largest size below *node*."""
        if not node:
            return 1, 0
        color = self.word(node)
        assert color & ~3 == parent, "a node does not know its parent"
        assert color & 1 or self.word(parent) & 1, "two red nodes in a row"
        black, best = self._subtree(self.word(node + 16), node, found, augmented)
        area = node - NODE_AT
        found.append(area)
        other, larger = self._subtree(self.word(node + 8), node, found, augmented)
        assert black == other, "black heights differ"
        best = max(best, larger, self.word(area + 8) - self.word(area))
        if augmented:
            assert self.word(area + MAX_AT) == best, "the largest size below a node is wrong"
        return black + (color & 1), best


steps = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 50)), max_size=120)


@pytest.mark.parametrize("augmented", [False, True], ids=("plain", "augmented"))
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__.lower())
@settings(max_examples=60)
@given(steps=steps)
def test_the_tree_is_a_sorted_list(engine: Any, augmented: bool, steps: list[tuple[int, int]]) -> None:
    ram = Ram(2 << 20)
    ops, tree = engine(ram), Tree(ram)
    inside: set[int] = set()
    for n, size in steps:
        area = area_at(n)
        if area in inside:
            inside.remove(area)
            first = ops.op_rb_erase(TREE, area, int(augmented))
            assert first == min(inside, default=0)
        else:
            inside.add(area)
            ops.op_rb_insert(TREE, area, n * 1000, size * 8, int(augmented))
        assert tree.areas(augmented) == sorted(inside)


@pytest.mark.parametrize("order", ["up", "down", "inside out"])
def test_a_thousand_nodes_stay_shallow(order: str) -> None:
    ram = Ram(2 << 20)
    ops, tree = ENGINES[1](ram), Tree(ram)
    numbers = list(range(1000))
    if order == "down":
        numbers.reverse()
    elif order == "inside out":
        numbers.sort(key=lambda n: abs(n - 500))
    for n in numbers:
        ops.op_rb_insert(TREE, area_at(n), n, 1 + n % 7, 1)
    assert len(tree.areas(True)) == 1000
    assert depth(tree, tree.word(TREE)) <= 20
    for n in numbers[::2]:
        ops.op_rb_erase(TREE, area_at(n), 1)
    assert tree.areas(True) == sorted(area_at(n) for n in numbers[1::2])


def depth(tree: Tree, node: int) -> int:
    return 1 + max(depth(tree, tree.word(node + 8)), depth(tree, tree.word(node + 16))) if node else 0


@given(steps=steps)
def test_both_engines_build_the_same_tree(steps: list[tuple[int, int]]) -> None:
    images = []
    for engine in ENGINES:
        ram = Ram(2 << 20)
        ops = engine(ram)
        inside: set[int] = set()
        for n, size in steps:
            if n in inside:
                ops.op_rb_erase(TREE, area_at(n), 1)
            else:
                ops.op_rb_insert(TREE, area_at(n), n * 1000, size * 8, 1)
            inside ^= {n}
        images.append(bytes(ram.mem[: 0x10000 + 64 * 64]))
    assert images[0] == images[1]
