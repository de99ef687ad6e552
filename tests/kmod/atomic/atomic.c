// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * atomic - one allocation (op=) in one context (mode=)
 *
 * mode: proc, spin (a spinlock held), irqoff, rcu, nofs (a memalloc_nofs
 * scope), tasklet, timer, irq (a hard interrupt, through irq_work).
 * op: kmalloc, pages, vmalloc, kvmalloc, ioremap, msleep (all may sleep),
 * atomic (GFP_ATOMIC), highmem, dma32 (flags that kmalloc does not take).
 * big= is the number of bytes.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>

static char *mode = "proc";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "the context");

static char *op = "kmalloc";
module_param(op, charp, 0444);
MODULE_PARM_DESC(op, "the operation");

static unsigned int big = 128;
module_param(big, uint, 0444);
MODULE_PARM_DESC(big, "how many bytes");

static DEFINE_SPINLOCK(lock);

static void try_kmalloc(const char *name, gfp_t gfp)
{
	void *p = kmalloc(big, gfp);

	pr_info("%s -> %px\n", name, p);
	kfree(p);
}

static void op_kmalloc(void)
{
	try_kmalloc("kmalloc(GFP_KERNEL)", GFP_KERNEL);
}

static void op_atomic(void)
{
	try_kmalloc("kmalloc(GFP_ATOMIC)", GFP_ATOMIC);
}

static void op_highmem(void)
{
	try_kmalloc("kmalloc highmem", GFP_KERNEL | __GFP_HIGHMEM);
}

static void op_dma32(void)
{
	try_kmalloc("kmalloc dma32", GFP_KERNEL | __GFP_DMA32);
}

static void op_pages(void)
{
	unsigned int order = get_order(big);
	struct page *page = alloc_pages(GFP_KERNEL, order);

	pr_info("alloc_pages -> %px\n", page);
	if (page)
		__free_pages(page, order);
}

static void op_vmalloc(void)
{
	void *p = vmalloc(big);

	pr_info("vmalloc -> %px\n", p);
	vfree(p);
	pr_info("vfree done\n");
}

static void op_kvmalloc(void)
{
	void *p = kvmalloc(big, GFP_KERNEL);

	pr_info("kvmalloc -> %px\n", p);
	kvfree(p);
}

static void op_ioremap(void)
{
	void __iomem *p = ioremap(0xfed00000, PAGE_SIZE);

	pr_info("ioremap -> %px\n", (void __force *)p);
	if (p)
		iounmap(p);
}

static void op_msleep(void)
{
	msleep(10);
	pr_info("msleep returned\n");
}

static const struct {
	const char *name;
	void (*run)(void);
} ops[] = {
	{ "kmalloc", op_kmalloc },
	{ "atomic", op_atomic },
	{ "highmem", op_highmem },
	{ "dma32", op_dma32 },
	{ "pages", op_pages },
	{ "vmalloc", op_vmalloc },
	{ "kvmalloc", op_kvmalloc },
	{ "ioremap", op_ioremap },
	{ "msleep", op_msleep },
};

static void (*run)(void);

static void operate(const char *context)
{
	pr_info("ctx %s op %s preempt_count %x irqs_disabled %d in_hardirq %lu in_softirq %lu\n",
		context, op, preempt_count(), !!irqs_disabled(), in_hardirq(),
		in_softirq());
	run();
}

static void in_process(void)
{
	operate("process");
}

static void under_spinlock(void)
{
	spin_lock(&lock);
	operate("spin_lock");
	spin_unlock(&lock);
}

static void with_irqs_off(void)
{
	local_irq_disable();
	operate("irq_disable");
	local_irq_enable();
}

static void under_rcu(void)
{
	rcu_read_lock();
	operate("rcu_read_lock");
	rcu_read_unlock();
}

static void in_nofs_scope(void)
{
	unsigned int flags = memalloc_nofs_save();

	operate("memalloc_nofs");
	memalloc_nofs_restore(flags);
}

static void tasklet_body(struct tasklet_struct *unused)
{
	operate("tasklet");
}

static DECLARE_TASKLET(tasklet, tasklet_body);

static void in_tasklet(void)
{
	tasklet_schedule(&tasklet);
	msleep(200);
	tasklet_kill(&tasklet);
}

static void timer_body(struct timer_list *unused)
{
	operate("timer");
}

static DEFINE_TIMER(timer, timer_body);

static void in_timer(void)
{
	mod_timer(&timer, jiffies + msecs_to_jiffies(50));
	msleep(200);
	del_timer_sync(&timer);
}

static void irq_body(struct irq_work *unused)
{
	operate("hardirq(irq_work)");
}

static DEFINE_IRQ_WORK(irq_work, irq_body);

static void in_hard_interrupt(void)
{
	irq_work_queue(&irq_work);
	msleep(200);
	irq_work_sync(&irq_work);
}

static const struct {
	const char *name;
	void (*enter)(void);
} contexts[] = {
	{ "proc", in_process },
	{ "spin", under_spinlock },
	{ "irqoff", with_irqs_off },
	{ "rcu", under_rcu },
	{ "nofs", in_nofs_scope },
	{ "tasklet", in_tasklet },
	{ "timer", in_timer },
	{ "irq", in_hard_interrupt },
};

static int __init atomic_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		if (!strcmp(op, ops[i].name))
			run = ops[i].run;
	if (!run) {
		pr_err("no op %s\n", op);
		return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(contexts); i++) {
		if (strcmp(mode, contexts[i].name))
			continue;
		contexts[i].enter();
		pr_info("mode %s op %s end, preempt_count %x\n", mode, op,
			preempt_count());
		return 0;
	}
	pr_err("no mode %s\n", mode);
	return -EINVAL;
}

static void __exit atomic_exit(void)
{
}

module_init(atomic_init);
module_exit(atomic_exit);
MODULE_DESCRIPTION("One allocation in one context");
MODULE_LICENSE("GPL");
