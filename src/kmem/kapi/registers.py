"""Extensions that modules register with subsystems that have no other part in the model, 6.1."""

from __future__ import annotations

from kmem.kapi.registry import registers

registers(
    "fs/quota/dquot.c",
    "int register_quota_format(struct quota_format_type *fmt)",
    "void unregister_quota_format(struct quota_format_type *fmt)",
)
registers(
    "security/keys/key.c",
    "int register_key_type(struct key_type *ktype)",
    "void unregister_key_type(struct key_type *ktype)",
    twice=17,
)
registers(
    "lib/textsearch.c",
    "int textsearch_register(struct ts_ops *ops)",
    "int textsearch_unregister(struct ts_ops *ops)",
    twice=17,
    absent=2,
)
registers(
    "mm/zpool.c",
    "void zpool_register_driver(struct zpool_driver *driver)",
    "int zpool_unregister_driver(struct zpool_driver *driver)",
)
registers(
    "block/elevator.c",
    "int elv_register(struct elevator_type *e)",
    "void elv_unregister(struct elevator_type *e)",
    twice=16,
)
registers(
    "drivers/cpufreq/cpufreq.c",
    "int cpufreq_register_governor(struct cpufreq_governor *governor)",
    "void cpufreq_unregister_governor(struct cpufreq_governor *governor)",
    twice=16,
)
registers(
    "drivers/acpi/bus.c",
    "int register_acpi_bus_type(struct acpi_bus_type *type)",
    "int unregister_acpi_bus_type(struct acpi_bus_type *type)",
    absent=19,
)
registers(
    "drivers/base/attribute_container.c",
    "int attribute_container_register(struct attribute_container *cont)",
    "int attribute_container_unregister(struct attribute_container *cont)",
)
registers(
    "drivers/input/input.c",
    "int input_register_handler(struct input_handler *handler)",
    "void input_unregister_handler(struct input_handler *handler)",
)
registers(
    "drivers/tty/tty_ldisc.c",
    "int tty_register_ldisc(struct tty_ldisc_ops *new_ldisc)",
    "void tty_unregister_ldisc(struct tty_ldisc_ops *ldisc)",
)
registers(
    "fs/nfs_common/nfs_ssc.c",
    "void nfs_ssc_register(const struct nfs_ssc_client_ops *ops)",
    "void nfs_ssc_unregister(const struct nfs_ssc_client_ops *ops)",
)
registers(
    "fs/nfs_common/nfs_ssc.c",
    "void nfs42_ssc_register(const struct nfs4_ssc_client_ops *ops)",
    "void nfs42_ssc_unregister(const struct nfs4_ssc_client_ops *ops)",
)
registers(
    "fs/binfmt_elf.c",
    "void __register_binfmt(struct linux_binfmt *fmt, int insert)",
    "void unregister_binfmt(struct linux_binfmt *fmt)",
)
registers(
    "drivers/gpio/gpiolib.c",
    "void gpiod_add_lookup_table(struct gpiod_lookup_table *table)",
    "void gpiod_remove_lookup_table(struct gpiod_lookup_table *table)",
)
registers(
    "drivers/devfreq/devfreq.c",
    "int devfreq_add_governor(struct devfreq_governor *governor)",
    "int devfreq_remove_governor(struct devfreq_governor *governor)",
    twice=22,
)
registers(
    "crypto/asymmetric_keys/asymmetric_type.c",
    "int register_asymmetric_key_parser(struct asymmetric_key_parser *parser)",
    "void unregister_asymmetric_key_parser(struct asymmetric_key_parser *parser)",
    twice=17,
)
registers(
    "block/blk-cgroup.c",
    "int blkcg_policy_register(struct blkcg_policy *pol)",
    "void blkcg_policy_unregister(struct blkcg_policy *pol)",
)
registers(
    "kernel/printk/printk.c",
    "void register_console(struct console *newcon)",
    "int unregister_console(struct console *console)",
)
registers(
    "arch/x86/kernel/nmi.c",
    "int __register_nmi_handler(unsigned int type, struct nmiaction *action)",
    "void unregister_nmi_handler(unsigned int type, const char *name)",
    which=1,
)
