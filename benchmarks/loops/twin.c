/*
 * SLUB as kmem has it, in C, on an arena of its own: the same lists, decisions, counters and switches of a boot, as
 * variables. It has no checks of pointers. Slabs come from a stack of blocks for each order where kmem has a buddy
 * allocator; that is cheaper than kmem's.
 */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include "loops.h"

#define PAGE 4096UL
#define ARENA (1UL << 30)
#define ORDERS 4

struct slab {
	unsigned long flags;
	struct cache *cache;
	union {
		struct { struct slab *next, *prev; };
		struct { struct slab *next_partial; int slabs; };
	};
	void *freelist;
	unsigned inuse : 16, objects : 15, frozen : 1;
	unsigned order;
	struct slab *head;
};

/* What a boot chooses and what a run counts; the switches stay as a plain boot has them. */
struct kernel {
	long allocations, fail_after;
	int cpu, hardened, init_on_alloc, init_on_free, listening;
	unsigned long random, per_cpu_offset[8192], fastpath, slowpath, free_fast, free_slow;
	struct cache *kmalloc_caches[4][14];
	uint8_t size_index[24];
};
struct kernel kernel = { .fail_after = -1 };

struct node { unsigned long nr_partial; struct slab partial; long nr_slabs, total; };
struct cpu { void *freelist; unsigned long tid; struct slab *slab, *partial; };
struct cache {
	struct cpu *cpu_slab;
	unsigned long min_partial;
	unsigned size, object_size, offset, cpu_partial_slabs, objects, order;
	struct node *node;
};

static char *arena, *unused;
static struct slab *map;
static struct slab *blocks[ORDERS];
static struct cache caches[14];
static struct cpu cpus[14];
static struct node nodes[14];

void twin_record(void *obj, size_t size)
{
	kernel.random += (uintptr_t)obj ^ size;
}

static inline void *freelist_ptr(void *fp, void *at)
{
	return kernel.hardened ? (void *)((uintptr_t)fp ^ kernel.random ^ __builtin_bswap64((uintptr_t)at)) : fp;
}

static inline void *get_freepointer(struct cache *s, void *obj)
{
	void **at = (void **)((char *)obj + s->offset);
	return freelist_ptr(*at, at);
}

static inline void set_freepointer(struct cache *s, void *obj, void *fp)
{
	void **at = (void **)((char *)obj + s->offset);

	if (kernel.hardened && obj == fp)
		__builtin_trap();
	*at = freelist_ptr(fp, at);
}

static inline struct cpu *this_cpu_slab(struct cache *s)
{
	return (struct cpu *)((char *)s->cpu_slab + kernel.per_cpu_offset[kernel.cpu]);
}
static inline void *slab_address(struct slab *sl) { return arena + (sl - map) * PAGE; }
static inline struct slab *virt_to_slab(void *x) { return map[((char *)x - arena) / PAGE].head; }

static void link_partial(struct node *n, struct slab *sl, int tail)
{
	struct slab *prev = tail ? n->partial.prev : &n->partial, *next = tail ? &n->partial : n->partial.next;

	sl->prev = prev, sl->next = next;
	prev->next = sl, next->prev = sl;
	n->nr_partial++;
}

static void remove_partial(struct node *n, struct slab *sl)
{
	sl->prev->next = sl->next, sl->next->prev = sl->prev;
	n->nr_partial--;
}

static struct slab *new_slab(struct cache *s)
{
	struct slab *sl = blocks[s->order];
	char *start, *p;

	if (sl) {
		blocks[s->order] = sl->next;
	} else {
		char *at = (char *)(((uintptr_t)unused + (PAGE << s->order) - 1) & -(PAGE << s->order));
		if (at + (PAGE << s->order) > arena + ARENA)
			return NULL;
		unused = at + (PAGE << s->order);
		sl = map + (at - arena) / PAGE;
		for (unsigned i = 0; i < 1u << s->order; i++)
			sl[i].head = sl;
	}
	sl->flags = 1 << 9, sl->cache = s, sl->order = s->order, sl->objects = s->objects, sl->inuse = 0, sl->frozen = 0;
	start = slab_address(sl);
	for (p = start; p < start + (s->objects - 1) * s->size; p += s->size)
		set_freepointer(s, p, p + s->size);
	set_freepointer(s, p, NULL);
	sl->freelist = start;
	return sl;
}

static void discard_slab(struct cache *s, struct slab *sl)
{
	s->node->nr_slabs--, s->node->total -= sl->objects;
	sl->next = blocks[sl->order];
	blocks[sl->order] = sl;
}

static void unfreeze_partials(struct cache *s, struct slab *partial)
{
	struct node *n = s->node;
	struct slab *gone = NULL;

	while (partial) {
		struct slab *sl = partial;
		partial = sl->next_partial;
		sl->frozen = 0;
		if (!sl->inuse && n->nr_partial >= s->min_partial) {
			sl->next_partial = gone;
			gone = sl;
		} else {
			link_partial(n, sl, 1);
		}
	}
	while (gone) {
		struct slab *sl = gone;
		gone = sl->next_partial;
		discard_slab(s, sl);
	}
}

static void put_cpu_partial(struct cache *s, struct slab *sl, int drain)
{
	struct cpu *c = this_cpu_slab(s);
	struct slab *old = c->partial, *out = NULL;
	int slabs = 0;

	if (old) {
		if (drain && old->slabs >= (int)s->cpu_partial_slabs) {
			out = old;
			old = NULL;
		} else {
			slabs = old->slabs;
		}
	}
	sl->slabs = slabs + 1;
	sl->next_partial = old;
	c->partial = sl;
	if (out)
		unfreeze_partials(s, out);
}

static void *get_partial_node(struct cache *s, struct cpu *c)
{
	struct node *n = s->node;
	struct slab *sl = n->partial.next;
	void *freelist = NULL;
	unsigned taken = 0;

	while (sl != &n->partial) {
		struct slab *following = sl->next;
		remove_partial(n, sl);
		sl->frozen = 1;
		if (!freelist) {
			freelist = sl->freelist;
			sl->inuse = sl->objects;
			sl->freelist = NULL;
			c->slab = sl;
		} else {
			put_cpu_partial(s, sl, 0);
			taken++;
		}
		if (!s->cpu_partial_slabs || taken > s->cpu_partial_slabs / 2)
			break;
		sl = following;
	}
	return freelist;
}

static __attribute__((noinline)) void *slab_alloc_slow(struct cache *s, struct cpu *c)
{
	void *freelist;

	kernel.slowpath++;
	for (;;) {
		if (c->slab) {
			struct slab *sl = c->slab;
			freelist = c->freelist;
			if (!freelist) {
				freelist = sl->freelist;
				sl->inuse = sl->objects;
				sl->frozen = freelist != NULL;
				sl->freelist = NULL;
			}
			if (freelist)
				break;
			c->slab = NULL;
			c->tid += 8192;
		}
		if (c->partial) {
			struct slab *sl = c->partial;
			c->partial = sl->next_partial;
			c->slab = sl;
			continue;
		}
		freelist = s->node->nr_partial ? get_partial_node(s, c) : NULL;
		if (!freelist) {
			struct slab *sl = new_slab(s);
			if (!sl)
				return NULL;
			freelist = sl->freelist;
			sl->freelist = NULL;
			sl->inuse = sl->objects;
			sl->frozen = 1;
			s->node->nr_slabs++, s->node->total += sl->objects;
			c->slab = sl;
		}
		break;
	}
	c->freelist = get_freepointer(s, freelist);
	c->tid += 8192;
	return freelist;
}

static __attribute__((noinline)) void slab_free_slow(struct cache *s, struct slab *sl, void *obj)
{
	void *prior = sl->freelist;
	int was_frozen = sl->frozen;

	kernel.free_slow++;
	set_freepointer(s, obj, prior);
	sl->inuse--;
	sl->freelist = obj;
	if (was_frozen || (sl->inuse && prior))
		return;
	if (!prior) {
		sl->frozen = 1;
		put_cpu_partial(s, sl, 1);
		return;
	}
	if (s->node->nr_partial >= s->min_partial) {
		remove_partial(s->node, sl);
		discard_slab(s, sl);
	}
}

static __attribute__((noinline)) int injected(void)
{
	return kernel.fail_after-- == 0;
}

void *twin_kmalloc(size_t size)
{
	struct cache *s;
	struct cpu *c;
	void *obj;

	if (!size || size > 8192)
		return NULL;
	s = kernel.kmalloc_caches[0][size <= 192 ? kernel.size_index[(size - 1) / 8] : 64 - __builtin_clzl(size - 1)];
	kernel.allocations++;
	if (kernel.fail_after >= 0 && injected())
		return NULL;
	c = this_cpu_slab(s);
	obj = c->freelist;
	if (!obj || !c->slab) {
		obj = slab_alloc_slow(s, c);
	} else {
		c->freelist = get_freepointer(s, obj);
		c->tid += 8192;
		kernel.fastpath++;
	}
	if (obj && kernel.init_on_free)
		set_freepointer(s, obj, NULL);
	if (obj && kernel.init_on_alloc)
		memset(obj, 0, s->object_size);
	if (kernel.listening)
		twin_record(obj, size);
	return obj;
}

void twin_kfree(void *obj)
{
	struct slab *sl;
	struct cache *s;
	struct cpu *c;

	if (kernel.listening)
		twin_record(obj, 0);
	if ((uintptr_t)obj <= 16)
		return;
	sl = virt_to_slab(obj);
	if (!(sl->flags & 1 << 9))
		return;
	s = sl->cache;
	if (kernel.init_on_free)
		memset(obj, 0, s->object_size);
	c = this_cpu_slab(s);
	if (c->slab && sl == c->slab) {
		set_freepointer(s, obj, c->freelist);
		c->freelist = obj;
		c->tid += 8192;
		kernel.free_fast++;
	} else {
		slab_free_slow(s, sl, obj);
	}
}

/* Geometry comes from kmem: one call for each cache. */
void twin_cache(int index, unsigned size, unsigned offset, unsigned objects, unsigned order,
		unsigned long min_partial, unsigned cpu_partial_slabs)
{
	struct cache *s = &caches[index];

	*s = (struct cache){ &cpus[index], min_partial, size, size, offset, cpu_partial_slabs, objects, order, &nodes[index] };
	kernel.kmalloc_caches[0][index] = s;
	nodes[index].partial.next = nodes[index].partial.prev = &nodes[index].partial;
}

int twin_init(const uint8_t *index)
{
	memcpy(kernel.size_index, index, sizeof(kernel.size_index));
	arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	map = mmap(NULL, ARENA / PAGE * sizeof(*map), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unused = arena;
	return arena == MAP_FAILED || map == MAP_FAILED;
}

LOOPS(twin, twin_kmalloc, twin_kfree)
