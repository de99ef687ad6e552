// SPDX-License-Identifier: GPL-2.0-or-later
/* unknown_symbol - a module that calls a function that no kernel exports. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

int kmem_test_no_such_symbol(int argument);

static int __init unknown_symbol_init(void)
{
	pr_info("calling the unknown\n");
	return kmem_test_no_such_symbol(1);
}

static void __exit unknown_symbol_exit(void)
{
}

module_init(unknown_symbol_init);
module_exit(unknown_symbol_exit);
MODULE_DESCRIPTION("A module that calls a function that no kernel exports");
MODULE_LICENSE("GPL");
