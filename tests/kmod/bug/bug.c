// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * bug - one memory error a load, chosen by mode=
 *
 * uaf      write 0x0d over the free pointer of a freed object, then allocate
 * dblfree  free an object twice, then allocate
 * oob      write a word just past an object, then free it
 * null     write through NULL
 * gpf      read through a non-canonical address
 * roread   read a constant (no error: the control of rowrite)
 * rowrite  write a constant
 * guard    write the guard page behind a vmalloc area
 * exec     call into an object
 * bug      BUG()
 * warn     WARN()
 * stack    recursion without end
 *
 * size= is the object's size; the free pointer lies in its middle.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#define BAD_VALUE	0x0dUL
#define MAX_WORDS	8
#define MAX_OBJECTS	8

static char *mode = "uaf";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "which error to commit");

static unsigned int size = 32;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "bytes an object, at least 8");

static const int constant = 42;
static void *area;
static void *later[MAX_OBJECTS];

/* A function of its own, so that a report can name who wrote. */
static noinline void bug_write(void *where, unsigned long value)
{
	WRITE_ONCE(*(unsigned long *)where, value);
}

static void allocate_more(void)
{
	int i;

	for (i = 0; i < MAX_OBJECTS; i++) {
		later[i] = kmalloc(size, GFP_KERNEL);
		pr_info("kmalloc #%d -> %px\n", i, later[i]);
	}
}

static void bug_uaf(void)
{
	unsigned int offset = ALIGN_DOWN(size / 2, sizeof(void *));
	unsigned int i, words = min_t(unsigned int, size / sizeof(long), MAX_WORDS);
	unsigned long *p = kmalloc(size, GFP_KERNEL);
	unsigned long *q = kmalloc(size, GFP_KERNEL);

	kfree(q);
	kfree(p);
	pr_info("p %px q %px writing %lx at offset %u of freed p\n", p, q,
		BAD_VALUE, offset);
	if (!p)
		return;
	for (i = 0; i < words; i++)
		pr_info("freed p word[%u] @%zu = %lx\n", i, i * sizeof(long),
			READ_ONCE(p[i]));
	bug_write((void *)p + offset, BAD_VALUE);
	allocate_more();
}

static void bug_dblfree(void)
{
	void *p = kmalloc(size, GFP_KERNEL);

	pr_info("p %px\n", p);
	kfree(p);
	pr_info("second kfree\n");
	kfree(p);
	allocate_more();
}

static void bug_oob(void)
{
	void *p = kmalloc(size, GFP_KERNEL);

	if (!p)
		return;
	bug_write(p + size, BAD_VALUE);
	pr_info("oob written %px\n", p);
	kfree(p);
}

static void bug_null(void)
{
	int *p = NULL;

	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(*p, 1);
}

static void bug_gpf(void)
{
	unsigned long *p = (void *)0x6b6b6b6b6b6b6b6bUL;

	OPTIMIZER_HIDE_VAR(p);
	pr_info("read %lx\n", READ_ONCE(*p));
}

static void bug_roread(void)
{
	pr_info("constant %d\n", READ_ONCE(constant));
}

static void bug_rowrite(void)
{
	int *p = (int *)&constant;

	OPTIMIZER_HIDE_VAR(p);
	WRITE_ONCE(*p, 13);
}

static void bug_guard(void)
{
	area = vmalloc(PAGE_SIZE);
	if (!area)
		return;
	pr_info("area %px\n", area);
	bug_write(area + PAGE_SIZE, BAD_VALUE);
}

static void bug_exec(void)
{
	void (*call)(void);

	area = kmalloc(size, GFP_KERNEL);
	if (!area)
		return;
	memset(area, 0xc3, size);
	pr_info("calling %px\n", area);
	call = area;
	call();
}

static void bug_bug(void)
{
	BUG();
}

static void bug_warn(void)
{
	WARN(1, "bug: warned of %u\n", size);
}

static noinline unsigned long recurse(unsigned long depth)
{
	unsigned long frame[32];

	frame[depth % ARRAY_SIZE(frame)] = depth;
	OPTIMIZER_HIDE_VAR(depth);
	barrier_data(frame);
	return depth ? recurse(depth - 1) + frame[0] : frame[0];
}

static void bug_stack(void)
{
	pr_info("returned %lx\n", recurse(ULONG_MAX));
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "uaf", bug_uaf },
	{ "dblfree", bug_dblfree },
	{ "oob", bug_oob },
	{ "null", bug_null },
	{ "gpf", bug_gpf },
	{ "roread", bug_roread },
	{ "rowrite", bug_rowrite },
	{ "guard", bug_guard },
	{ "exec", bug_exec },
	{ "bug", bug_bug },
	{ "warn", bug_warn },
	{ "stack", bug_stack },
};

static int __init bug_init(void)
{
	int i;

	if (size < sizeof(long) || size > KMALLOC_MAX_CACHE_SIZE)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		if (strcmp(mode, modes[i].name))
			continue;
		modes[i].run();
		pr_info("end of init (mode %s)\n", mode);
		return 0;
	}
	pr_err("no mode %s\n", mode);
	return -EINVAL;
}

/* A corrupted free list may have given out the same object more than once. */
static void __exit bug_exit(void)
{
	int i, j;

	for (i = 0; i < MAX_OBJECTS; i++) {
		kfree(later[i]);
		for (j = MAX_OBJECTS - 1; j >= i; j--)
			if (later[j] == later[i])
				later[j] = NULL;
	}
	kvfree(area);
}

module_init(bug_init);
module_exit(bug_exit);
MODULE_DESCRIPTION("One memory error a load");
MODULE_LICENSE("GPL");
