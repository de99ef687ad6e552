// SPDX-License-Identifier: GPL-2.0-or-later
/* init_error - a module whose init refuses: -EINVAL, with nothing allocated. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

static int __init init_error_init(void)
{
	pr_info("init returns -EINVAL\n");
	return -EINVAL;
}

static void __exit init_error_exit(void)
{
	pr_info("exit must not run\n");
}

module_init(init_error_init);
module_exit(init_error_exit);
MODULE_DESCRIPTION("A module whose init refuses");
MODULE_LICENSE("GPL");
