// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vm1024 - where memory from vmalloc and kvmalloc lies
 *
 * The regions of the kernel's address space, then four allocations: two small
 * ones from vmalloc, and kvmalloc below and above the page allocator's limit.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

static void *small, *larger, *kv_small, *kv_large;

/* One line for memory that the vmalloc area maps. */
static void __init show_mapped(const char *name, const void *addr)
{
	struct page *page = vmalloc_to_page(addr);

	pr_info("%s addr %px is_vmalloc %d page %px pfn %lx phys %llx lin %px PageSlab %d virt_addr_valid %d\n",
		name, addr, is_vmalloc_addr(addr), page, page_to_pfn(page),
		(u64)page_to_phys(page), page_address(page), !!PageSlab(page),
		virt_addr_valid(addr));
}

static void release(void)
{
	kvfree(kv_large);
	kvfree(kv_small);
	vfree(larger);
	vfree(small);
}

static int __init vm1024_init(void)
{
	pr_info("VMALLOC_START %lx VMALLOC_END %lx MODULES_VADDR %lx MODULES_END %lx VMEMMAP %lx PAGE_OFFSET %lx\n",
		(unsigned long)VMALLOC_START, (unsigned long)VMALLOC_END,
		(unsigned long)MODULES_VADDR, (unsigned long)MODULES_END,
		(unsigned long)VMEMMAP_START, (unsigned long)PAGE_OFFSET);

	small = vmalloc(1024);
	larger = vmalloc(5000);
	kv_small = kvmalloc(1024, GFP_KERNEL);
	kv_large = kvmalloc(SZ_8M, GFP_KERNEL);
	if (!small || !larger || !kv_small || !kv_large) {
		release();
		return -ENOMEM;
	}

	show_mapped("vmalloc1024", small);
	show_mapped("vmalloc5000", larger);
	pr_info("kvmalloc1024 addr %px is_vmalloc %d ksize %zu\n",
		kv_small, is_vmalloc_addr(kv_small), ksize(kv_small));
	show_mapped("kvmalloc8M", kv_large);
	return 0;
}

static void __exit vm1024_exit(void)
{
	release();
	pr_info("freed\n");
}

module_init(vm1024_init);
module_exit(vm1024_exit);
MODULE_DESCRIPTION("Where memory from vmalloc and kvmalloc lies");
MODULE_LICENSE("GPL");
