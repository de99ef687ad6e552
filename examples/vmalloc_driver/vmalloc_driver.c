// SPDX-License-Identifier: GPL-2.0-or-later
/* vmalloc_driver - a driver that keeps 1024 virtually contiguous bytes while it is loaded. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/vmalloc.h>

#define BUFFER_SIZE	1024

static char *buffer;

static int __init vmalloc_driver_init(void)
{
	buffer = vmalloc(BUFFER_SIZE);
	if (!buffer)
		return -ENOMEM;

	pr_info("allocated %d bytes at %p\n", BUFFER_SIZE, buffer);
	return 0;
}

static void __exit vmalloc_driver_exit(void)
{
	vfree(buffer);
	pr_info("freed %d bytes\n", BUFFER_SIZE);
}

module_init(vmalloc_driver_init);
module_exit(vmalloc_driver_exit);
MODULE_DESCRIPTION("Keeps 1024 virtually contiguous bytes");
MODULE_LICENSE("GPL");
