// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * outlived - what the kernel does later outlives what it needs (mode=)
 *
 * mode: timer, hrtimer, work, delayed, tasklet (the object that holds it is
 * freed while it waits), rmmod (a work that still runs when the module goes),
 * queue (a work queue that nobody destroys), irqwait (a handler that sleeps),
 * atomic (a timer function that sleeps), selfcancel (a work function that
 * cancels itself and waits), selfdel (a timer function that waits for itself),
 * grace (a reader keeps using what was given to kfree_rcu), barrier (exit does
 * not wait for an RCU callback).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

static char *mode = "timer";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "what outlives what");

struct holder {
	char name[16];
	struct timer_list timer;
	struct hrtimer fine;
	struct delayed_work work;
	struct tasklet_struct tasklet;
	struct rcu_head rcu;
	int value;
};

static struct workqueue_struct *queue;
static struct holder *holder;
static struct timer_list lasting;
static struct work_struct endless;

static void ring(struct timer_list *t)
{
	pr_info("timer\n");
}

static enum hrtimer_restart strike(struct hrtimer *t)
{
	pr_info("hrtimer\n");
	return HRTIMER_NORESTART;
}

static void toil(struct work_struct *work)
{
	pr_info("work\n");
}

static void drop(struct tasklet_struct *t)
{
	pr_info("tasklet\n");
}

static void toil_long(struct work_struct *work)
{
	msleep(200);
}

static void cancel_self(struct work_struct *work)
{
	cancel_work_sync(work); /* waits for itself */
	pr_info("cancelled\n");
}

static void delete_self(struct timer_list *t)
{
	del_timer_sync(t); /* its own */
	pr_info("deleted\n");
}

static void sleep_in_timer(struct timer_list *t)
{
	msleep(1); /* in a timer */
	pr_info("slept\n");
}

static void later(struct rcu_head *rcu)
{
	pr_info("rcu\n");
}

static irqreturn_t sleepy(int irq, void *dev)
{
	void *p = kmalloc(64, GFP_KERNEL); /* in a handler */

	kfree(p);
	return IRQ_HANDLED;
}

static int read_it(void *data)
{
	struct holder *mine;
	int value;

	rcu_read_lock();
	mine = READ_ONCE(holder);
	rcu_read_unlock();
	msleep(80);
	value = READ_ONCE(mine->value); /* after the grace period */
	pr_info("read %d\n", value);
	return 0;
}

static int read_well(void *data)
{
	int value;

	rcu_read_lock();
	{
		struct holder *mine = READ_ONCE(holder);

		mdelay(40);
		value = READ_ONCE(mine->value);
	}
	rcu_read_unlock();
	pr_info("read %d\n", value);
	return 0;
}

static int __init outlived_init(void)
{
	struct holder *h = kzalloc(sizeof(*h), GFP_KERNEL);

	if (!h)
		return -ENOMEM;
	h->value = 7;
	if (!strcmp(mode, "timer")) {
		timer_setup(&h->timer, ring, 0);
		mod_timer(&h->timer, jiffies + 2);
	} else if (!strcmp(mode, "hrtimer")) {
		hrtimer_init(&h->fine, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
		h->fine.function = strike;
		hrtimer_start(&h->fine, ms_to_ktime(5), HRTIMER_MODE_REL);
	} else if (!strcmp(mode, "work")) {
		INIT_DELAYED_WORK(&h->work, toil);
		schedule_work(&h->work.work);
	} else if (!strcmp(mode, "delayed")) {
		INIT_DELAYED_WORK(&h->work, toil);
		schedule_delayed_work(&h->work, 2);
	} else if (!strcmp(mode, "tasklet")) {
		local_irq_disable();
		tasklet_setup(&h->tasklet, drop);
		tasklet_schedule(&h->tasklet);
		kfree(h);
		local_irq_enable();
		return 0;
	} else if (!strcmp(mode, "rmmod")) {
		INIT_WORK(&endless, toil_long);
		schedule_work(&endless);
	} else if (!strcmp(mode, "queue")) {
		queue = alloc_workqueue("forgotten", 0, 0);
	} else if (!strcmp(mode, "irqwait")) {
		kfree(h);
		return request_irq(7, sleepy, 0, "outlived", &mode);
	} else if (!strcmp(mode, "atomic")) {
		timer_setup(&lasting, sleep_in_timer, 0);
		mod_timer(&lasting, jiffies + 1);
	} else if (!strcmp(mode, "selfcancel")) {
		INIT_WORK(&endless, cancel_self);
		schedule_work(&endless);
	} else if (!strcmp(mode, "selfdel")) {
		timer_setup(&lasting, delete_self, 0);
		mod_timer(&lasting, jiffies + 1);
	} else if (!strcmp(mode, "grace") || !strcmp(mode, "reader")) {
		holder = h;
		kthread_run(!strcmp(mode, "grace") ? read_it : read_well, NULL, "reader");
		msleep(8);
		kfree_rcu(h, rcu);
		msleep(120);
		return 0;
	} else if (!strcmp(mode, "barrier")) {
		call_rcu(&h->rcu, later);
		kthread_run(read_well, NULL, "reader");
		holder = h;
		return 0;
	}
	kfree(h); /* too early */
	return 0;
}

static void __exit outlived_exit(void)
{
	if (!strcmp(mode, "irqwait"))
		free_irq(7, &mode);
}

module_init(outlived_init);
module_exit(outlived_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("What is done later outlives what it needs");
