"""Red-black trees in guest memory (lib/rbtree.c), 6.1.

``struct rb_node`` is three words: the parent with the colour in bit 0 (1 is black), the right and the left child. A
caller has linked a new node in as a leaf before it calls rb_insert_color().
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Call, Guest, Host

RED, BLACK = 0, 1
_RIGHT, _LEFT = 8, 16


class _Tree:
    """Access to nodes of the tree whose ``struct rb_root`` is at *root*; NULL is black.

    *augment_rotate*, unless 0, is a guest function that is told of each rotation.
    """

    def __init__(self, k: Host, root: int, augment_rotate: int = 0) -> None:
        self.mem = k.mem
        self.root = root
        self.augment_rotate = augment_rotate

    def parent(self, node: int) -> int:
        return self.mem.u64(node) & ~3

    def color(self, node: int) -> int:
        return self.mem.u64(node) & 1 if node else BLACK

    def set_color(self, node: int, color: int) -> None:
        if node:
            self.mem.set_u64(node, self.mem.u64(node) & ~1 | color)

    def set_parent(self, node: int, parent: int) -> None:
        if node:
            self.mem.set_u64(node, self.mem.u64(node) & 3 | parent)

    def child(self, node: int, side: int) -> int:
        return self.mem.u64(node + side)

    def set_child(self, node: int, side: int, child: int) -> None:
        self.mem.set_u64(node + side, child)

    def replace(self, old: int, new: int, parent: int) -> None:
        """Puts *new* where *parent*, or the root when it is NULL, has *old*."""
        if not parent:
            self.mem.set_u64(self.root, new)
        else:
            self.set_child(parent, _LEFT if self.child(parent, _LEFT) == old else _RIGHT, new)

    def rotate(self, node: int, side: int) -> Guest:
        """Moves *node* down to *side*; its other child takes its place and is returned."""
        other = _LEFT + _RIGHT - side
        pivot, parent = self.child(node, other), self.parent(node)
        inner = self.child(pivot, side)
        self.set_child(node, other, inner)
        self.set_parent(inner, node)
        self.set_child(pivot, side, node)
        self.replace(node, pivot, parent)
        self.set_parent(pivot, parent)
        self.set_parent(node, pivot)
        self.rotated(node, pivot)
        if self.augment_rotate:
            yield Call(self.augment_rotate, (node, pivot))
        return pivot

    def rotated(self, old: int, new: int) -> None:
        """For trees that the kernel itself augments."""

    def insert_fixup(self, node: int) -> Guest:
        """Restores the colours above the new red leaf *node*."""
        while True:
            parent = self.parent(node)
            if not parent:
                self.set_color(node, BLACK)
                return 0
            if self.color(parent) == BLACK:
                return 0
            grandparent = self.parent(parent)
            side = _LEFT if self.child(grandparent, _LEFT) == parent else _RIGHT
            other = _LEFT + _RIGHT - side
            uncle = self.child(grandparent, other)
            if self.color(uncle) == RED:
                self.set_color(uncle, BLACK)
                self.set_color(parent, BLACK)
                self.set_color(grandparent, RED)
                node = grandparent
                continue
            if self.child(parent, other) == node:
                parent = yield from self.rotate(parent, side)
            self.set_color(parent, BLACK)
            self.set_color(grandparent, RED)
            yield from self.rotate(grandparent, other)
            return 0

    def erase(self, node: int) -> Guest:
        """Unlinks *node* and restores the colours."""
        left, right, parent = self.child(node, _LEFT), self.child(node, _RIGHT), self.parent(node)
        if left and right:
            successor = right
            while self.child(successor, _LEFT):
                successor = self.child(successor, _LEFT)
            removed, below = self.color(successor), self.child(successor, _RIGHT)
            above = self.parent(successor)
            if above == node:
                above = successor
            else:
                self.set_child(above, _LEFT, below)
                self.set_parent(below, above)
                self.set_child(successor, _RIGHT, right)
                self.set_parent(right, successor)
            self.set_child(successor, _LEFT, left)
            self.set_parent(left, successor)
            self.replace(node, successor, parent)
            self.mem.set_u64(successor, parent | self.color(node))
        else:
            below, above, removed = left or right, parent, self.color(node)
            self.replace(node, below, parent)
            self.set_parent(below, parent)
        if removed == BLACK:
            yield from self.erase_fixup(below, above)
        return 0

    def erase_fixup(self, node: int, parent: int) -> Guest:
        """One black node is missing on the way down to *node*, which may be NULL, a child of *parent*."""
        while parent and self.color(node) == BLACK:
            side = _LEFT if self.child(parent, _LEFT) == node else _RIGHT
            other = _LEFT + _RIGHT - side
            sibling = self.child(parent, other)
            if self.color(sibling) == RED:
                self.set_color(sibling, BLACK)
                self.set_color(parent, RED)
                yield from self.rotate(parent, side)
                sibling = self.child(parent, other)
            far, near = self.child(sibling, other), self.child(sibling, side)
            if self.color(far) == BLACK:
                if self.color(near) == BLACK:
                    self.set_color(sibling, RED)
                    node, parent = parent, self.parent(parent)
                    continue
                self.set_color(near, BLACK)
                self.set_color(sibling, RED)
                yield from self.rotate(sibling, other)
                sibling, far = near, sibling
            self.set_color(sibling, self.color(parent))
            self.set_color(parent, BLACK)
            self.set_color(far, BLACK)
            yield from self.rotate(parent, side)
            return 0
        self.set_color(node, BLACK)
        return 0


class AugmentedTree(_Tree):
    """A tree of the kernel's own, whose nodes know something of what is below them: `update` brings one up to date."""

    def update(self, node: int) -> bool:
        """What *node* knows, from itself and its children; whether it changed."""
        raise NotImplementedError

    def rotated(self, old: int, new: int) -> None:
        """*new* has taken the place of *old*, which is below it now."""
        self.update(old)
        self.update(new)

    def propagate(self, node: int) -> None:
        """Brings *node* and those above up to date, as far as anything changes."""
        while node and self.update(node):
            node = self.parent(node)

    def link(self, node: int, parent: int, side: int) -> None:
        """``rb_link_node()``."""
        self.mem.write(node, parent.to_bytes(8, "little") + bytes(16))
        if parent:
            self.set_child(parent, side, node)
        else:
            self.mem.set_u64(self.root, node)

    def following(self, node: int) -> int:
        """``rb_next()``."""
        right = self.child(node, _RIGHT)
        if right:
            while left := self.child(right, _LEFT):
                right = left
            return right
        parent = self.parent(node)
        while parent and self.child(parent, _RIGHT) == node:
            node, parent = parent, self.parent(parent)
        return parent

    @staticmethod
    def run(steps: Guest) -> None:
        """Carry out what calls no guest code."""
        for _ in steps:
            raise AssertionError("a tree of the kernel's own calls no guest code")

    def erase_augmented(self, node: int) -> None:
        """``rb_erase_augmented()``."""
        left, right, parent = self.child(node, _LEFT), self.child(node, _RIGHT), self.parent(node)
        lowest = parent
        if left and right:
            lowest = right
            while child := self.child(lowest, _LEFT):
                lowest = child
            above = self.parent(lowest)
            lowest = lowest if above == node else above
        self.run(self.erase(node))
        chain = lowest
        while chain:
            self.update(chain)
            chain = self.parent(chain)


@export(faithful)
def rb_insert_color(k: Host, node: int, root: int) -> Guest:
    """``void rb_insert_color(struct rb_node *node, struct rb_root *root)``

    lib/rbtree.c, 6.1.
    """
    return (yield from _Tree(k, root).insert_fixup(node))


@export(faithful)
def __rb_insert_augmented(k: Host, node: int, root: int, augment_rotate: int) -> Guest:
    """``void __rb_insert_augmented(struct rb_node *node, struct rb_root *root,
    void (*augment_rotate)(struct rb_node *old, struct rb_node *new))``

    lib/rbtree.c, 6.1. *augment_rotate* is called after each rotation.
    """
    return (yield from _Tree(k, root, augment_rotate).insert_fixup(node))


@export(faithful)
def rb_erase(k: Host, node: int, root: int) -> Guest:
    """``void rb_erase(struct rb_node *node, struct rb_root *root)``

    lib/rbtree.c, 6.1. The links of *node* itself stay.
    """
    return (yield from _Tree(k, root).erase(node))


@export(faithful)
def __rb_erase_color(k: Host, parent: int, root: int, augment_rotate: int) -> Guest:
    """``void __rb_erase_color(struct rb_node *parent, struct rb_root *root,
    void (*augment_rotate)(struct rb_node *old, struct rb_node *new))``

    lib/rbtree.c, 6.1. Restores the colours after the inlines have unlinked a black node that had no child below
    *parent*.
    """
    return (yield from _Tree(k, root, augment_rotate).erase_fixup(0, parent))


def _outermost(k: Host, node: int, side: int) -> int:
    while node and (child := k.mem.u64(node + side)):
        node = child
    return node


@export(faithful)
def rb_first(k: Host, root: int) -> int:
    """``struct rb_node *rb_first(const struct rb_root *root)``

    lib/rbtree.c, 6.1.
    """
    return _outermost(k, k.mem.u64(root), _LEFT)


@export(faithful)
def rb_last(k: Host, root: int) -> int:
    """``struct rb_node *rb_last(const struct rb_root *root)``

    lib/rbtree.c, 6.1.
    """
    return _outermost(k, k.mem.u64(root), _RIGHT)


def _neighbour(k: Host, node: int, side: int) -> int:
    """The next node in the direction of *side*; NULL at the end, and for a node that is in no tree."""
    word = k.mem.u64(node)
    if word == node:
        return 0
    child = k.mem.u64(node + side)
    if child:
        return _outermost(k, child, _LEFT + _RIGHT - side)
    parent = word & ~3
    while parent and k.mem.u64(parent + side) == node:
        node, parent = parent, k.mem.u64(parent) & ~3
    return parent


@export(faithful)
def rb_next(k: Host, node: int) -> int:
    """``struct rb_node *rb_next(const struct rb_node *node)``

    lib/rbtree.c, 6.1.
    """
    return _neighbour(k, node, _RIGHT)


@export(faithful)
def rb_prev(k: Host, node: int) -> int:
    """``struct rb_node *rb_prev(const struct rb_node *node)``

    lib/rbtree.c, 6.1.
    """
    return _neighbour(k, node, _LEFT)


@export(faithful)
def rb_replace_node(k: Host, victim: int, new: int, root: int) -> None:
    """``void rb_replace_node(struct rb_node *victim, struct rb_node *new, struct rb_root *root)``

    lib/rbtree.c, 6.1. *new* takes the place, the colour and the links of *victim*.
    """
    tree = _Tree(k, root)
    k.mem.write(new, k.mem.read(victim, 24))
    for side in (_LEFT, _RIGHT):
        tree.set_parent(tree.child(victim, side), new)
    tree.replace(victim, new, tree.parent(victim))


def _deepest_first(k: Host, node: int) -> int:
    while True:
        child = k.mem.u64(node + _LEFT) or k.mem.u64(node + _RIGHT)
        if not child:
            return node
        node = child


@export(faithful)
def rb_first_postorder(k: Host, root: int) -> int:
    """``struct rb_node *rb_first_postorder(const struct rb_root *root)``

    lib/rbtree.c, 6.1.
    """
    node = k.mem.u64(root)
    return _deepest_first(k, node) if node else 0


@export(faithful)
def rb_next_postorder(k: Host, node: int) -> int:
    """``struct rb_node *rb_next_postorder(const struct rb_node *node)``

    lib/rbtree.c, 6.1. Children before their parent.
    """
    if not node:
        return 0
    parent = k.mem.u64(node) & ~3
    if parent and node == k.mem.u64(parent + _LEFT) and (right := k.mem.u64(parent + _RIGHT)):
        return _deepest_first(k, right)
    return parent
