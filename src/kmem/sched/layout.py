"""Where the scheduler keeps what it knows, in simulated RAM.

In the kernel's own fields: ``task_struct`` (``__state``, ``on_rq``, ``on_cpu``, ``stack``, ``thread.sp``, the CPU in
``thread_info``), ``current_task`` and ``__preempt_count`` of each CPU. In private
structures: the *block* (``kmem_sched``, one for the machine) and a *record* for each task, at the top of its kernel
stack, where a real one has room for the user's registers.
"""

from __future__ import annotations

from typing import Any

THREAD_SIZE = 16 << 10
RECORD_SIZE = 512
RECORD = THREAD_SIZE - RECORD_SIZE
"""Offset of a task's record in its stack; the stack proper ends below it."""

# The record of a task.
WAITER, SWAITER = 0, 24
"""The wait queue entry of the kernel function in which the task sleeps: mutex_waiter and its like, which begin with
their list, and swait_queue, whose list comes after the task. Each is told by its list from one that does not wait, so
neither may lie on the other's."""
SWAITER_LIST = SWAITER + 8
SLEEPER = 48
"""Link in the block's list of tasks that sleep for a time, which is sorted by `DEADLINE`."""
DEADLINE = 64
KIND, OBJECT, CALLER = 72, 80, 88
"""What the task waits for, the lock or queue, and the return address of the call in which it waits."""
COUNT, IRQS = 96, 100
"""Preemption count and interrupt flag of a task that does not run."""
SEEN = 104
"""What a spinning CPU saw at `OBJECT`: it goes on when there is something else."""
READER = 112
"""The RCU grace period that waits for this task to leave its read-side sections."""
BARRIER = 128
"""A ``work_struct`` that is queued behind the one that flush_work() waits for."""
KTHREAD = 192
"""What the kernel has in ``struct kthread``: flags, the function and its argument, and what the thread returned."""
KTHREAD_FLAGS, KTHREAD_FN, KTHREAD_DATA, KTHREAD_RESULT, KTHREAD_CPU = 192, 200, 208, 216, 224
WORKER = 240
"""What a kworker executes now: work, function, queue, and the works that it must do next."""
WORKER_WORK, WORKER_FUNC, WORKER_QUEUE, WORKER_NEXT, WORKER_POOL = 240, 248, 256, 264, 280
RCU_HEAD = 336
"""A ``struct rcu_head`` for a task that waits for a grace period."""
CALL_NEXT, CALL_FUNC, CALL_INFO, CALL_CPUS = 352, 360, 368, 376
"""A function that other CPUs call for this task, and how many have not done it yet."""
TASK = 320
"""The task whose record this is."""

# The block.
SEED, STARTED, SLEEPERS, TIMERS, HRTIMERS = 0, 8, 16, 32, 48
ZOMBIES = 80
"""Head of the list of threads that have ended and whose stacks are to be freed, linked by ``tasks``."""
SPINNERS = 96
"""How many CPUs spin."""
CPUS, CPU_SIZE = 128, 128
QUEUE, IDLE, IRQ_PENDING, SOFTIRQ_PENDING, TASKLETS, TASKLETS_HI = 0, 16, 24, 28, 32, 40
"""For each CPU: tasks that wait for it, its idle task, interrupts and softirqs that wait, lists of tasklets."""
RUNNING_TIMER, RUNNING_HRTIMER, IRQ_WORKS, CALLS, NEEDS_QS = 48, 56, 64, 72, 80
"""The timers whose functions run, what waits for an interrupt to call it, and whether a grace period waits for it."""
BLOCK_SIZE = CPUS + 64 * CPU_SIZE

# struct pt_regs, as the entry code stores it: the registers of a task that was interrupted.
PT_REGS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8"),
    *("rax", "rcx", "rdx", "rsi", "rdi", "", "rip", "", "eflags", "rsp", ""),
)
PT_REGS_SIZE = 8 * len(PT_REGS)

TASK_RUNNING, TASK_INTERRUPTIBLE, TASK_UNINTERRUPTIBLE = 0, 1, 2
TASK_PARKED, TASK_DEAD, TASK_WAKEKILL, TASK_NEW, TASK_FREEZABLE = 0x40, 0x80, 0x100, 0x800, 0x2000
TASK_NORMAL = TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE
TASK_KILLABLE = TASK_WAKEKILL | TASK_UNINTERRUPTIBLE
PF_KTHREAD, PF_WQ_WORKER, PF_NO_SETAFFINITY, PF_IDLE = 0x00200000, 0x20, 0x04000000, 0x2
HARDIRQ_OFFSET, SOFTIRQ_OFFSET, IN_INTERRUPT, PREEMPT_INVERTED = 1 << 16, 1 << 8, 0xFFFF00, 1 << 31


class Offsets:
    """Offsets of the fields of ``task_struct`` that are used here."""

    def __init__(self, layout: Any) -> None:
        task = layout["task_struct"]
        self.state, self.stack = task.offset("__state"), task.offset("stack")
        self.flags, self.on_cpu, self.on_rq = task.offset("flags"), task.offset("on_cpu"), task.offset("on_rq")
        self.cpu = task.offset("thread_info") + layout["thread_info"].offset("cpu")
        self.queued = task.offset("se") + layout["sched_entity"].offset("group_node")
        self.tasks, self.comm, self.pid = task.offset("tasks"), task.offset("comm"), task.offset("pid")
        self.usage = task.offset("usage")
        self.sp = task.offset("thread") + layout["thread_struct"].offset("sp")
        self.cpus_mask, self.cpus_ptr = task.offset("cpus_mask"), task.offset("cpus_ptr")
        self.nr_cpus_allowed = task.offset("nr_cpus_allowed")
        self.nesting = task.offset("rcu_read_lock_nesting")
        self.exit_state = task.offset("exit_state")
        self.worker_private = task.offset("worker_private")
