// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dwarf - a NULL dereference whose source line the debug information knows
 *
 * inlined=0: in deref.c (DWARF 4). inlined=1: in deref.h, inlined into this
 * file (DWARF 5). The member that is read lies 64 bytes into its structure.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "deref.h"

static bool inlined;
module_param(inlined, bool, 0444);
MODULE_PARM_DESC(inlined, "fail in the inlined function");

static int __init dwarf_init(void)
{
	struct record *r = NULL;

	OPTIMIZER_HIDE_VAR(r);
	pr_info("read %d\n", inlined ? deref_inline(r) : deref(r));
	return 0;
}

static void __exit dwarf_exit(void)
{
}

module_init(dwarf_init);
module_exit(dwarf_exit);
MODULE_DESCRIPTION("A NULL dereference with debug information");
MODULE_LICENSE("GPL");
