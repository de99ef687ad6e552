// SPDX-License-Identifier: GPL-2.0-or-later
/* One of each: an input device, a disk, an IPv6 address, the name of the machine, a step for CPUs. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/blkdev.h>
#include <linux/cpuhotplug.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/utsname.h>
#include <net/ipv6.h>

static DEFINE_PER_CPU(int, seen);
static struct input_dev *keys;
static struct gendisk *disk;
static int state;
static const struct block_device_operations operations = { .owner = THIS_MODULE };

static int online(unsigned int cpu)
{
	this_cpu_write(seen, cpu + 100);
	return 0;
}

static int offline(unsigned int cpu)
{
	pr_info("offline %u: %d\n", cpu, this_cpu_read(seen));
	return 0;
}

static void address(const char *text, struct in6_addr addr)
{
	pr_info("%s: %#x\n", text, __ipv6_addr_type(&addr));
}

static int __init subsystems_init(void)
{
	struct file *file;
	struct sysinfo info;
	int error, cpu;

	keys = input_allocate_device();
	if (!keys)
		return -ENOMEM;
	keys->name = "Two keys";
	input_set_capability(keys, EV_KEY, KEY_A);
	input_set_capability(keys, EV_KEY, KEY_B);
	input_set_abs_params(keys, ABS_X, -5, 5, 1, 0);
	error = input_register_device(keys);
	if (error) {
		input_free_device(keys);
		return error;
	}
	pr_info("keys %d%d%d, x from %d\n", test_bit(KEY_A, keys->keybit), test_bit(KEY_B, keys->keybit),
		test_bit(KEY_C, keys->keybit), keys->absinfo[ABS_X].minimum);

	disk = blk_alloc_disk(NUMA_NO_NODE);
	if (!disk)
		return -ENOMEM;
	strscpy(disk->disk_name, "nothing", DISK_NAME_LEN);
	disk->fops = &operations;
	disk->minors = 1;
	blk_queue_logical_block_size(disk->queue, 4096);
	set_capacity(disk, 2048);
	error = add_disk(disk);
	pr_info("disk %s: %d, %llu sectors of %u\n", disk->disk_name, error, get_capacity(disk),
		queue_logical_block_size(disk->queue));

	state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "subsystems:online", online, offline);
	for_each_online_cpu(cpu)
		pr_info("CPU %d: %d\n", cpu, per_cpu(seen, cpu));

	address("any", in6addr_any);
	address("loopback", in6addr_loopback);
	address("all nodes", in6addr_linklocal_allnodes);
	file = filp_open("/etc/subsystems", O_RDONLY, 0);
	pr_info("file: %d\n", PTR_ERR_OR_ZERO(file));
	si_meminfo(&info);
	pr_info("memory: %d\n", info.totalram > info.freeram && info.freeram > 1000 && info.mem_unit == PAGE_SIZE);
	pr_info("%s %s\n", utsname()->sysname, utsname()->machine);
	return 0;
}

static void __exit subsystems_exit(void)
{
	cpuhp_remove_state(state);
	del_gendisk(disk);
	put_disk(disk);
	input_unregister_device(keys);
}

module_init(subsystems_init);
module_exit(subsystems_exit);
MODULE_LICENSE("GPL");
