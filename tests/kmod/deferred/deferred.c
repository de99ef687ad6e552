// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * deferred - work that the kernel does later (mode=)
 *
 * mode: timer (re-arms itself), hrtimer, work (a delayed one that queues itself
 * again), tasklet, irqwork, rcu (callbacks that free), sync (waits for a grace
 * period that a reader holds up), cpus (a function on each), irq (a line).
 * leave=1: exit takes nothing back.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

static char *mode = "timer";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "what is done later");

static bool leave;
module_param(leave, bool, 0444);
MODULE_PARM_DESC(leave, "take nothing back");

static int calls;
static unsigned long started;

static void say(const char *what)
{
	pr_info("%s %d: hardirq %d softirq %d task %d irqs off %d, %s\n", what, calls, !!in_hardirq(),
		!!in_serving_softirq(), !!in_task(), irqs_disabled(), in_task() ? current->comm : "-");
}

static void ring(struct timer_list *t)
{
	calls++;
	say("timer");
	if (calls < 3 || leave)
		mod_timer(t, jiffies + 2);
}

static DEFINE_TIMER(timer, ring);

static struct hrtimer fine;

static enum hrtimer_restart strike(struct hrtimer *t)
{
	calls++;
	say("hrtimer");
	if (calls == 3)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(t, ns_to_ktime(500000));
	return HRTIMER_RESTART;
}

static void toil(struct work_struct *work);
static DECLARE_DELAYED_WORK(toiling, toil);

static void toil(struct work_struct *work)
{
	calls++;
	say("work");
	msleep(4);
	if (calls < 3 || leave)
		schedule_delayed_work(&toiling, 1);
}

static void drop(struct tasklet_struct *t)
{
	calls++;
	say("tasklet");
}

static DECLARE_TASKLET(dropping, drop);

static void poke(struct irq_work *work)
{
	calls++;
	say("irqwork");
}

static DEFINE_IRQ_WORK(poking, poke);

struct thing {
	struct rcu_head rcu;
	int value;
};

static void throw_away(struct rcu_head *rcu)
{
	calls++;
	say("rcu");
	kfree(container_of(rcu, struct thing, rcu));
}

static int read_long(void *arg)
{
	rcu_read_lock();
	mdelay(40);
	calls = 40;
	rcu_read_unlock();
	return 0;
}

static void here(void *info)
{
	atomic_add(1 << (4 * smp_processor_id()), info);
}

static irqreturn_t hard(int irq, void *dev)
{
	calls++;
	say("irq");
	return IRQ_WAKE_THREAD;
}

static irqreturn_t threaded(int irq, void *dev)
{
	calls++;
	say("thread");
	return IRQ_HANDLED;
}

static void init_rcu(void)
{
	int i;

	for (i = 0; i < 3; i++) {
		struct thing *thing = kmalloc(sizeof(*thing), GFP_KERNEL);

		if (thing && i < 2)
			call_rcu(&thing->rcu, throw_away);
		else if (thing)
			kfree_rcu(thing, rcu);
	}
}

static int __init deferred_init(void)
{
	atomic_t sum = ATOMIC_INIT(0);

	started = jiffies;
	if (!strcmp(mode, "timer")) {
		mod_timer(&timer, jiffies + 2);
	} else if (!strcmp(mode, "hrtimer")) {
		hrtimer_init(&fine, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
		fine.function = strike;
		hrtimer_start(&fine, ns_to_ktime(500000), HRTIMER_MODE_REL);
	} else if (!strcmp(mode, "work")) {
		schedule_delayed_work(&toiling, 1);
	} else if (!strcmp(mode, "tasklet")) {
		tasklet_schedule(&dropping);
	} else if (!strcmp(mode, "irqwork")) {
		irq_work_queue(&poking);
	} else if (!strcmp(mode, "rcu")) {
		init_rcu();
	} else if (!strcmp(mode, "sync")) {
		kthread_run(read_long, NULL, "reader");
		msleep(8);
		synchronize_rcu();
		pr_info("sync: %d\n", calls);
	} else if (!strcmp(mode, "cpus")) {
		on_each_cpu(here, &sum, 1);
		pr_info("cpus: %x\n", atomic_read(&sum));
	} else if (!strcmp(mode, "irq")) {
		return request_threaded_irq(9, hard, threaded, 0, "deferred", &calls);
	}
	return 0;
}

static void __exit deferred_exit(void)
{
	if (leave)
		return;
	if (!strcmp(mode, "timer"))
		del_timer_sync(&timer);
	else if (!strcmp(mode, "hrtimer"))
		hrtimer_cancel(&fine);
	else if (!strcmp(mode, "work"))
		cancel_delayed_work_sync(&toiling);
	else if (!strcmp(mode, "tasklet"))
		tasklet_kill(&dropping);
	else if (!strcmp(mode, "irqwork"))
		irq_work_sync(&poking);
	else if (!strcmp(mode, "rcu"))
		rcu_barrier();
	else if (!strcmp(mode, "irq"))
		free_irq(9, &calls);
	pr_info("calls: %d\n", calls);
}

module_init(deferred_init);
module_exit(deferred_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Work that is done later");
