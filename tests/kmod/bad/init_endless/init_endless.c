// SPDX-License-Identifier: GPL-2.0-or-later
/* init_endless - a module whose init never returns and calls nothing. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/processor.h>

static bool stop;

static int __init init_endless_init(void)
{
	pr_info("init does not return\n");
	while (!READ_ONCE(stop))
		cpu_relax();
	return 0;
}

static void __exit init_endless_exit(void)
{
}

module_init(init_endless_init);
module_exit(init_endless_exit);
MODULE_DESCRIPTION("A module whose init never returns");
MODULE_LICENSE("GPL");
