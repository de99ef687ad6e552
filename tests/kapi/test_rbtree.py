"""Red-black trees: the invariants, and the order of walks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.kapi.fakehost import FakeHost

RIGHT, LEFT, KEY = 8, 16, 24


class Tree:
    """A tree of numbered nodes, linked as a driver links them."""

    def __init__(self) -> None:
        self.k = FakeHost()
        self.root = self.k.alloc(8)
        self.nodes: dict[int, int] = {}

    def insert(self, key: int) -> None:
        mem, link, parent = self.k.mem, self.root, 0
        while mem.u64(link):
            parent = mem.u64(link)
            link = parent + (LEFT if key < mem.u64(parent + KEY) else RIGHT)
        node = self.nodes[key] = self.k.alloc(32)
        mem.write(node, parent.to_bytes(8, "little") + bytes(16) + key.to_bytes(8, "little"))
        mem.set_u64(link, node)
        self.k.run("rb_insert_color", node, self.root)

    def erase(self, key: int) -> None:
        self.k.run("rb_erase", self.nodes.pop(key), self.root)

    def check(self, node: int | None = None, parent: int = 0) -> int:
        """Asserts the invariants below *node*; its number of black nodes to a leaf."""
        mem = self.k.mem
        if node is None:
            node = mem.u64(self.root)
            assert not node or mem.u64(node) & 1, "the root is black"
        if not node:
            return 1
        word = mem.u64(node)
        assert word & ~3 == parent
        left, right = mem.u64(node + LEFT), mem.u64(node + RIGHT)
        if not word & 1:
            assert all(not child or mem.u64(child) & 1 for child in (left, right)), "red under red"
        heights = {self.check(left, node), self.check(right, node)}
        assert len(heights) == 1, "unequal black heights"
        return heights.pop() + (word & 1)

    def walk(self, first: str, following: str) -> list[int]:
        node, keys = self.k.run(first, self.root), []
        while node:
            keys.append(self.k.mem.u64(node + KEY))
            node = self.k.run(following, node)
        return keys


operations = st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60)


@given(operations)
def test_the_invariants_hold_after_every_operation(steps: list[tuple[bool, int]]) -> None:
    tree = Tree()
    for insert, key in steps:
        if insert and key not in tree.nodes:
            tree.insert(key)
        elif not insert and key in tree.nodes:
            tree.erase(key)
        tree.check()
        assert tree.walk("rb_first", "rb_next") == sorted(tree.nodes)
    assert tree.walk("rb_last", "rb_prev") == sorted(tree.nodes, reverse=True)


@given(st.sets(st.integers(0, 40), max_size=20))
def test_postorder_visits_children_first(keys: set[int]) -> None:
    tree = Tree()
    for key in sorted(keys):
        tree.insert(key)
    order = tree.walk("rb_first_postorder", "rb_next_postorder")
    assert sorted(order) == sorted(keys)
    mem = tree.k.mem
    for key in keys:
        parent = mem.u64(tree.nodes[key]) & ~3
        assert not parent or order.index(key) < order.index(mem.u64(parent + KEY))


def test_ascending_insertion_gives_the_kernels_shape() -> None:
    tree = Tree()
    for key in range(1, 8):
        tree.insert(key)
    mem = tree.k.mem

    def draw(node: int) -> str:
        if not node:
            return "."
        color = "b" if mem.u64(node) & 1 else "r"
        return f"({draw(mem.u64(node + LEFT))}{mem.u64(node + KEY)}{color}{draw(mem.u64(node + RIGHT))})"

    assert draw(mem.u64(tree.root)) == "((.1b.)2b((.3b.)4r((.5r.)6b(.7r.))))"


def test_replacing_a_node() -> None:
    tree = Tree()
    for key in (2, 1, 3):
        tree.insert(key)
    new = tree.k.alloc(32)
    tree.k.mem.set_u64(new + KEY, 2)
    tree.k.run("rb_replace_node", tree.nodes[2], new, tree.root)
    tree.check()
    assert tree.k.mem.u64(tree.root) == new
    assert tree.walk("rb_first", "rb_next") == [1, 2, 3]


def test_a_node_in_no_tree_has_no_neighbours() -> None:
    k = FakeHost()
    node = k.alloc(24)
    k.mem.set_u64(node, node)
    assert k.run("rb_next", node) == k.run("rb_prev", node) == 0


def test_an_augmented_tree_is_told_of_each_rotation() -> None:
    tree, rotations = Tree(), []
    told = tree.k.guest(lambda old, new: rotations.append((old, new)) or 0)
    for key in (3, 2, 1):
        node = tree.nodes[key] = tree.k.alloc(32)
        parent = tree.nodes.get(key + 1, 0)
        tree.k.mem.set_u64(node, parent)
        tree.k.mem.set_u64(parent + LEFT if parent else tree.root, node)
        tree.k.run("__rb_insert_augmented", node, tree.root, told)
    tree.check()
    assert rotations == [(tree.nodes[3], tree.nodes[2])]
    # unlink the left leaf, make it look black, and mend: nothing to rotate, the sibling turns red
    mem = tree.k.mem
    for key in (1, 3):
        mem.set_u64(tree.nodes[key], mem.u64(tree.nodes[key]) | 1)
    mem.set_u64(tree.nodes[2] + LEFT, 0)
    tree.k.run("__rb_erase_color", tree.nodes[2], tree.root, told)
    tree.check()
    assert len(rotations) == 1
