/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A read that the compiler puts into its caller, and one in another file. */
#ifndef DEREF_H
#define DEREF_H

#include <linux/compiler.h>

struct record {
	long pad[8];
	int value;
};

int deref(const struct record *r);

static __always_inline int deref_inline(const struct record *r)
{
	return READ_ONCE(r->value);
}

#endif
