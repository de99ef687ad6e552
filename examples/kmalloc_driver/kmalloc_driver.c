// SPDX-License-Identifier: GPL-2.0-or-later
/* kmalloc_driver - a driver that keeps 1024 physically contiguous bytes while it is loaded. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/slab.h>

#define BUFFER_SIZE	1024

static char *buffer;

static int __init kmalloc_driver_init(void)
{
	buffer = kmalloc(BUFFER_SIZE, GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;

	pr_info("allocated %d bytes at %p\n", BUFFER_SIZE, buffer);
	return 0;
}

static void __exit kmalloc_driver_exit(void)
{
	kfree(buffer);
	pr_info("freed %d bytes\n", BUFFER_SIZE);
}

module_init(kmalloc_driver_init);
module_exit(kmalloc_driver_exit);
MODULE_DESCRIPTION("Keeps 1024 physically contiguous bytes");
MODULE_LICENSE("GPL");
