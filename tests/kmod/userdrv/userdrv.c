// SPDX-License-Identifier: GPL-2.0-or-later
/* A driver that lends memory to programs, and one error with user memory a load: mode=peek and the like. */

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static char *mode = "";
module_param(mode, charp, 0);

static struct page *pages[4];
static unsigned long faults;

/* The pages as they are, uncounted. */
static int userdrv_mmap_pfn(struct file *file, struct vm_area_struct *vma)
{
	return remap_pfn_range(vma, vma->vm_start, page_to_pfn(pages[vma->vm_pgoff]), vma->vm_end - vma->vm_start,
			       vma->vm_page_prot);
}

/* The pages one by one, counted. */
static int userdrv_mmap_pages(struct file *file, struct vm_area_struct *vma)
{
	unsigned long n, count = vma_pages(vma);
	int error = 0;

	for (n = 0; n < count && !error; n++)
		error = n < 4 ? vm_insert_page(vma, vma->vm_start + n * PAGE_SIZE, pages[n]) : -ENXIO;
	return error;
}

static vm_fault_t userdrv_fault(struct vm_fault *vmf)
{
	faults++;
	if (vmf->pgoff >= 4)
		return VM_FAULT_SIGBUS;
	get_page(pages[vmf->pgoff]);
	vmf->page = pages[vmf->pgoff];
	return 0;
}

static vm_fault_t userdrv_pfn_fault(struct vm_fault *vmf)
{
	faults++;
	return vmf->pgoff < 4 ? vmf_insert_pfn(vmf->vma, vmf->address, page_to_pfn(pages[vmf->pgoff])) : VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct fault_ops = { .fault = userdrv_fault };
static const struct vm_operations_struct pfn_ops = { .fault = userdrv_pfn_fault };

/* Each page when it is touched. */
static int userdrv_mmap_fault(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &fault_ops;
	return 0;
}

static int userdrv_mmap_pfn_fault(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_flags |= VM_PFNMAP;
	vma->vm_ops = &pfn_ops;
	return 0;
}

static long userdrv_read(char __user *to, unsigned long n)
{
	return copy_to_user(to, page_address(pages[0]), n) ? -EFAULT : n;
}

static long userdrv_write(const char __user *from, unsigned long n)
{
	return copy_from_user(page_address(pages[0]), from, n) ? -EFAULT : n;
}

static const void *const table[] __used = { userdrv_mmap_pfn, userdrv_mmap_pages, userdrv_mmap_fault,
					    userdrv_mmap_pfn_fault, userdrv_read, userdrv_write };

static noinline void err(void)
{
	volatile char *u = (char *)vm_mmap(NULL, 1UL << 40, PAGE_SIZE, PROT_READ | PROT_WRITE,
					   MAP_ANONYMOUS | MAP_PRIVATE | MAP_FIXED, 0);
	char *p = kmalloc(64, GFP_KERNEL);
	int n = 80;

	if (IS_ERR((void *)u) || !p)
		return;
	put_user('x', (char __user *)u);
	OPTIMIZER_HIDE_VAR(n);
	OPTIMIZER_HIDE_VAR(p);
	if (!strcmp(mode, "peek"))
		pr_info("peeked %d\n", u[0]);
	else if (!strcmp(mode, "poke"))
		u[0] = 'y';
	else if (!strcmp(mode, "untouched"))
		pr_info("peeked %d\n", u[2 * PAGE_SIZE]);
	else if (!strcmp(mode, "overread"))
		pr_info("copied %lu\n", copy_to_user((char __user *)u, p, n));
	else if (!strcmp(mode, "overwrite"))
		pr_info("copied %lu\n", copy_from_user(p, (char __user *)u, n));
	kfree(p);
}

static int __init userdrv_init(void)
{
	int n;

	for (n = 0; n < 4; n++) {
		pages[n] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		memset(page_address(pages[n]), '0' + n, 16);
	}
	if (mode[0])
		err();
	return 0;
}

static void __exit userdrv_exit(void)
{
	int n;

	for (n = 0; n < 4; n++)
		__free_page(pages[n]);
}

module_init(userdrv_init);
module_exit(userdrv_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Lends memory to programs");
