// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * threads - several threads and one counter (mode=)
 *
 * mode: mutex, spin (a spinlock), rwsem (the writer side of one), none (a lost
 * update race), abba (two mutexes in two orders), queue (producer and consumer
 * on a wait queue), turns (one that sleeps on a completion and on a mutex by
 * turns), hold (a mutex that is never released), stay (a thread
 * that outlives the module).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

static char *mode = "mutex";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "what guards the counter");

static int workers = 3;
module_param(workers, int, 0444);
MODULE_PARM_DESC(workers, "how many threads");

static int rounds = 200;
module_param(rounds, int, 0444);
MODULE_PARM_DESC(rounds, "how often each of them counts");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(lock);
static DECLARE_RWSEM(rwsem);
static DECLARE_WAIT_QUEUE_HEAD(room);
static DECLARE_WAIT_QUEUE_HEAD(goods);
static DECLARE_COMPLETION(all_done);
static DECLARE_COMPLETION(turn);
static atomic_t running = ATOMIC_INIT(0);
static int counter, stock, sum;
static struct task_struct *stayer;

static noinline int step(int value)
{
	return value + 1;
}

static noinline void count(void)
{
	int seen = READ_ONCE(counter);

	WRITE_ONCE(counter, step(seen));
}

static void over(void)
{
	if (atomic_dec_and_test(&running))
		complete(&all_done);
}

static int counting(void *arg)
{
	int i;

	for (i = 0; i < rounds; i++) {
		switch (mode[0]) {
		case 'm':
			mutex_lock(&first);
			count();
			mutex_unlock(&first);
			break;
		case 's':
			spin_lock(&lock);
			count();
			spin_unlock(&lock);
			break;
		case 'r':
			down_write(&rwsem);
			count();
			up_write(&rwsem);
			break;
		default:
			count();
		}
	}
	over();
	return 0;
}

static int forwards(void *arg)
{
	mutex_lock(&first);
	msleep(10);
	mutex_lock(&second);	/* AB */
	mutex_unlock(&second);
	mutex_unlock(&first);
	over();
	return 0;
}

static int backwards(void *arg)
{
	mutex_lock(&second);
	msleep(10);
	mutex_lock(&first);	/* BA */
	mutex_unlock(&first);
	mutex_unlock(&second);
	over();
	return 0;
}

static int produce(void *arg)
{
	int i;

	for (i = 0; i < rounds; i++) {
		wait_event(room, READ_ONCE(stock) == 0);
		WRITE_ONCE(stock, i + 1);
		wake_up(&goods);
	}
	over();
	return 0;
}

static int consume(void *arg)
{
	int i;

	for (i = 0; i < rounds; i++) {
		wait_event_interruptible(goods, READ_ONCE(stock) != 0);
		sum += stock;
		WRITE_ONCE(stock, 0);
		wake_up_interruptible_all(&room);
		wake_up(&room);
	}
	over();
	return 0;
}

static int give_turns(void *arg)
{
	int i;

	for (i = 0; i < rounds; i++) {
		mutex_lock(&first);
		complete(&turn);
		msleep(20);	/* the other one has come to the mutex */
		count();
		mutex_unlock(&first);
		msleep(20);	/* the other one has come to the completion */
	}
	over();
	return 0;
}

static int take_turns(void *arg)
{
	int i;

	for (i = 0; i < rounds; i++) {
		wait_for_completion(&turn);
		mutex_lock(&first);
		count();
		mutex_unlock(&first);
	}
	over();
	return 0;
}

static int stay(void *arg)
{
	while (!kthread_should_stop())
		msleep(5);
	return 7;
}

static int start(int (*fn)(void *), const char *name, int number)
{
	struct task_struct *task;

	atomic_inc(&running);
	task = kthread_run(fn, NULL, "%s/%d", name, number);
	return PTR_ERR_OR_ZERO(task);
}

static int __init threads_init(void)
{
	int i;

	atomic_inc(&running);
	if (!strcmp(mode, "abba")) {
		start(forwards, "forwards", 0);
		start(backwards, "backwards", 0);
	} else if (!strcmp(mode, "queue")) {
		start(produce, "produce", 0);
		start(consume, "consume", 0);
	} else if (!strcmp(mode, "turns")) {
		start(take_turns, "take", 0);
		start(give_turns, "give", 0);
	} else if (!strcmp(mode, "hold")) {
		mutex_lock(&first);
	} else if (!strcmp(mode, "stay") || !strcmp(mode, "halt")) {
		stayer = kthread_run(stay, NULL, "stayer");
	} else {
		for (i = 0; i < workers; i++)
			start(counting, "count", i);
	}
	over();
	wait_for_completion(&all_done);
	pr_info("%s: counter %d, sum %d\n", mode, counter, sum);
	if (mode[0] == 'n' && counter != workers * rounds)
		WARN(1, "an update was lost: %d of %d\n", counter, workers * rounds);
	return 0;
}

static void __exit threads_exit(void)
{
	if (!strcmp(mode, "halt"))
		pr_info("stopped: %d\n", kthread_stop(stayer));
}

module_init(threads_init);
module_exit(threads_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Threads that share a counter");
