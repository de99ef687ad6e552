"""Red-black trees in RAM, with an augmented value kept along the way (include/linux/rbtree_augmented.h, lib/rbtree.c).

A node is ``struct rb_node``: ``__rb_parent_color`` holds the parent's address and, in bit 0, the colour (1 is black).
The one augmented use is the tree of free vmalloc areas, whose nodes know the largest area below them; *augmented* says
whether to keep that up to date.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import address, jit, load64, ptr, store64
from kmem.lib.kstructs import rb_node

RED, BLACK = 0, 1
_SIZE_AT = 40
"""From the rb_node of a vmap_area to its ``subtree_max_size``; its start and end are 16 and 8 bytes before the node."""


@jit
def no_rb(root: Any) -> Any:
    """A NULL node."""
    return ptr(rb_node, 0, root)


@jit
def rb_parent(node: Any) -> Any:
    """``rb_parent()``."""
    return ptr(rb_node, node.__rb_parent_color & ~3, node)


@jit
def _black(node: Any) -> bool:
    """NULL counts as black."""
    return not node or node.__rb_parent_color & 1 == BLACK


@jit
def _set(node: Any, parent: Any, color: int) -> None:
    node.__rb_parent_color = address(parent) | color


@jit
def _set_parent(node: Any, parent: Any) -> None:
    _set(node, parent, node.__rb_parent_color & 1)


@jit
def _set_color(node: Any, color: int) -> None:
    node.__rb_parent_color = (node.__rb_parent_color & ~1) | color


@jit
def _replace_child(root: Any, parent: Any, old: Any, new: Any) -> None:
    if not parent:
        root.rb_node = new
    elif parent.rb_left == old:
        parent.rb_left = new
    else:
        parent.rb_right = new


@jit
def _max_below(node: Any) -> int:
    """The largest free area in the subtree of *node*, from its own size and its children's values."""
    at = address(node)
    best = load64(node, at - 8) - load64(node, at - 16)
    if node.rb_left:
        best = max(best, load64(node, address(node.rb_left) + _SIZE_AT))
    if node.rb_right:
        best = max(best, load64(node, address(node.rb_right) + _SIZE_AT))
    return best


@jit
def rb_update(node: Any) -> None:
    """Bring the augmented value of one node up to date."""
    store64(node, address(node) + _SIZE_AT, _max_below(node))


@jit
def rb_propagate(node: Any) -> None:
    """Bring the augmented values up to date from *node* to the root, stopping where nothing changes."""
    while node:
        best = _max_below(node)
        if load64(node, address(node) + _SIZE_AT) == best:
            return
        store64(node, address(node) + _SIZE_AT, best)
        node = rb_parent(node)


@jit
def _rotate(root: Any, node: Any, left: bool, augmented: bool) -> None:
    """Rotate *node* down to the left (or right); its child takes its place."""
    parent = rb_parent(node)
    if left:
        child = node.rb_right
        inner = child.rb_left
        node.rb_right = inner
        child.rb_left = node
    else:
        child = node.rb_left
        inner = child.rb_right
        node.rb_left = inner
        child.rb_right = node
    if inner:
        _set_parent(inner, node)
    _set_parent(child, parent)
    _replace_child(root, parent, node, child)
    _set_parent(node, child)
    if augmented:
        rb_update(node)
        rb_update(child)


@jit
def rb_insert(root: Any, node: Any, parent: Any, left: bool, augmented: bool) -> None:
    """``rb_link_node()`` and ``rb_insert_color()``: *node* becomes a child of *parent* (the root if NULL), and the
    tree is balanced.
    """
    node.rb_left = no_rb(root)
    node.rb_right = no_rb(root)
    _set(node, parent, RED)
    if not parent:
        root.rb_node = node
    elif left:
        parent.rb_left = node
    else:
        parent.rb_right = node
    if augmented:
        rb_update(node)
        rb_propagate(parent)
    while True:
        parent = rb_parent(node)
        if not parent:
            _set_color(node, BLACK)
            return
        if _black(parent):
            return
        grand = rb_parent(parent)
        on_left = grand.rb_left == parent
        uncle = grand.rb_right if on_left else grand.rb_left
        if not _black(uncle):
            _set_color(parent, BLACK)
            _set_color(uncle, BLACK)
            _set_color(grand, RED)
            node = grand
            continue
        if (on_left and parent.rb_right == node) or (not on_left and parent.rb_left == node):
            _rotate(root, parent, on_left, augmented)
            node = parent
            parent = rb_parent(node)
        _set_color(parent, BLACK)
        _set_color(grand, RED)
        _rotate(root, grand, not on_left, augmented)
        return


@jit
def rb_first_of(node: Any) -> Any:
    """The leftmost node below *node*."""
    while node.rb_left:
        node = node.rb_left
    return node


@jit
def rb_erase(root: Any, node: Any, augmented: bool) -> None:
    """``rb_erase()``: take *node* out and balance the tree."""
    if node.rb_left and node.rb_right:
        following = rb_first_of(node.rb_right)
        _swap_with_next(root, node, following)
    child = node.rb_left if node.rb_left else node.rb_right
    parent = rb_parent(node)
    was_black = _black(node)
    if child:
        _set_parent(child, parent)
    _replace_child(root, parent, node, child)
    if augmented:
        _propagate_all(parent)
    if was_black:
        _rebalance(root, child, parent, augmented)


@jit
def _propagate_all(node: Any) -> None:
    while node:
        rb_update(node)
        node = rb_parent(node)


@jit
def _swap_with_next(root: Any, node: Any, following: Any) -> None:
    """Exchange the places (and colours) of a node with two children and its successor."""
    color = node.__rb_parent_color & 1
    next_color = following.__rb_parent_color & 1
    parent, next_parent = rb_parent(node), rb_parent(following)
    left, right, next_right = node.rb_left, node.rb_right, following.rb_right
    _replace_child(root, parent, node, following)
    _set(following, parent, color)
    following.rb_left = left
    _set_parent(left, following)
    if right == following:
        following.rb_right = node
        _set(node, following, next_color)
    else:
        following.rb_right = right
        _set_parent(right, following)
        next_parent.rb_left = node
        _set(node, next_parent, next_color)
    node.rb_left = no_rb(root)
    node.rb_right = next_right
    if next_right:
        _set_parent(next_right, node)


@jit
def _rebalance(root: Any, node: Any, parent: Any, augmented: bool) -> None:
    """One black node is missing on the path through *node* (perhaps NULL), a child of *parent*."""
    while parent and _black(node):
        on_left = parent.rb_left == node
        sibling = parent.rb_right if on_left else parent.rb_left
        if not _black(sibling):
            _set_color(sibling, BLACK)
            _set_color(parent, RED)
            _rotate(root, parent, on_left, augmented)
            sibling = parent.rb_right if on_left else parent.rb_left
        near = sibling.rb_left if on_left else sibling.rb_right
        far = sibling.rb_right if on_left else sibling.rb_left
        if _black(near) and _black(far):
            _set_color(sibling, RED)
            node = parent
            parent = rb_parent(node)
            continue
        if _black(far):
            _set_color(near, BLACK)
            _set_color(sibling, RED)
            _rotate(root, sibling, not on_left, augmented)
            sibling = parent.rb_right if on_left else parent.rb_left
            far = sibling.rb_right if on_left else sibling.rb_left
        _set_color(sibling, parent.__rb_parent_color & 1)
        _set_color(parent, BLACK)
        _set_color(far, BLACK)
        _rotate(root, parent, on_left, augmented)
        return
    if node:
        _set_color(node, BLACK)
