// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vmap - what vmalloc, vmap and vm_map_ram answer
 *
 * Prints no address, only what can be told of addresses: how they are aligned,
 * how far apart they are, what is mapped there and how.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/pgtable.h>

static unsigned int line;

#define say(fmt, ...) pr_info("%u " fmt "\n", ++line, ##__VA_ARGS__)

/* What the page table entry that maps p says, but for the address in it. */
static void say_entry(const char *what, void *p)
{
	unsigned int level = 0;
	pte_t *pte = lookup_address((unsigned long)p, &level);

	if (!pte || !(pte_val(*pte) & _PAGE_PRESENT))
		say("%s: not mapped", what);
	else
		say("%s: level %u flags %llx", what, level,
		    (unsigned long long)pte_flags(*pte) & ~(_PAGE_ACCESSED | _PAGE_DIRTY));
}

static unsigned long lowest_bit(const void *p)
{
	unsigned long lowest = (unsigned long)p & -(unsigned long)p;

	return min(lowest, 4UL << 20);
}

static void vmalloc_family(void)
{
	char *p = vmalloc(5000), *q = vzalloc(5000);

	say("vmalloc aligned %lu vmalloc %d module %d", lowest_bit(p) & 4096, is_vmalloc_addr(p),
	    is_vmalloc_addr(vmalloc_family));
	say_entry("vmalloc", p);
	say_entry("vmalloc second page", p + PAGE_SIZE);
	say_entry("vmalloc guard page", p + 2 * PAGE_SIZE);
	say("vzalloc zeroed %d", !memchr_inv(q, 0, 5000));
	say("to_pfn agrees %d", vmalloc_to_pfn(p) == page_to_pfn(vmalloc_to_page(p)));
	vfree(p);
	vfree(q);
	p = vmalloc_user(3 * PAGE_SIZE);
	say("vmalloc_user zeroed %d", !memchr_inv(p, 0, 3 * PAGE_SIZE));
	vfree(p);
	p = vmalloc_32(3 * PAGE_SIZE);
	say("vmalloc_32 below 4G %d", vmalloc_to_pfn(p) < 1 << 20);
	vfree(p);
	p = vmalloc_32_user(PAGE_SIZE);
	say("vmalloc_32_user zeroed %d", !memchr_inv(p, 0, PAGE_SIZE));
	vfree(p);
	p = vmalloc_array(10, 1000);
	q = vcalloc(10, 1000);
	say("vmalloc_array %d vcalloc zeroed %d", !!p, !memchr_inv(q, 0, 10000));
	vfree(p);
	vfree(q);
	say("overflow %d %d", !!vmalloc_array(SIZE_MAX / 2, 4), !!vcalloc(SIZE_MAX / 2, 4));
	p = __vmalloc(PAGE_SIZE, GFP_ATOMIC);
	say("atomic %d", !!p);
	vfree(p);
	p = __vmalloc(PAGE_SIZE, GFP_KERNEL | __GFP_NOFAIL);
	say("nofail %d", !!p);
	vfree(p);
	vfree(NULL);
}

static void huge(void)
{
	char *p = vmalloc_huge(5 << 20, GFP_KERNEL), *q = kvmalloc(6 << 20, GFP_KERNEL);

	say("vmalloc_huge aligned 2M %d", !((unsigned long)p & ((2 << 20) - 1)));
	say_entry("vmalloc_huge", p);
	say_entry("vmalloc_huge last byte of 6M", p + (6 << 20) - 1);
	say_entry("vmalloc_huge guard page", p + (6 << 20));
	say("pages in a row %d", vmalloc_to_pfn(p + PAGE_SIZE) - vmalloc_to_pfn(p) == 1);
	say_entry("kvmalloc of 6M", q);
	vfree(p);
	kvfree(q);
	p = vmalloc_huge((2 << 20) - 1, GFP_KERNEL);
	say_entry("vmalloc_huge below 2M", p);
	vfree(p);
}

static void mapping(void)
{
	struct page *pages[5], **array;
	unsigned long pfns[2] = { 0xfeb00, 0xfeb01 };
	unsigned int i;
	char *p;

	for (i = 0; i < 5; i++)
		pages[i] = alloc_page(GFP_KERNEL);
	p = vmap(pages, 5, VM_MAP, PAGE_KERNEL);
	say_entry("vmap", p);
	say_entry("vmap guard page", p + 5 * PAGE_SIZE);
	p[PAGE_SIZE] = 'x';
	say("seen through the direct map %c", *(char *)page_address(pages[1]));
	vunmap(p);
	p = vmap(pages, 5, VM_MAP, PAGE_KERNEL_EXEC);
	say_entry("vmap executable", p);
	vunmap(p);
	p = vmap(pages, 2, VM_MAP, PAGE_KERNEL_RO);
	say_entry("vmap read-only", p);
	vunmap(p);
	p = vmap(pages, 2, VM_MAP, pgprot_noncached(PAGE_KERNEL));
	say_entry("vmap uncached", p);
	vunmap(p);
	say("vmap of nothing %d", !!vmap(pages, 0, VM_MAP, PAGE_KERNEL));
	for (i = 0; i < 5; i++)
		say("references of page %u: %d", i, page_ref_count(pages[i]));
	array = kmalloc_array(2, sizeof(*array), GFP_KERNEL);
	array[0] = alloc_page(GFP_KERNEL);
	array[1] = pages[0];
	get_page(pages[0]);
	p = vmap(array, 2, VM_MAP | VM_MAP_PUT_PAGES, PAGE_KERNEL);
	vfree(p);
	say("references after put: %d", page_ref_count(pages[0]));
	p = vmap_pfn(pfns, 2, PAGE_KERNEL);
	say_entry("vmap_pfn", p);
	vunmap(p);
	for (i = 0; i < 5; i++)
		__free_page(pages[i]);
}

static void blocks(void)
{
	static struct page *pages[80];
	char *p, *q, *r;
	unsigned int i;

	for (i = 0; i < 80; i++)
		pages[i] = alloc_page(GFP_KERNEL);
	vm_unmap_aliases();
	p = vm_map_ram(pages, 33, NUMA_NO_NODE);
	q = vm_map_ram(pages, 3, NUMA_NO_NODE);
	r = vm_map_ram(pages, 1, NUMA_NO_NODE);
	say("first in its block %d, second behind it %ld, third %ld", !((unsigned long)p & ((1 << 20) - 1)),
	    (q - p) / (long)PAGE_SIZE, (r - q) / (long)PAGE_SIZE);
	say_entry("vm_map_ram", p);
	say_entry("vm_map_ram behind", p + 33 * PAGE_SIZE);
	vm_unmap_ram(q, 3);
	say_entry("vm_unmap_ram", q);
	q = vm_map_ram(pages, 2, NUMA_NO_NODE);
	say("not cut again %ld", (q - p) / (long)PAGE_SIZE);
	vm_unmap_ram(q, 2);
	vm_unmap_ram(r, 1);
	vm_unmap_ram(p, 33);
	p = vm_map_ram(pages, 65, NUMA_NO_NODE);
	say_entry("vm_map_ram of 65 pages", p + 64 * PAGE_SIZE);
	vm_unmap_ram(p, 65);
	for (i = 0; i < 80; i++)
		__free_page(pages[i]);
}

/* A write after vfree goes where the TLB says; only a purge makes it fault. */
static void lazy(void)
{
	volatile char *p = vmalloc(PAGE_SIZE);
	struct page *page = vmalloc_to_page((void *)p);
	unsigned long flags;
	char *direct = page_address(page);
	char seen;

	get_page(page);
	local_irq_save(flags);
	*p = 'a';
	local_irq_restore(flags);
	vfree((void *)p);
	say_entry("after vfree", (void *)p);
	seen = *direct;
	say("the page still has %c", seen);
	put_page(page);
}

static void in_interrupt_context(void)
{
	char *p = vmalloc(PAGE_SIZE);

	*p = 1;
	local_bh_disable();
	vfree(p);
	say_entry("vfree with bottom halves off", p);
	local_bh_enable();
}

static int __init vmap_init(void)
{
	vmalloc_family();
	huge();
	mapping();
	blocks();
	lazy();
	in_interrupt_context();
	pr_info("end\n");
	return 0;
}

static void __exit vmap_exit(void)
{
}

module_init(vmap_init);
module_exit(vmap_exit);
MODULE_DESCRIPTION("Says what vmalloc, vmap and vm_map_ram answer");
MODULE_LICENSE("GPL");
