// SPDX-License-Identifier: GPL-2.0-or-later
/* unsupported - a module that calls a function that kernels export and kmem does not have. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cper.h>
#include <linux/module.h>

static int __init unsupported_init(void)
{
	u64 id;

	pr_info("asking for the number of an error record\n");
	id = cper_next_record_id();
	pr_info("answer %llu\n", id);
	return 0;
}

static void __exit unsupported_exit(void)
{
}

module_init(unsupported_init);
module_exit(unsupported_exit);
MODULE_DESCRIPTION("A module that calls a function that kmem does not have");
MODULE_LICENSE("GPL");
