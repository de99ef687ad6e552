// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * km1024 - where 1024 bytes from kmalloc lie
 *
 * Says of one allocation what the address helpers know: address, physical
 * address, usable size, page frame, slab or page, order, region. A second line
 * gives one address of each section of the module itself.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/smp.h>

static void *buffer;
static int in_data = 1;
static const int in_rodata = 2;

static noinline void describe(void)
{
	struct page *head = virt_to_head_page(buffer);

	pr_info("addr %px phys %llx ksize %zu pfn %lx PageSlab %d order %u vmalloc %d virt_valid %d cpu %d\n",
		buffer, (u64)virt_to_phys(buffer), ksize(buffer),
		page_to_pfn(virt_to_page(buffer)), !!PageSlab(head),
		compound_order(head), is_vmalloc_addr(buffer),
		virt_addr_valid(buffer), raw_smp_processor_id());
}

static int __init km1024_init(void)
{
	buffer = kmalloc(1024, GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;

	describe();
	pr_info("code %px data %px const %px init %px PAGE_OFFSET %lx\n",
		describe, &in_data, &in_rodata, km1024_init, PAGE_OFFSET);
	return 0;
}

static void __exit km1024_exit(void)
{
	pr_info("freed %px\n", buffer);
	kfree(buffer);
}

module_init(km1024_init);
module_exit(km1024_exit);
MODULE_DESCRIPTION("Where 1024 bytes from kmalloc lie");
MODULE_LICENSE("GPL");
