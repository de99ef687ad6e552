// SPDX-License-Identifier: GPL-2.0-or-later
/* Keeps a copy of its parameter, and forgets that a string ends with a byte of its own. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

static char *name = "crankshaft";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "what to remember");

static char *copy;

static int __init name_driver_init(void)
{
	size_t len = strlen(name);

	copy = kmalloc(len, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, name, len);
	copy[len] = '\0';
	pr_info("name_driver: remembering \"%s\"\n", copy);
	return 0;
}

static void __exit name_driver_exit(void)
{
	kfree(copy);
}

module_init(name_driver_init);
module_exit(name_driver_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A string that is one byte too long for its place");
