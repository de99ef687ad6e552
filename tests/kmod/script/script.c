// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * script - carries out a small script of allocations and says what came of each
 *
 * The script is one parameter: operations divided by commas, each a letter and
 * its arguments divided by dots. Numbers are hexadecimal. Objects lie in slots,
 * caches have a number, and a cache's bulk objects lie in a row of its own.
 *
 *   k SLOT.SIZE.GFP		kmalloc
 *   z SLOT.SIZE.GFP		kzalloc
 *   m SLOT.N.SIZE.GFP		kmalloc_array
 *   r SLOT.SIZE.GFP		krealloc of what is in the slot
 *   q SLOT.SIZE.GFP		kvmalloc
 *   v SLOT.SIZE.GFP		__vmalloc
 *   w SLOT.SIZE		vzalloc
 *   p SLOT.ORDER.GFP		alloc_pages
 *   g SLOT.ORDER.GFP		__get_free_pages
 *   e SLOT.SIZE.ALIGN		__alloc_percpu
 *   f SLOT			free, by what it was allocated with
 *   c CACHE.SIZE.ALIGN.FLAGS.CTOR	kmem_cache_create
 *   a SLOT.CACHE.GFP		kmem_cache_alloc
 *   b CACHE.N.GFP		kmem_cache_alloc, N times, into the row
 *   l CACHE.N.GFP		kmem_cache_alloc_bulk, into the row
 *   d CACHE.STEP		kmem_cache_free of each STEP-th in the row
 *   h CACHE			kmem_cache_shrink
 *   x CACHE			kmem_cache_destroy
 *   u SIZE			kmalloc, kfree, kmalloc: the same address?
 *   i CACHE			the same for a cache
 *
 * What is still there is freed when the module goes. Caches are named by the
 * parameter id, so that /proc/slabinfo tells one script's from another's.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#define SLOTS	32
#define CACHES	4
#define ROW	640
#define DIRT	0xa5
#define BUILT	0x3c

static char *s = "";
module_param(s, charp, 0444);
MODULE_PARM_DESC(s, "The script");

static unsigned int id;
module_param(id, uint, 0444);
MODULE_PARM_DESC(id, "A number for the names of caches");

static struct {
	char kind;
	void *p;
	size_t size;
	unsigned int number;	/* the order of pages, or the cache of an object */
	void __percpu *percpu;
} slots[SLOTS];

static struct {
	char name[24];
	struct kmem_cache *cache;
	unsigned int size;
	unsigned int align;
	bool ctor;
	void *row[ROW];
	unsigned int in_row;
} caches[CACHES];

static unsigned int line;
static const char *operation;

#define say(fmt, ...) pr_info("%u %s: " fmt "\n", line, operation, ##__VA_ARGS__)

/* A ctor has no argument: each cache has its own, which knows the size. */
#define CTOR(n) \
	static void ctor_##n(void *object) { memset(object, BUILT, caches[n].size); }
CTOR(0)
CTOR(1)
CTOR(2)
CTOR(3)
static void (*const ctors[CACHES])(void *) = { ctor_0, ctor_1, ctor_2, ctor_3 };

static bool holds(const void *p, u8 byte, size_t n)
{
	return !memchr_inv(p, byte, n);
}

/* The power of two that the address is a multiple of, as far as is promised. */
static unsigned long aligned(const void *p, unsigned long promised)
{
	unsigned long lowest = (unsigned long)p & -(unsigned long)p;

	return min(lowest, promised);
}

static unsigned long promised_by_kmalloc(size_t size)
{
	if (size > PAGE_SIZE)
		return PAGE_SIZE;
	return is_power_of_2(size) ? size : ARCH_KMALLOC_MINALIGN;
}

static void put(unsigned int slot, char kind, void *p, size_t size)
{
	slots[slot].kind = p ? kind : 0;
	slots[slot].p = p;
	slots[slot].size = size;
	if (!ZERO_OR_NULL_PTR(p))
		memset(p, DIRT, size);
}

static void say_kmalloc(unsigned int slot, void *p, size_t size)
{
	struct page *head;

	if (ZERO_OR_NULL_PTR(p)) {
		say("%s", p ? "ZERO_SIZE_PTR" : "NULL");
	} else if (is_vmalloc_addr(p)) {
		say("vmalloc aligned %lu zeroed %d", aligned(p, PAGE_SIZE), holds(p, 0, size));
	} else {
		head = virt_to_head_page(p);
		say("ok ksize %zu slab %d order %u aligned %lu zeroed %d", ksize(p),
		    !!PageSlab(head), compound_order(head),
		    aligned(p, promised_by_kmalloc(ksize(p))), holds(p, 0, size));
	}
	put(slot, 'k', p, size);
}

static void resize(unsigned int slot, size_t size, gfp_t gfp)
{
	/* Kept as a number: the old pointer is not ours after krealloc. */
	unsigned long was = (unsigned long)slots[slot].p;
	size_t kept = min(slots[slot].size, size);
	void *p = krealloc(slots[slot].p, size, gfp);

	if (ZERO_OR_NULL_PTR(p)) {
		say("%s", p ? "ZERO_SIZE_PTR" : "NULL");
		if (!p)
			return;
	} else {
		say("ok ksize %zu same %d kept %d order %u", ksize(p), (unsigned long)p == was,
		    holds(p, DIRT, kept), compound_order(virt_to_head_page(p)));
	}
	put(slot, 'k', p, size);
}

static void say_vmalloc(unsigned int slot, void *p, size_t size)
{
	size_t page, pages = DIV_ROUND_UP(size, PAGE_SIZE), mapped = 0;

	if (!p) {
		say("NULL");
		return;
	}
	for (page = 0; page < pages; page++)
		mapped += vmalloc_to_page(p + page * PAGE_SIZE) != NULL;
	say("ok pages %zu mapped %zu is_vmalloc %d aligned %lu zeroed %d", pages, mapped,
	    is_vmalloc_addr(p), aligned(p, PAGE_SIZE), holds(p, 0, pages * PAGE_SIZE));
	put(slot, 'v', p, size);
}

static void say_pages(unsigned int slot, struct page *page, unsigned int order)
{
	void *p;

	if (!page) {
		say("NULL");
		return;
	}
	p = page_address(page);
	say("ok zone %s refcount %d compound %u aligned %lu zeroed %d", page_zone(page)->name,
	    page_ref_count(page), compound_order(page), aligned(p, PAGE_SIZE << order),
	    holds(p, 0, PAGE_SIZE << order));
	put(slot, 'p', p, PAGE_SIZE << order);
	slots[slot].number = order;
}

static void say_percpu(unsigned int slot, size_t size, size_t align)
{
	void __percpu *p = __alloc_percpu(size, align);
	unsigned int cpu, cpus = 0, zeroed = 0, fit = 0;

	if (!p) {
		say("NULL");
		return;
	}
	for_each_possible_cpu(cpu) {
		void *here = per_cpu_ptr(p, cpu);

		cpus++;
		zeroed += holds(here, 0, size);
		fit += IS_ALIGNED((unsigned long)here, align);
		memset(here, DIRT, size);
	}
	say("ok cpus %u zeroed %u aligned %u", cpus, zeroed, fit);
	slots[slot].kind = 'e';
	slots[slot].percpu = p;
}

static void release(unsigned int slot)
{
	switch (slots[slot].kind) {
	case 'k':
		kvfree(slots[slot].p);
		break;
	case 'v':
		vfree(slots[slot].p);
		break;
	case 'p':
		free_pages((unsigned long)slots[slot].p, slots[slot].number);
		break;
	case 'e':
		free_percpu(slots[slot].percpu);
		break;
	case 'a':
		kmem_cache_free(caches[slots[slot].number].cache, slots[slot].p);
		break;
	}
	slots[slot].kind = 0;
	slots[slot].p = NULL;
}

static void create(unsigned int n, unsigned int size, unsigned int align, slab_flags_t flags, bool ctor)
{
	caches[n].size = size;
	caches[n].align = align;
	caches[n].ctor = ctor;
	snprintf(caches[n].name, sizeof(caches[n].name), "script%u_%u", id, n);
	caches[n].cache = kmem_cache_create(caches[n].name, size, align, flags,
					    ctor ? ctors[n] : NULL);
	if (caches[n].cache)
		say("ok size %u", kmem_cache_size(caches[n].cache));
	else
		say("NULL");
}

static void say_object(unsigned int slot, unsigned int n, gfp_t gfp)
{
	void *p = kmem_cache_alloc(caches[n].cache, gfp);
	struct page *head;

	if (!p) {
		say("NULL");
		return;
	}
	head = virt_to_head_page(p);
	say("ok ksize %zu slab %d order %u aligned %lu zeroed %d built %d", ksize(p),
	    !!PageSlab(head), compound_order(head),
	    aligned(p, max_t(unsigned long, caches[n].align, sizeof(void *))),
	    holds(p, 0, caches[n].size), holds(p, BUILT, caches[n].size));
	/* An object with a constructor goes back as it came. */
	put(slot, 'a', p, caches[n].ctor ? 0 : caches[n].size);
	slots[slot].number = n;
}

static void fill_row(unsigned int n, unsigned int count, gfp_t gfp, bool bulk)
{
	unsigned int i, got = 0, slabs = 0, built = 0, from = caches[n].in_row;
	void **row = caches[n].row + from;

	count = min(count, ROW - from);
	if (bulk) {
		got = kmem_cache_alloc_bulk(caches[n].cache, gfp, count, row);
	} else {
		while (got < count && (row[got] = kmem_cache_alloc(caches[n].cache, gfp)))
			got++;
	}
	for (i = 0; i < got; i++) {
		slabs += !!PageSlab(virt_to_head_page(row[i]));
		built += holds(row[i], BUILT, caches[n].size);
	}
	caches[n].in_row += got;
	say("got %u slab %u built %u", got, slabs, built);
}

static void thin_row(unsigned int n, unsigned int step)
{
	unsigned int i, left = 0, freed = 0;

	for (i = 0; i < caches[n].in_row; i++) {
		if (i % step) {
			caches[n].row[left++] = caches[n].row[i];
			continue;
		}
		kmem_cache_free(caches[n].cache, caches[n].row[i]);
		freed++;
	}
	caches[n].in_row = left;
	say("freed %u left %u", freed, left);
}

static void destroy(unsigned int n)
{
	unsigned int i;

	if (!caches[n].cache)
		return;
	for (i = 0; i < SLOTS; i++)
		if (slots[i].kind == 'a' && slots[i].number == n)
			release(i);
	while (caches[n].in_row)
		kmem_cache_free(caches[n].cache, caches[n].row[--caches[n].in_row]);
	kmem_cache_destroy(caches[n].cache);
	caches[n].cache = NULL;
}

/* With interrupts off nobody takes the object between. */
static void reuse(struct kmem_cache *cache, size_t size)
{
	unsigned long flags, first, second;
	void *p;

	local_irq_save(flags);
	p = cache ? kmem_cache_alloc(cache, GFP_ATOMIC) : kmalloc(size, GFP_ATOMIC);
	first = (unsigned long)p;
	if (cache && p)
		kmem_cache_free(cache, p);
	else
		kfree(p);
	p = cache ? kmem_cache_alloc(cache, GFP_ATOMIC) : kmalloc(size, GFP_ATOMIC);
	second = (unsigned long)p;
	if (cache && p)
		kmem_cache_free(cache, p);
	else
		kfree(p);
	local_irq_restore(flags);
	say("%s same %d", first ? "ok" : "NULL", first == second);
}

/* Reads what follows the letter: up to five numbers. */
static void arguments(const char *text, unsigned long *to)
{
	unsigned int i;
	char *end;

	for (i = 0; i < 5; i++) {
		to[i] = simple_strtoul(text, &end, 16);
		text = *end == '.' ? end + 1 : end;
	}
}

static void carry_out(const char *text)
{
	unsigned long n[5];

	arguments(text + 1, n);
	operation = text;
	line++;
	if (strchr("kzmrqvwpgefa", *text) ? n[0] >= SLOTS : *text != 'u' && n[0] >= CACHES) {
		say("no such slot or cache");
		return;
	}
	if ((*text == 'a' && !caches[n[1] % CACHES].cache) ||
	    (strchr("bldhxi", *text) && !caches[n[0]].cache)) {
		say("no cache");
		return;
	}
	if (strchr("kzmqvwpgea", *text) && slots[n[0]].kind) {
		say("slot taken");
		return;
	}
	switch (*text) {
	case 'k':
		say_kmalloc(n[0], kmalloc(n[1], n[2]), n[1]);
		break;
	case 'z':
		say_kmalloc(n[0], kzalloc(n[1], n[2]), n[1]);
		break;
	case 'm':
		say_kmalloc(n[0], kmalloc_array(n[1], n[2], n[3]), n[1] * n[2]);
		break;
	case 'r':
		resize(n[0], n[1], n[2]);
		break;
	case 'q':
		say_kmalloc(n[0], kvmalloc(n[1], n[2]), n[1]);
		break;
	case 'v':
		say_vmalloc(n[0], __vmalloc(n[1], n[2]), n[1]);
		break;
	case 'w':
		say_vmalloc(n[0], vzalloc(n[1]), n[1]);
		break;
	case 'p':
		say_pages(n[0], alloc_pages(n[2], n[1]), n[1]);
		break;
	case 'g': {
		unsigned long p = __get_free_pages(n[2], n[1]);

		say_pages(n[0], p ? virt_to_page(p) : NULL, n[1]);
		break;
	}
	case 'e':
		say_percpu(n[0], n[1], n[2]);
		break;
	case 'f':
		release(n[0]);
		say("freed");
		break;
	case 'c':
		create(n[0], n[1], n[2], n[3], n[4]);
		break;
	case 'a':
		say_object(n[0], n[1], n[2]);
		break;
	case 'b':
	case 'l':
		fill_row(n[0], n[1], n[2], *text == 'l');
		break;
	case 'd':
		thin_row(n[0], n[1]);
		break;
	case 'h':
		say("%d", kmem_cache_shrink(caches[n[0]].cache));
		break;
	case 'x':
		destroy(n[0]);
		say("destroyed");
		break;
	case 'u':
		reuse(NULL, n[0]);
		break;
	case 'i':
		reuse(caches[n[0]].cache, 0);
		break;
	default:
		say("no such operation");
	}
}

static int __init script_init(void)
{
	char *copy = kstrdup(s, GFP_KERNEL), *rest = copy, *text;

	if (!copy)
		return -ENOMEM;
	while ((text = strsep(&rest, ",")))
		if (*text)
			carry_out(text);
	kfree(copy);
	pr_info("end\n");
	return 0;
}

static void __exit script_exit(void)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++)
		release(i);
	for (i = 0; i < CACHES; i++)
		destroy(i);
}

module_init(script_init);
module_exit(script_exit);
MODULE_DESCRIPTION("Carries out a script of allocations and says what came of each");
MODULE_LICENSE("GPL");
