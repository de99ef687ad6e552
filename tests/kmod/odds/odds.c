// SPDX-License-Identifier: GPL-2.0-or-later
/* Calls of which drivers make one or two: ports, DMA channels, managed interrupts, counts with locks, packets, charsets. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/badblocks.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/nls.h>
#include <linux/platform_device.h>
#include <linux/refcount.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <asm/dma.h>

static DEFINE_SPINLOCK(lock);
static struct sk_buff packets[3];
static int one, two;

static irqreturn_t handler(int irq, void *data)
{
	return IRQ_HANDLED;
}

static void counts(void)
{
	refcount_t count = REFCOUNT_INIT(2);
	atomic_t plain = ATOMIC_INIT(2);
	int first, second;

	first = refcount_dec_and_lock(&count, &lock);
	second = refcount_dec_and_lock(&count, &lock);
	pr_info("refcount: %d %d, locked %d\n", first, second, spin_is_locked(&lock));
	spin_unlock(&lock);
	first = atomic_dec_and_lock(&plain, &lock);
	second = atomic_dec_and_lock(&plain, &lock);
	pr_info("atomic: %d %d, locked %d\n", first, second, spin_is_locked(&lock));
	spin_unlock(&lock);
	refcount_set(&count, 1);
	first = refcount_dec_not_one(&count);
	second = refcount_dec_if_one(&count);
	pr_info("not one: %d, if one: %d, now %u\n", first, second, refcount_read(&count));
}

static void queue(void)
{
	struct sk_buff_head head;

	skb_queue_head_init(&head);
	skb_queue_tail(&head, packets + 1);
	skb_append(packets + 1, packets + 2, &head);
	skb_queue_head(&head, packets);
	pr_info("packets: %u, first %d, last %d\n", skb_queue_len(&head), (int)(skb_peek(&head) - packets),
		(int)(skb_peek_tail(&head) - packets));
	skb_unlink(packets + 1, &head);
	pr_info("taken: %d", (int)(skb_dequeue(&head) - packets));
	pr_cont(" %d", (int)(skb_dequeue_tail(&head) - packets));
	pr_cont(", none left: %d\n", skb_dequeue(&head) == NULL && skb_queue_empty(&head));
}

static void ports(struct device *dev)
{
	void __iomem *there = ioport_map(0x3f8, 8), *managed = devm_ioport_map(dev, 0x2f8, 8);

	pr_info("ports: %d %d\n", there && !virt_addr_valid((void *)there), managed - there == 0x2f8 - 0x3f8);
	ioport_unmap(there);
	pr_info("DMA 5: %d", request_dma(5, "odds"));
	pr_cont(", again %d, 4 %d, 9 %d\n", request_dma(5, "odds"), request_dma(4, "odds"), request_dma(9, "odds"));
	free_dma(5);
	pr_info("DMA 5 freed: %d\n", request_dma(5, "odds"));
	free_dma(5);
}

static void interrupts(struct device *dev)
{
	int first = devm_request_irq(dev, 5, handler, IRQF_SHARED, "one", &one);
	int second = devm_request_irq(dev, 5, handler, IRQF_SHARED, "two", &two);

	devm_free_irq(dev, 5, &one);
	pr_info("interrupts: %d %d", first, second);
	pr_cont(", again %d\n", devm_request_irq(dev, 5, handler, IRQF_SHARED, "one", &one));
}

static int __init odds_init(void)
{
	struct platform_device *device = platform_device_register_simple("odds", -1, NULL, 0);
	struct nls_table *table = load_nls_default(), *none = load_nls("klingon");
	struct badblocks bad;
	wchar_t wide;
	int error;

	if (IS_ERR(device))
		return PTR_ERR(device);
	counts();
	queue();
	ports(&device->dev);
	interrupts(&device->dev);
	error = table->char2uni("A", 1, &wide);
	pr_info("charset %s: %d %x, none: %d\n", table->charset, error, wide, none == NULL);
	error = badblocks_init(&bad, 1);
	pr_info("bad blocks: %d, %d of them, enabled %d\n", error, bad.count, bad.shift == 0);
	badblocks_exit(&bad);
	platform_device_unregister(device);
	return 0;
}

static void __exit odds_exit(void)
{
}

module_init(odds_init);
module_exit(odds_exit);
MODULE_LICENSE("GPL");
