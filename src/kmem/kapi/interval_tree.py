"""Interval trees (lib/interval_tree.c), 6.1: red-black trees by start, whose nodes know the last end below them."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.rbtree import AugmentedTree

_RIGHT, _LEFT = 8, 16


class _Intervals(AugmentedTree):
    """The tree of a ``struct rb_root_cached``; nodes are ``struct interval_tree_node``."""

    def __init__(self, k: Host, root: int) -> None:
        super().__init__(k, root)
        node = k.layout["interval_tree_node"]
        self.start_at, self.last_at = node.offset("start"), node.offset("last")
        self.subtree_at = node.offset("__subtree_last")

    def start(self, node: int) -> int:
        return self.mem.u64(node + self.start_at)

    def last(self, node: int) -> int:
        return self.mem.u64(node + self.last_at)

    def subtree_last(self, node: int) -> int:
        return self.mem.u64(node + self.subtree_at)

    def set_subtree_last(self, node: int, value: int) -> None:
        self.mem.set_u64(node + self.subtree_at, value)

    def update(self, node: int) -> bool:
        """The last end below *node* from its children; whether it changed."""
        best = self.last(node)
        for child in (self.child(node, _LEFT), self.child(node, _RIGHT)):
            if child:
                best = max(best, self.subtree_last(child))
        if best == self.subtree_last(node):
            return False
        self.set_subtree_last(node, best)
        return True

    def search(self, node: int, start: int, last: int) -> int:
        """The leftmost interval in the subtree that meets *start* to *last*; the subtree reaches *start*."""
        while True:
            left = self.child(node, _LEFT)
            if left and start <= self.subtree_last(left):
                node = left
                continue
            if self.start(node) > last:
                return 0
            if start <= self.last(node):
                return node
            node = self.child(node, _RIGHT)
            if not node or start > self.subtree_last(node):
                return 0


@export(faithful)
def interval_tree_insert(k: Host, node: int, root: int) -> None:
    """``void interval_tree_insert(struct interval_tree_node *node, struct rb_root_cached *root)``

    lib/interval_tree.c, 6.1.
    """
    tree = _Intervals(k, root)
    start, last = tree.start(node), tree.last(node)
    link, parent, leftmost = k.mem.u64(root), 0, True
    side = _LEFT
    while link:
        parent = link
        if tree.subtree_last(parent) < last:
            tree.set_subtree_last(parent, last)
        side = _LEFT if start < tree.start(parent) else _RIGHT
        leftmost = leftmost and side == _LEFT
        link = tree.child(parent, side)
    tree.set_subtree_last(node, last)
    tree.link(node, parent, side)
    if leftmost:
        k.mem.set_u64(root + 8, node)
    tree.run(tree.insert_fixup(node))


@export(faithful)
def interval_tree_remove(k: Host, node: int, root: int) -> None:
    """``void interval_tree_remove(struct interval_tree_node *node, struct rb_root_cached *root)``

    lib/interval_tree.c, 6.1.
    """
    tree = _Intervals(k, root)
    if k.mem.u64(root + 8) == node:
        k.mem.set_u64(root + 8, tree.following(node))
    tree.erase_augmented(node)


@export(faithful)
def interval_tree_iter_first(k: Host, root: int, start: int, last: int) -> int:
    """``struct interval_tree_node *interval_tree_iter_first(struct rb_root_cached *root, unsigned long start, unsigned
    long last)``

    lib/interval_tree.c, 6.1.
    """
    tree, top = _Intervals(k, root), k.mem.u64(root)
    if not top or tree.subtree_last(top) < start or tree.start(k.mem.u64(root + 8)) > last:
        return 0
    return tree.search(top, start, last)


@export(faithful)
def interval_tree_iter_next(k: Host, node: int, start: int, last: int) -> int:
    """``struct interval_tree_node *interval_tree_iter_next(struct interval_tree_node *node, unsigned long start,
    unsigned long last)``

    lib/interval_tree.c, 6.1.
    """
    tree = _Intervals(k, 0)
    right = tree.child(node, _RIGHT)
    while True:
        if right and start <= tree.subtree_last(right):
            return tree.search(right, start, last)
        while True:
            parent = tree.parent(node)
            if not parent:
                return 0
            previous, node = node, parent
            right = tree.child(node, _RIGHT)
            if previous != right:
                break
        if last < tree.start(node):
            return 0
        if start <= tree.last(node):
            return node
