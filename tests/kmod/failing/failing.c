// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * failing - a probe of four allocations whose error path has one fault, chosen by fault=
 *
 * none   everything is freed
 * leak   the second object is forgotten when the third allocation fails
 * null   the result of the fourth allocation is not looked at
 * twice  the first object is freed twice when the fourth fails
 * stale  the error path writes to the second object after freeing it
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

static char *fault = "none";
module_param(fault, charp, 0444);

struct device_state {
	int *numbers;
	char *name;
	void *area;
};

static struct device_state *state;

static int __init failing_init(void)
{
	int err = -ENOMEM;

	state = kzalloc(sizeof(*state), GFP_KERNEL);
	if (!state)
		return err;
	state->numbers = kcalloc(16, sizeof(int), GFP_KERNEL);
	if (!state->numbers)
		goto free_state;
	state->name = kstrdup("failing", GFP_KERNEL);
	if (!state->name) {
		if (!strcmp(fault, "leak"))
			goto free_state;
		goto free_numbers;
	}
	state->area = vmalloc(10000);
	if (!strcmp(fault, "null")) {
		*(int *)state->area = 1;
		return 0;
	}
	if (!state->area)
		goto free_name;
	return 0;

free_name:
	kfree(state->name);
	if (!strcmp(fault, "twice"))
		kfree(state->name);
free_numbers:
	kfree(state->numbers);
	if (!strcmp(fault, "stale"))
		WRITE_ONCE(state->numbers[3], 1);
free_state:
	kfree(state);
	return err;
}

static void __exit failing_exit(void)
{
	vfree(state->area);
	kfree(state->name);
	kfree(state->numbers);
	kfree(state);
}

module_init(failing_init);
module_exit(failing_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("An error path with a fault");
