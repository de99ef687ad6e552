// SPDX-License-Identifier: GPL-2.0-or-later
/* jiffies - waits for a device that never answers, and gives up after a time. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jiffies.h>
#include <linux/module.h>

static unsigned int status;

static int __init jiffies_init(void)
{
	unsigned long start = jiffies, timeout = start + msecs_to_jiffies(20);

	while (!READ_ONCE(status)) {
		if (time_after(jiffies, timeout)) {
			pr_info("no answer after %lu jiffies\n", jiffies - start);
			return 0;
		}
		cpu_relax();
	}
	return -EIO;
}

static void __exit jiffies_exit(void)
{
}

module_init(jiffies_init);
module_exit(jiffies_exit);
MODULE_DESCRIPTION("A loop that waits for a time, not for a call");
MODULE_LICENSE("GPL");
