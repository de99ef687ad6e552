// SPDX-License-Identifier: GPL-2.0-or-later
/* Maps memory in the process that loads it, copies to and fro over its edges, and prints what came of it. */

#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define AT (1UL << 40)
#define HINT (1UL << 41)
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_ANONYMOUS | MAP_PRIVATE)
#define fact(format, ...) pr_info("fact: " format "\n", ##__VA_ARGS__)

static char *buf;

static unsigned long map(unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags)
{
	return vm_mmap(NULL, addr, len, prot, ANON | flags, 0);
}

static long anon_pages(void)
{
	return atomic_long_read(&current->mm->rss_stat.count[MM_ANONPAGES]) + current->rss_stat.count[MM_ANONPAGES];
}

static bool all(const char *p, char c, size_t n)
{
	return !n || !memchr_inv(p, c, n);
}

static void errors(void)
{
	fact("mmap of nothing: %ld", (long)map(AT, 0, RW, 0));
	fact("mmap at a half page: %ld", (long)map(AT + 2048, PAGE_SIZE, RW, MAP_FIXED));
	fact("mmap with offset 100: %ld", (long)vm_mmap(NULL, AT, PAGE_SIZE, RW, ANON, 100));
	fact("mmap of 2^47: %ld", (long)map(0, 1UL << 47, RW, 0));
	fact("mmap above the top: %ld", (long)map(TASK_SIZE - PAGE_SIZE, 2 * PAGE_SIZE, RW, MAP_FIXED));
	fact("mmap neither shared nor private: %ld", (long)vm_mmap(NULL, 0, PAGE_SIZE, RW, MAP_ANONYMOUS, 0));
	fact("mmap of a terabyte: %ld", (long)map(0, 1UL << 40, RW, 0));
	fact("munmap of nothing: %d", vm_munmap(AT, 0));
	fact("munmap at a half page: %d", vm_munmap(AT + 2048, PAGE_SIZE));
	fact("munmap of a hole: %d", vm_munmap(AT, PAGE_SIZE));
	fact("mmap at a free hint: %d", map(HINT, PAGE_SIZE, RW, 0) == HINT);
	fact("mmap at a hint in use: %d", map(HINT, PAGE_SIZE, RW, 0) == HINT);
	fact("mmap no replace: %ld", (long)map(HINT, PAGE_SIZE, RW, MAP_FIXED_NOREPLACE));
	vm_munmap(HINT, PAGE_SIZE);
}

static void areas(void)
{
	struct mm_struct *mm = current->mm;
	int before = mm->map_count;
	unsigned long total = mm->total_vm, data = mm->data_vm;
	struct vm_area_struct *vma;

	fact("map: %d", map(AT, 8 * PAGE_SIZE, RW, MAP_FIXED) == AT);
	fact("one area: %d, pages %ld, data %ld", mm->map_count - before, mm->total_vm - total, mm->data_vm - data);
	map(AT + 8 * PAGE_SIZE, PAGE_SIZE, RW, MAP_FIXED);
	fact("joined: %d", mm->map_count - before);
	map(AT + 3 * PAGE_SIZE, PAGE_SIZE, PROT_READ, MAP_FIXED);
	fact("another inside: %d, pages %ld, data %ld", mm->map_count - before, mm->total_vm - total,
	     mm->data_vm - data);
	mmap_read_lock(mm);
	vma = find_vma(mm, AT + 3 * PAGE_SIZE);
	fact("it: %lx-%lx flags %lx prot %lx offset %lx", vma->vm_start, vma->vm_end, vma->vm_flags,
	     pgprot_val(vma->vm_page_prot), vma->vm_pgoff);
	vma = find_vma(mm, AT + 4 * PAGE_SIZE);
	fact("next: %lx-%lx flags %lx prot %lx offset %lx", vma->vm_start, vma->vm_end, vma->vm_flags,
	     pgprot_val(vma->vm_page_prot), vma->vm_pgoff);
	mmap_read_unlock(mm);
	vm_munmap(AT + PAGE_SIZE, PAGE_SIZE);
	fact("with a hole: %d, pages %ld", mm->map_count - before, mm->total_vm - total);
	mmap_read_lock(mm);
	vma = find_vma(mm, AT + PAGE_SIZE);
	fact("behind the hole: %lx-%lx", vma->vm_start, vma->vm_end);
	fact("in the hole: %d", find_vma_intersection(mm, AT + PAGE_SIZE, AT + 2 * PAGE_SIZE) != NULL);
	mmap_read_unlock(mm);
	vm_munmap(AT, 9 * PAGE_SIZE);
	fact("all gone: %d, pages %ld, data %ld", mm->map_count - before, mm->total_vm - total, mm->data_vm - data);
}

static void faults(void)
{
	char __user *u = (char __user *)AT;
	struct page *page[4];
	long rss, tables;
	u64 v = 7;
	int n;

	tables = atomic_long_read(&current->mm->pgtables_bytes);
	map(AT, 4 * PAGE_SIZE, RW, MAP_FIXED);
	rss = anon_pages();
	fact("tables before: %ld", atomic_long_read(&current->mm->pgtables_bytes) - tables);
	fact("nofault read: %ld", copy_from_user_nofault(buf, u, 8));
	pagefault_disable();
	fact("atomic read: %lu", __copy_from_user_inatomic(buf, u, 8));
	pagefault_enable();
	n = get_user(v, (u64 __user *)u);
	fact("read: %d, value %llu, rss %ld", n, v, anon_pages() - rss);
	fact("nofault read: %ld", copy_from_user_nofault(buf, u, 8));
	fact("nofault write: %ld", copy_to_user_nofault(u, buf, 8));
	fact("tables: %ld", atomic_long_read(&current->mm->pgtables_bytes) - tables);
	n = get_user_pages_fast(AT, 1, 0, page);
	fact("pages: %d, zero page %d", n, page[0] == ZERO_PAGE(0));
	put_page(page[0]);
	n = put_user(1ULL, (u64 __user *)u);
	fact("write: %d, rss %ld", n, anon_pages() - rss);
	fact("nofault write: %ld", copy_to_user_nofault(u, buf, 8));
	n = get_user_pages_fast(AT, 4, FOLL_WRITE, page);
	fact("pages: %d, rss %ld", n, anon_pages() - rss);
	for (n = 0; n < 4; n++) {
		fact("page %d: mapped %d anon %d swapbacked %d uptodate %d index %lx", n, page_mapcount(page[n]),
		     PageAnon(page[n]), PageSwapBacked(page[n]), PageUptodate(page[n]), page[n]->index);
		put_page(page[n]);
	}
	n = pin_user_pages_fast(AT, 2, FOLL_WRITE, page);
	fact("pinned: %d, %d", n, page_maybe_dma_pinned(page[0]));
	memset(page_address(page[1]), 0x77, PAGE_SIZE);
	unpin_user_pages(page, 2);
	fact("unpinned: %d", page_maybe_dma_pinned(page[0]));
	v = copy_from_user(buf, u + PAGE_SIZE, PAGE_SIZE);
	fact("seen: %llu, %d", v, all(buf, 0x77, PAGE_SIZE));
	fact("pages over the edge: %d", get_user_pages_fast(AT + 3 * PAGE_SIZE, 4, 0, page));
	put_page(page[0]);
	fact("pages of a hole: %d", get_user_pages_fast(AT + 8 * PAGE_SIZE, 1, 0, page));
	vm_munmap(AT, 4 * PAGE_SIZE);
	fact("unmapped: rss %ld, tables %ld", anon_pages() - rss,
	     atomic_long_read(&current->mm->pgtables_bytes) - tables);
}

static void edges(void)
{
	static const int before[] = { 1, 7, 8, 9, 63, 64, 65, 100, 255, 256, 300, 4096 };
	char __user *edge = (char __user *)AT + 2 * PAGE_SIZE;
	int i;

	map(AT, 2 * PAGE_SIZE, RW, MAP_FIXED);
	for (i = 0; i < ARRAY_SIZE(before); i++) {
		unsigned long to, from, clear, readable, writeable;
		bool zeroed;

		memset(buf, 0x41 + i, PAGE_SIZE);
		to = copy_to_user(edge - before[i], buf, 256);
		memset(buf, 0x5a, PAGE_SIZE);
		from = copy_from_user(buf, edge - before[i], 256);
		zeroed = all(buf + 256 - from, 0, from) && all(buf, 0x41 + i, 256 - from);
		clear = clear_user(edge - before[i], 256);
		readable = fault_in_readable(edge - before[i], 256);
		writeable = fault_in_writeable(edge - before[i], 256);
		fact("%d before the edge: to %lu, from %lu %d, clear %lu, readable %lu, writeable %lu", before[i], to,
		     from, zeroed, clear, readable, writeable);
	}
	for (i = 0; i < 9; i++) {
		u8 a = 1;
		u16 b = 1;
		u32 c = 1;
		u64 d = 1;
		int ea, eb, ec, ed;

		clear_user(edge - 16, 16);
		ea = put_user((u8)0xa1, (u8 __user *)(edge - i));
		eb = put_user((u16)0xa1a2, (u16 __user *)(edge - i));
		ec = put_user(0xa1a2a3a4U, (u32 __user *)(edge - i));
		ed = put_user(0xa1a2a3a4a5a6a7a8ULL, (u64 __user *)(edge - i));
		fact("put_user %d before: %d %d %d %d", i, ea, eb, ec, ed);
		ea = get_user(a, (u8 __user *)(edge - i));
		eb = get_user(b, (u16 __user *)(edge - i));
		ec = get_user(c, (u32 __user *)(edge - i));
		ed = get_user(d, (u64 __user *)(edge - i));
		fact("get_user %d before: %d %x, %d %x, %d %x, %d %llx", i, ea, a, eb, b, ec, c, ed, d);
	}
	vm_munmap(AT, 2 * PAGE_SIZE);
}

static void strings(void)
{
	char __user *edge = (char __user *)AT + PAGE_SIZE;
	int i, n;

	map(AT, PAGE_SIZE, RW, MAP_FIXED);
	memset(buf, 'x', PAGE_SIZE);
	copy_to_user(edge - PAGE_SIZE, buf, PAGE_SIZE);
	for (i = 0; i < 24; i += 5) {
		long copied, length;

		memset(buf, 0x5a, 64);
		copied = strncpy_from_user(buf, edge - i, 32);
		length = strnlen_user(edge - i, 32);
		fact("no end, %d before: copied %ld, length %ld", i, copied, length);
	}
	put_user(0, edge - 3);
	for (i = 4; i < 24; i += 3)
		for (n = 0; n <= 24; n += 6) {
			long copied, length;
			int kept;

			memset(buf, 0x5a, 64);
			copied = strncpy_from_user(buf, edge - i, n);
			length = strnlen_user(edge - i, n);
			for (kept = 0; kept < 64 && buf[63 - kept] == 0x5a; kept++)
				;
			fact("%d long, room %d: copied %ld, length %ld, written %d", i - 3, n, copied, length, 64 - kept);
		}
	for (i = 2; i <= 4; i++) {
		void *p = strndup_user(edge - i, 8);

		fact("strndup_user %d before: %ld", i, IS_ERR(p) ? PTR_ERR(p) : (long)strlen(p));
		if (!IS_ERR(p))
			kfree(p);
	}
	fact("strndup_user too long: %ld", PTR_ERR(strndup_user(edge - 64, 8)));
	for (i = 3; i <= 5; i++) {
		void *p = memdup_user(edge - i, 4), *q = memdup_user_nul(edge - i, 4), *r = vmemdup_user(edge - i, 4);

		fact("memdup_user %d before: %ld %ld %ld", i, IS_ERR(p) ? PTR_ERR(p) : 0, IS_ERR(q) ? PTR_ERR(q) : 0,
		     IS_ERR(r) ? PTR_ERR(r) : 0);
		if (!IS_ERR(p)) {
			kfree(p);
			kfree(q);
			kvfree(r);
		}
	}
	for (i = 0; i < 20; i += 3) {
		clear_user(edge - 32, 32);
		put_user(1, edge - 10);
		fact("zeroed %d before: %d %d", i, check_zeroed_user(edge - i, 8), check_zeroed_user(edge - i, i));
	}
	vm_munmap(AT, PAGE_SIZE);
}

static void permissions(void)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_WRITE, RW, PROT_READ | PROT_EXEC };
	char __user *u = (char __user *)AT;
	int i;

	for (i = 0; i < ARRAY_SIZE(prots); i++) {
		unsigned long from, to;

		map(AT, PAGE_SIZE, prots[i], MAP_FIXED);
		from = copy_from_user(buf, u, 8);
		to = copy_to_user(u, buf, 8);
		fact("prot %d: from %lu, to %lu", prots[i], from, to);
	}
	vm_munmap(AT, PAGE_SIZE);
}

static void limits(void)
{
	char __user *top = (char __user *)TASK_SIZE_MAX;
	unsigned long left;
	u64 v = 1;
	int e;

	memset(buf, 0x5a, 64);
	left = copy_from_user(buf, top - 8, 16);
	fact("from the top: %lu %d", left, all(buf, 0, 16));
	fact("to the top: %lu", copy_to_user(top - 8, buf, 16));
	fact("to the kernel: %lu", copy_to_user((char __user *)buf, buf + 64, 16));
	e = get_user(v, (u64 __user *)(top - 7));
	fact("get_user at the top: %d %llx", e, v);
	e = get_user(v, (u64 __user *)NULL);
	fact("get_user of NULL: %d", e);
	e = put_user(v, (u64 __user *)buf);
	fact("put_user to the kernel: %d", e);
	fact("clear_user of the kernel: %lu", clear_user((char __user *)buf, 16));
	fact("strnlen_user of the kernel: %ld", strnlen_user((char __user *)buf, 16));
	fact("strncpy_from_user of the kernel: %ld", strncpy_from_user(buf, (char __user *)buf + 64, 16));
	fact("nothing: %lu %lu", copy_from_user(buf, NULL, 0), copy_to_user(NULL, buf, 0));
}

static int __init usermem_init(void)
{
	buf = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	errors();
	areas();
	faults();
	edges();
	strings();
	permissions();
	limits();
	kfree(buf);
	return 0;
}

static void __exit usermem_exit(void)
{
}

module_init(usermem_init);
module_exit(usermem_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What a module sees of user memory");
