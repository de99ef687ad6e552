// SPDX-License-Identifier: GPL-2.0-or-later
#include "deref.h"

int deref(const struct record *r)
{
	return READ_ONCE(r->value);
}
