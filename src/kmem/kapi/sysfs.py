"""Files in sysfs (fs/sysfs, drivers/base), 6.1: there is no sysfs, so nobody ever reads them."""

from __future__ import annotations

from kmem.kapi.registry import accepts

accepts(
    "fs/sysfs/group.c",
    "int sysfs_create_group(struct kobject *kobj, const struct attribute_group *grp)",
    "int sysfs_create_groups(struct kobject *kobj, const struct attribute_group **groups)",
    "void sysfs_remove_group(struct kobject *kobj, const struct attribute_group *grp)",
    "void sysfs_remove_groups(struct kobject *kobj, const struct attribute_group **groups)",
    "int sysfs_update_group(struct kobject *kobj, const struct attribute_group *grp)",
    "int sysfs_update_groups(struct kobject *kobj, const struct attribute_group **groups)",
    "int sysfs_merge_group(struct kobject *kobj, const struct attribute_group *grp)",
    "void sysfs_unmerge_group(struct kobject *kobj, const struct attribute_group *grp)",
    "int sysfs_add_link_to_group(struct kobject *kobj, const char *group_name, struct kobject *target, const "
    "char *link_name)",
    "void sysfs_remove_link_from_group(struct kobject *kobj, const char *group_name, const char *link_name)",
    how="there is no sysfs: no file is made",
)
accepts(
    "fs/sysfs/file.c",
    "int sysfs_create_file_ns(struct kobject *kobj, const struct attribute *attr, const void *ns)",
    "int sysfs_create_files(struct kobject *kobj, const struct attribute *const *ptr)",
    "void sysfs_remove_file_ns(struct kobject *kobj, const struct attribute *attr, const void *ns)",
    "void sysfs_remove_files(struct kobject *kobj, const struct attribute *const *ptr)",
    "bool sysfs_remove_file_self(struct kobject *kobj, const struct attribute *attr)",
    "int sysfs_create_bin_file(struct kobject *kobj, const struct bin_attribute *attr)",
    "void sysfs_remove_bin_file(struct kobject *kobj, const struct bin_attribute *attr)",
    "int sysfs_add_file_to_group(struct kobject *kobj, const struct attribute *attr, const char *group)",
    "void sysfs_remove_file_from_group(struct kobject *kobj, const struct attribute *attr, const char *group)",
    "int sysfs_chmod_file(struct kobject *kobj, const struct attribute *attr, umode_t mode)",
    "void sysfs_notify(struct kobject *kobj, const char *dir, const char *attr)",
    how="there is no sysfs: no file is made",
)
accepts(
    "fs/sysfs/symlink.c",
    "int sysfs_create_link(struct kobject *kobj, struct kobject *target, const char *name)",
    "int sysfs_create_link_nowarn(struct kobject *kobj, struct kobject *target, const char *name)",
    "void sysfs_remove_link(struct kobject *kobj, const char *name)",
    "int sysfs_rename_link_ns(struct kobject *kobj, struct kobject *targ, const char *old, const char *new, "
    "const void *new_ns)",
    how="there is no sysfs: no link is made",
)
accepts(
    "fs/sysfs/dir.c",
    "int sysfs_create_mount_point(struct kobject *parent_kobj, const char *name)",
    "void sysfs_remove_mount_point(struct kobject *parent_kobj, const char *name)",
    how="there is no sysfs: no directory is made",
)
accepts(
    "drivers/base/core.c",
    "int device_create_file(struct device *dev, const struct device_attribute *attr)",
    "void device_remove_file(struct device *dev, const struct device_attribute *attr)",
    "bool device_remove_file_self(struct device *dev, const struct device_attribute *attr)",
    "int device_create_bin_file(struct device *dev, const struct bin_attribute *attr)",
    "void device_remove_bin_file(struct device *dev, const struct bin_attribute *attr)",
    "int device_add_groups(struct device *dev, const struct attribute_group **groups)",
    "void device_remove_groups(struct device *dev, const struct attribute_group **groups)",
    "int devm_device_add_group(struct device *dev, const struct attribute_group *grp)",
    "int devm_device_add_groups(struct device *dev, const struct attribute_group **groups)",
    how="there is no sysfs: no file is made",
)
accepts(
    "drivers/base/driver.c",
    "int driver_create_file(struct device_driver *drv, const struct driver_attribute *attr)",
    "void driver_remove_file(struct device_driver *drv, const struct driver_attribute *attr)",
    "int bus_create_file(struct bus_type *bus, struct bus_attribute *attr)",
    "void bus_remove_file(struct bus_type *bus, struct bus_attribute *attr)",
    "int class_create_file_ns(struct class *cls, const struct class_attribute *attr, const void *ns)",
    "void class_remove_file_ns(struct class *cls, const struct class_attribute *attr, const void *ns)",
    how="there is no sysfs: no file is made",
)
accepts(
    "lib/kobject_uevent.c",
    "int kobject_uevent(struct kobject *kobj, enum kobject_action action)",
    "int kobject_uevent_env(struct kobject *kobj, enum kobject_action action, char **envp_ext)",
    how="there is nobody in user space to be told",
)
