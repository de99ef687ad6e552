"""A small module that makes the same class of crash, so that ``kmem run`` shows the way from bad write to report."""

from __future__ import annotations

import re
from pathlib import Path

from kmem.errors import UsageError
from kmem.oops.explain import Explanation

NAME = "oops_demo"

_HEAD = """\
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * {name} - {what}
 *
 * Written by kmem oops --reproduce after: {title}
 * Each step is printed before it is taken, so that the kernel log is the way from the bad write to the report.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

"""
_TAIL = """
static void __exit demo_exit(void)
{
}

module_init(demo_init);
module_exit(demo_exit);
MODULE_DESCRIPTION("makes one crash");
MODULE_LICENSE("GPL");
"""
_BODIES = {
    "freelist_corruption": """\
/* A free object's free pointer lies in its middle since 5.7, in its first word before: both are overwritten. */
static int __init demo_init(void)
{{
	unsigned long *a = kmalloc({size}, GFP_KERNEL), *b = kmalloc({size}, GFP_KERNEL);
	unsigned long *middle;
	int i;

	if (!a || !b)
		return -ENOMEM;
	middle = a + {size} / 2 / sizeof(long);
	pr_info("step 1: two objects of {size} bytes, a = %px and b = %px\\n", a, b);
	kfree(b);
	kfree(a);
	pr_info("step 2: freed b, then a: the next two allocations get a, then b\\n");
	pr_info("step 3: the bug: a is free, and its free pointer %lx becomes %lx\\n", *middle, {value}UL);
	a[0] = {value};				/* the bug: a write after the free */
	*middle = {value};
	pr_info("step 4: an allocation gets a, and takes the bad word for the next free object\\n");
	pr_info("step 5: the next allocation follows it: the victim\\n");
	for (i = 0; i < 8; i++)
		kmalloc({size}, GFP_KERNEL);
	return 0;
}}
""",
    "use_after_free": """\
struct demo {{
	struct list_head list;
	int value;
}};

static int __init demo_init(void)
{{
	struct demo *p = kzalloc(sizeof(*p), GFP_KERNEL);
	LIST_HEAD(head);

	if (!p)
		return -ENOMEM;
	list_add(&p->list, &head);
	pr_info("step 1: p = %px is on a list\\n", p);
	list_del(&p->list);
	pr_info("step 2: list_del(): p's pointers become LIST_POISON, %px\\n", p->list.next);
	pr_info("step 3: the bug: a walk goes on from p\\n");
	OPTIMIZER_HIDE_VAR(p);
	p = list_entry(READ_ONCE(p->list.next), struct demo, list);	/* the bug: the entry is off its list */
	return READ_ONCE(p->value);
}}
""",
    "double_free": """\
static int __init demo_init(void)
{{
	void *p = kmalloc({size}, GFP_KERNEL);

	pr_info("step 1: p = %px, {size} bytes\\n", p);
	kfree(p);
	pr_info("step 2: p is freed and heads the free list\\n");
	pr_info("step 3: the bug: p is freed again, and would point to itself\\n");
	OPTIMIZER_HIDE_VAR(p);
	kfree(p);				/* the bug */
	return 0;
}}
""",
    "out_of_bounds": """\
/* slub_debug's red zone shows it: kmem run --config debug. */
static int __init demo_init(void)
{{
	char *p = kmalloc({size}, GFP_KERNEL);
	int i;

	if (!p)
		return -ENOMEM;
	pr_info("step 1: p = %px, {size} bytes; behind them lies a red zone\\n", p);
	pr_info("step 2: the bug: a loop writes byte {size} too\\n");
	OPTIMIZER_HIDE_VAR(p);
	for (i = 0; i <= {size}; i++)		/* the bug: <= */
		WRITE_ONCE(p[i], i);
	pr_info("step 3: kfree() looks at the red zone\\n");
	kfree(p);
	return 0;
}}
""",
    "null_pointer": """\
struct demo {{
	char before[{offset}];
	long member;
}};

static int __init demo_init(void)
{{
	struct demo *p = NULL;

	pr_info("step 1: p is NULL, as after an allocation that failed and was not checked\\n");
	pr_info("step 2: the bug: its member at offset {offset:#x} is read\\n");
	OPTIMIZER_HIDE_VAR(p);
	return READ_ONCE(p->member);		/* the bug: nobody checked p */
}}
""",
    "sleep_in_atomic": """\
static DEFINE_SPINLOCK(lock);

static int __init demo_init(void)
{{
	void *p;

	pr_info("step 1: a spinlock is taken: from here on nothing may sleep\\n");
	spin_lock(&lock);
	pr_info("step 2: the bug: an allocation that may wait for memory\\n");
	p = kmalloc({size}, GFP_KERNEL);	/* the bug: it may sleep */
	spin_unlock(&lock);
	kfree(p);
	return 0;
}}
""",
}
CLASSES = tuple(_BODIES)
"""The causes for which there is a module."""


def source(each: Explanation) -> str:
    """The C source of a module that makes a crash of *each*'s class. Raises UsageError when there is none."""
    cause = each.verdict.cause
    body = _BODIES.get(cause)
    if body is None:
        raise UsageError(
            f"there is no module that reproduces {cause}", remedy=f"there are modules for: {', '.join(CLASSES)}"
        )
    found = re.search(r"kmalloc-(\d+)", each.verdict.verdict)
    size = int(found[1]) if found and 16 <= int(found[1]) <= 4096 else 64
    address = each.report.address or 0
    value = address if 0 < address < 4096 else 13
    head = _HEAD.format(name=NAME, what=cause.replace("_", " "), title=each.report.title.replace("*/", "* /"))
    return head + body.format(size=size, value=value, offset=min(address, 4088) & ~7 or 8) + _TAIL


def write(each: Explanation, folder: Path) -> Path:
    """Writes the module for *each* and its Kbuild into *folder*, which is made if needed; returns the C file."""
    text = source(each)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{NAME}.c"
    if target.exists():
        raise UsageError(f"{target} is already there", remedy="name a new folder")
    target.write_text(text)
    (folder / "Kbuild").write_text(f"obj-m := {NAME}.o\n")
    return target
