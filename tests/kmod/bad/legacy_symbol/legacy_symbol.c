// SPDX-License-Identifier: GPL-2.0-or-later
/* legacy_symbol - a driver of old that calls functions that the kernel had once. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

void kzfree(const void *p);
void __iomem *ioremap_nocache(phys_addr_t offset, unsigned long size);

static int __init legacy_symbol_init(void)
{
	kzfree(NULL);
	return ioremap_nocache(0xfee00000, 4096) ? 0 : -ENOMEM;
}

static void __exit legacy_symbol_exit(void)
{
}

module_init(legacy_symbol_init);
module_exit(legacy_symbol_exit);
MODULE_DESCRIPTION("A driver of old that calls functions that the kernel had once");
MODULE_LICENSE("GPL");
