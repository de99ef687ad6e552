// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * freelist_corruption - a driver with a late write, and an innocent victim
 *
 * The driver frees a request, then its completion writes a status of 0x0d into
 * it. The status lies in the middle of the object, where SLUB keeps the pointer
 * to the next free object. What fails is a later kmalloc of the same size, by
 * anybody; here by the driver itself.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/module.h>
#include <linux/slab.h>

#define STATUS_LATE	0x0dUL
#define LATER_REQUESTS	4

static unsigned int size = 32;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "bytes a request, 16 to 8192");

static void *later[LATER_REQUESTS];

/* The bug: nobody told the completion that the request is gone. */
static noinline void complete_request(void *request)
{
	unsigned long *status = request + ALIGN_DOWN(size / 2, sizeof(*status));

	WRITE_ONCE(*status, STATUS_LATE);
}

static void release_later(void)
{
	int i;

	for (i = 0; i < LATER_REQUESTS; i++)
		kfree(later[i]);
}

static int __init freelist_corruption_init(void)
{
	void *request, *neighbour;
	int i;

	if (size < 16 || size > KMALLOC_MAX_CACHE_SIZE)
		return -EINVAL;

	request = kmalloc(size, GFP_KERNEL);
	neighbour = kmalloc(size, GFP_KERNEL);
	if (!request || !neighbour) {
		kfree(request);
		kfree(neighbour);
		return -ENOMEM;
	}

	/* request's free pointer will point at neighbour. */
	kfree(neighbour);
	kfree(request);
	pr_info("freed a request of %u bytes at %px\n", size, request);
	complete_request(request);
	pr_info("wrote status %#lx into the freed request\n", STATUS_LATE);

	for (i = 0; i < LATER_REQUESTS; i++) {
		later[i] = kmalloc(size, GFP_KERNEL);
		if (!later[i]) {
			release_later();
			return -ENOMEM;
		}
		pr_info("later request %d at %px\n", i, later[i]);
	}
	return 0;
}

static void __exit freelist_corruption_exit(void)
{
	release_later();
}

module_init(freelist_corruption_init);
module_exit(freelist_corruption_exit);
MODULE_DESCRIPTION("A late write into a freed object, and its victim");
MODULE_LICENSE("GPL");
