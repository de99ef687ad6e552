/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/ioctl.h>
#include <linux/types.h>

struct notes_status {
	__u32 length;
	__u32 room;
};

#define NOTES_CLEAR _IO('n', 0)
#define NOTES_STATUS _IOR('n', 1, struct notes_status)
