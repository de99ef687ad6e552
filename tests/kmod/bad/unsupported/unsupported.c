// SPDX-License-Identifier: GPL-2.0-or-later
/* unsupported - a module that calls a function that kernels export and kmem does not have. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/acpi.h>
#include <linux/module.h>

static int __init unsupported_init(void)
{
	int err;

	pr_info("asking ACPI for a port\n");
	err = acpi_check_region(0x378, 8, KBUILD_MODNAME);
	pr_info("answer %d\n", err);
	return 0;
}

static void __exit unsupported_exit(void)
{
}

module_init(unsupported_init);
module_exit(unsupported_exit);
MODULE_DESCRIPTION("A module that calls a function that kmem does not have");
MODULE_LICENSE("GPL");
