// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls the kernel in a wrong way, one a load: what=dma_beyond and the like; their right forms find nothing. */
#include <linux/cdev.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/proc_fs.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

static char *what = "nothing";
module_param(what, charp, 0444);

static struct platform_device *device;
static const struct file_operations no_fops = { .owner = THIS_MODULE };
static const struct proc_ops no_ops;
static struct miscdevice misc = { .minor = MISC_DYNAMIC_MINOR, .name = "misuse", .fops = &no_fops };
static struct cdev cdev;
static dev_t number;

static bool is(const char *name)
{
	return !strcmp(what, name);
}

static void map(void *buffer, size_t size, enum dma_data_direction direction)
{
	struct page *page = virt_to_page(buffer);
	dma_addr_t addr = dma_map_page(&device->dev, page, offset_in_page(buffer), size, direction);

	if (!dma_mapping_error(&device->dev, addr))
		dma_unmap_page(&device->dev, addr, size, direction);
}

static void map_list(void *buffer, size_t size)
{
	struct scatterlist list[2];

	sg_init_table(list, 2);
	sg_set_buf(&list[0], buffer, 32);
	sg_set_buf(&list[1], buffer + 32, size);
	if (dma_map_sg(&device->dev, list, 2, DMA_BIDIRECTIONAL))
		dma_unmap_sg(&device->dev, list, 2, DMA_BIDIRECTIONAL);
}

static void dma(void)
{
	char *heap = kmalloc(200, GFP_KERNEL), *area = vmalloc(200), local[64];

	memset(local, 1, sizeof(local));
	memset(area, 1, 200);
	if (is("dma_unwritten"))
		map(heap, 200, DMA_TO_DEVICE);
	if (is("dma_from_device")) {
		map(heap, 200, DMA_FROM_DEVICE);
		map(heap, 200, DMA_TO_DEVICE);
	}
	memset(heap, 1, 200);
	if (is("dma_right"))
		map(heap, 200, DMA_TO_DEVICE);
	if (is("dma_beyond"))
		map(heap, 201, DMA_TO_DEVICE);
	if (is("dma_write_beyond"))
		map(heap + 150, 51, DMA_FROM_DEVICE);
	if (is("dma_vmalloc"))
		map(area, 200, DMA_TO_DEVICE);
	if (is("dma_stack"))
		map(local, sizeof(local), DMA_TO_DEVICE);
	if (is("dma_global"))
		map(&misc, sizeof(misc), DMA_TO_DEVICE);
	if (is("dma_single_stack"))
		dma_map_single(&device->dev, local, sizeof(local), DMA_TO_DEVICE);
	if (is("sg_right"))
		map_list(heap, 168);
	if (is("sg_beyond"))
		map_list(heap, 169);
	kfree(heap);
	if (is("dma_freed"))
		map(heap, 200, DMA_BIDIRECTIONAL);
	vfree(area);
}

static void flags(void)
{
	struct page *page = NULL;

	if (is("gfp_zones"))
		page = alloc_pages(GFP_KERNEL | __GFP_DMA | __GFP_HIGHMEM, 0);
	if (is("gfp_right"))
		page = alloc_pages(GFP_KERNEL | __GFP_DMA32 | __GFP_NOFAIL, 0);
	if (page)
		__free_pages(page, 0);
	if (is("nofail_large"))
		kfree(kmalloc(64 << 10, GFP_KERNEL | __GFP_NOFAIL));
	if (is("nofail_atomic"))
		kfree(kmalloc(64, GFP_ATOMIC | __GFP_NOFAIL));
	if (is("vmalloc_atomic"))
		vfree(__vmalloc(8192, GFP_ATOMIC));
}

static int __init misuse_init(void)
{
	device = platform_device_register_simple("misuse", -1, NULL, 0);
	if (IS_ERR(device))
		return PTR_ERR(device);
	dma_coerce_mask_and_coherent(&device->dev, DMA_BIT_MASK(64));
	dma();
	flags();
	proc_create("misuse", 0444, NULL, &no_ops);
	misc_register(&misc);
	alloc_chrdev_region(&number, 0, 1, "misuse");
	cdev_init(&cdev, &no_fops);
	cdev_add(&cdev, number, 1);
	return 0;
}

static void __exit misuse_exit(void)
{
	if (!is("leave_proc"))
		remove_proc_entry("misuse", NULL);
	if (!is("leave_misc"))
		misc_deregister(&misc);
	if (!is("leave_cdev"))
		cdev_del(&cdev);
	if (!is("leave_region"))
		unregister_chrdev_region(number, 1);
	platform_device_unregister(device);
}

module_init(misuse_init);
module_exit(misuse_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Wrong calls");
