// SPDX-License-Identifier: GPL-2.0-or-later
/* A kthread_worker: works run in order, a delayed one when its time has come, none after it was cancelled. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>

static int cpu = -1;
module_param(cpu, int, 0444);

struct job {
	struct kthread_work work;
	int number;
};

static struct kthread_worker *worker;
static struct job jobs[3];
static struct kthread_delayed_work later, never;
static int again;

static void run(struct kthread_work *work)
{
	struct job *job = container_of(work, struct job, work);

	pr_info("job %d in %s on CPU %d\n", job->number, current->comm, cpu < 0 ? -1 : raw_smp_processor_id());
	if (job->number == 0 && again++ < 2)
		kthread_queue_work(worker, work);
	msleep(job->number);
}

static void run_later(struct kthread_work *work)
{
	pr_info("later\n");
}

static void run_never(struct kthread_work *work)
{
	pr_info("never\n");
}

static int __init worker_init(void)
{
	int i;

	worker = cpu < 0 ? kthread_create_worker(0, "jobs-%d", 7) : kthread_create_worker_on_cpu(cpu, 0, "jobs/%u", cpu);
	if (IS_ERR(worker))
		return PTR_ERR(worker);
	for (i = 0; i < 3; i++) {
		jobs[i].number = i;
		kthread_init_work(&jobs[i].work, run);
		pr_info("queued: %d\n", kthread_queue_work(worker, &jobs[i].work));
	}
	pr_info("queued again: %d\n", kthread_queue_work(worker, &jobs[2].work));
	kthread_flush_work(&jobs[2].work);
	pr_info("flushed\n");
	kthread_init_delayed_work(&later, run_later);
	kthread_init_delayed_work(&never, run_never);
	kthread_queue_delayed_work(worker, &later, msecs_to_jiffies(20));
	kthread_queue_delayed_work(worker, &never, msecs_to_jiffies(20));
	pr_info("cancelled: %d\n", kthread_cancel_delayed_work_sync(&never));
	pr_info("moved: %d\n", kthread_mod_delayed_work(worker, &later, msecs_to_jiffies(4)));
	msleep(40);
	pr_info("cancelled: %d\n", kthread_cancel_work_sync(&jobs[1].work));
	return 0;
}

static void __exit worker_exit(void)
{
	kthread_queue_work(worker, &jobs[1].work);
	kthread_destroy_worker(worker);
	pr_info("destroyed\n");
}

module_init(worker_init);
module_exit(worker_exit);
MODULE_LICENSE("GPL");
