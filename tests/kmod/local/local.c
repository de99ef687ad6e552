// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * local - one access to a variable a load, for the compiler's instrumentation
 *
 * from=   where the variable is: stack, second (behind another on the stack), alloca, global, constant, static
 * size=   its bytes, of alloca; the others have 20
 * at=     where in it the access is, from its start
 * width=  bytes of the access: 1, 2, 4 or 8; any number for set, copy and text
 * op=     read, write, set (memset), copy (memcpy from it), text (strscpy of that many characters to it), none
 */
#include <linux/module.h>
#include <linux/string.h>

static char *from = "stack", *op = "none";
static unsigned int size = 20, width = 1;
static int at;
module_param(from, charp, 0444);
module_param(op, charp, 0444);
module_param(size, uint, 0444);
module_param(width, uint, 0444);
module_param(at, int, 0444);

static char before[20], room[20], behind[20], text[512];
static const char constant[20] = "constant";

static noinline void touch(volatile void *p)
{
	OPTIMIZER_HIDE_VAR(p);
	if (!strcmp(op, "read")) {
		switch (width) {
		case 1: (void)*(volatile u8 *)p; break;
		case 2: (void)*(volatile u16 *)p; break;
		case 4: (void)*(volatile u32 *)p; break;
		default: (void)*(volatile u64 *)p;
		}
	} else if (!strcmp(op, "write")) {
		switch (width) {
		case 1: *(volatile u8 *)p = 1; break;
		case 2: *(volatile u16 *)p = 1; break;
		case 4: *(volatile u32 *)p = 1; break;
		default: *(volatile u64 *)p = 1;
		}
	} else if (!strcmp(op, "set")) {
		memset((void *)p, 1, width);
	} else if (!strcmp(op, "copy")) {
		memcpy(text, (void *)p, width);
	} else if (!strcmp(op, "text")) {
		memset(text, 'x', width);
		strscpy((char *)p, text, width + 1);
	}
	barrier(); /* the calls above return here */
}

static noinline void on_stack(void)
{
	char other[20], mine[20];

	memset(other, 0, sizeof(other));
	memset(mine, 0, sizeof(mine));
	barrier_data(other);
	touch((strcmp(from, "second") ? mine : other) + at);
	barrier_data(mine);
}

static noinline void on_alloca(void)
{
	char mine[size];

	memset(mine, 0, size);
	touch(mine + at);
	barrier_data(mine);
}

static noinline void on_data(void)
{
	static char own[20];

	barrier_data(before);
	barrier_data(behind);
	if (!strcmp(from, "global"))
		touch(room + at);
	else if (!strcmp(from, "static"))
		touch(own + at);
	else
		touch((void *)constant + at);
}

static int __init local_init(void)
{
	if (!strcmp(from, "stack") || !strcmp(from, "second"))
		on_stack();
	else if (!strcmp(from, "alloca"))
		on_alloca();
	else
		on_data();
	return 0;
}

static void __exit local_exit(void)
{
}

module_init(local_init);
module_exit(local_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("One access to a variable");
