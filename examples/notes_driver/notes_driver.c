// SPDX-License-Identifier: GPL-2.0-or-later
/* /dev/notes: every program that opens it has a note of its own, which it writes, reads, seeks in and clears. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "notes.h"

static unsigned int room = 256;
module_param(room, uint, 0444);
MODULE_PARM_DESC(room, "bytes of a note");

struct note {
	struct mutex lock;
	size_t length;
	char *text;
};

static int notes_open(struct inode *inode, struct file *file)
{
	struct note *note = kzalloc(sizeof(*note), GFP_KERNEL);

	if (!note)
		return -ENOMEM;
	note->text = kzalloc(room, GFP_KERNEL);
	if (!note->text) {
		kfree(note);
		return -ENOMEM;
	}
	mutex_init(&note->lock);
	file->private_data = note;
	return 0;
}

static int notes_release(struct inode *inode, struct file *file)
{
	struct note *note = file->private_data;

	kfree(note->text);
	kfree(note);
	return 0;
}

static ssize_t notes_read(struct file *file, char __user *to, size_t count, loff_t *position)
{
	struct note *note = file->private_data;
	ssize_t done;

	mutex_lock(&note->lock);
	done = simple_read_from_buffer(to, count, position, note->text, note->length);
	mutex_unlock(&note->lock);
	return done;
}

static ssize_t notes_write(struct file *file, const char __user *from, size_t count, loff_t *position)
{
	struct note *note = file->private_data;
	ssize_t done;

	if (*position >= room)
		return -ENOSPC;
	mutex_lock(&note->lock);
	done = simple_write_to_buffer(note->text, room, position, from, count);
	if (done > 0)
		note->length = max_t(size_t, note->length, *position);
	mutex_unlock(&note->lock);
	return done;
}

static loff_t notes_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence, room);
}

static long notes_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct note *note = file->private_data;
	struct notes_status status = {};
	long error = 0;

	mutex_lock(&note->lock);
	switch (command) {
	case NOTES_CLEAR:
		memset(note->text, 0, room);
		note->length = 0;
		break;
	case NOTES_STATUS:
		status.length = note->length;
		status.room = room;
		if (copy_to_user((void __user *)argument, &status, sizeof(status)))
			error = -EFAULT;
		break;
	default:
		error = -ENOTTY;
	}
	mutex_unlock(&note->lock);
	return error;
}

static const struct file_operations notes_fops = {
	.owner = THIS_MODULE,
	.open = notes_open,
	.release = notes_release,
	.read = notes_read,
	.write = notes_write,
	.llseek = notes_llseek,
	.unlocked_ioctl = notes_ioctl,
};

static struct miscdevice notes_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "notes",
	.fops = &notes_fops,
};
module_misc_device(notes_device);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A note for every open file");
