// SPDX-License-Identifier: GPL-2.0-or-later
/* Goes through an array: work=0 a load and a store for each element, work=1 some arithmetic on it as well. */
#include <linux/module.h>
#include <linux/slab.h>

static uint count, work;
module_param(count, uint, 0444);
module_param(work, uint, 0444);

#define WORDS 512

static noinline u32 mix(u32 value)
{
	int i;

	for (i = 0; i < 16; i++)
		value = (value ^ value >> 15) * 0x2c1b3c6d + i;
	return value;
}

static int __init loop_init(void)
{
	u32 *words = kcalloc(WORDS, sizeof(*words), GFP_KERNEL);
	uint i;

	if (!words)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		u32 *word = &words[i % WORDS];

		WRITE_ONCE(*word, work ? mix(*word) : READ_ONCE(*word) + 1);
	}
	kfree(words);
	return 0;
}

static void __exit loop_exit(void)
{
}

module_init(loop_init);
module_exit(loop_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A loop over an array");
