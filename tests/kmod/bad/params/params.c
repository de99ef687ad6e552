// SPDX-License-Identifier: GPL-2.0-or-later
/* params - a module with one parameter of each kind; init prints them all. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

static bool p_bool;
module_param(p_bool, bool, 0444);

static bool p_invbool;
module_param(p_invbool, invbool, 0444);

static unsigned char p_byte = 1;
module_param(p_byte, byte, 0444);

static short p_short = -2;
module_param(p_short, short, 0444);

static unsigned short p_ushort = 3;
module_param(p_ushort, ushort, 0444);

static int p_int = -4;
module_param(p_int, int, 0644);
MODULE_PARM_DESC(p_int, "an int that sysfs may write");

static unsigned int p_uint = 5;
module_param(p_uint, uint, 0444);

static long p_long = -6;
module_param(p_long, long, 0444);

static unsigned long p_ulong = 7;
module_param(p_ulong, ulong, 0444);

static unsigned long long p_ullong = 8;
module_param(p_ullong, ullong, 0444);

static unsigned int p_hexint = 0x9;
module_param(p_hexint, hexint, 0444);

static char *p_charp = "ten";
module_param(p_charp, charp, 0444);

static char p_string[8] = "eleven";
module_param_string(p_string, p_string, sizeof(p_string), 0444);

static int p_ints[4] = { 12 };
static unsigned int n_ints = 1;
module_param_array(p_ints, int, &n_ints, 0444);

static char *p_names[3] = { "thirteen" };
static int n_names = 1;
module_param_array(p_names, charp, &n_names, 0444);

static int inside = 14;
module_param_named(p_named, inside, int, 0000);

static int p_even = 16;

/* A parameter with a setter of its own, which may refuse. */
static int set_even(const char *text, const struct kernel_param *kp)
{
	int value, err = kstrtoint(text, 0, &value);

	if (err)
		return err;
	return value % 2 ? -EINVAL : param_set_int(text, kp);
}

static const struct kernel_param_ops even_ops = {
	.set = set_even,
	.get = param_get_int,
};
module_param_cb(p_even, &even_ops, &p_even, 0644);

static int __init params_init(void)
{
	unsigned int i;

	pr_info("bool %d invbool %d byte %u short %d ushort %u int %d uint %u\n",
		p_bool, p_invbool, p_byte, p_short, p_ushort, p_int, p_uint);
	pr_info("long %ld ulong %lu ullong %llu hexint %#x charp %s string %s\n",
		p_long, p_ulong, p_ullong, p_hexint, p_charp, p_string);
	for (i = 0; i < n_ints; i++)
		pr_info("ints[%u] %d\n", i, p_ints[i]);
	for (i = 0; i < n_names; i++)
		pr_info("names[%u] %s\n", i, p_names[i]);
	pr_info("named %d even %d\n", inside, p_even);
	return 0;
}

static void __exit params_exit(void)
{
}

module_init(params_init);
module_exit(params_exit);
MODULE_DESCRIPTION("A module with one parameter of each kind");
MODULE_LICENSE("GPL");
