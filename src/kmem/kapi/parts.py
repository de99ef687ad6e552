"""Parts of subsystems that modules use when they start, and that have no other part in the model, 6.1."""

from __future__ import annotations

from kmem.kapi.registry import accepts, answers, makes, registers

makes(
    "net/netlink/af_netlink.c",
    "struct sock *__netlink_kernel_create(struct net *net, int unit, struct module *module, struct "
    "netlink_kernel_cfg *cfg)",
    "void netlink_kernel_release(struct sock *sk)",
    size=1280,
    how="an opaque object; no message ever comes",
)
makes(
    "security/keys/keyring.c",
    "struct key *keyring_alloc(const char *description, kuid_t uid, kgid_t gid, const struct cred *cred, "
    "unsigned int perm, unsigned long flags, struct key_restriction *restrict_link, struct key *dest)",
    "void key_put(struct key *key)",
    size=256,
    how="an opaque object without keys, which the kernel keeps: whoever holds the credentials may put it",
    error=True,
    kept=True,
)
accepts(
    "security/keys/key.c",
    "void key_revoke(struct key *key)",
    "void key_invalidate(struct key *key)",
    "int key_unlink(struct key *keyring, struct key *key)",
    "int key_link(struct key *keyring, struct key *key)",
    how="keys are opaque",
)
makes(
    "security/keys/key.c",
    "struct key *key_alloc(struct key_type *type, const char *desc, kuid_t uid, kgid_t gid, const struct cred "
    "*cred, unsigned int perm, unsigned long flags, struct key_restriction *restrict_link)",
    size=256,
    how="an opaque object",
    error=True,
)
makes(
    "mm/backing-dev.c",
    "struct backing_dev_info *bdi_alloc(int node_id)",
    "void bdi_put(struct backing_dev_info *bdi)",
    size=1536,
    how="an opaque object; nothing is written back",
)
accepts(
    "mm/backing-dev.c",
    "int bdi_register(struct backing_dev_info *bdi, const char *fmt, ...)",
    "void bdi_unregister(struct backing_dev_info *bdi)",
    "int bdi_set_max_ratio(struct backing_dev_info *bdi, unsigned int max_ratio)",
    how="nothing is written back",
)
accepts(
    "drivers/tty/n_tty.c",
    "void n_tty_inherit_ops(struct tty_ldisc_ops *ops)",
    how="the operations stay as they are",
)
accepts(
    "net/ethtool/common.c",
    "void ethtool_set_ethtool_phy_ops(const struct ethtool_phy_ops *ops)",
    how="nobody asks the PHY",
)
accepts(
    "drivers/dma/dmaengine.c",
    "void dmaengine_get(void)",
    "void dmaengine_put(void)",
    how="there is no DMA engine",
)
registers(
    "drivers/base/attribute_container.c",
    "int transport_class_register(struct transport_class *tclass)",
    "void transport_class_unregister(struct transport_class *tclass)",
)
registers(
    "drivers/base/attribute_container.c",
    "int anon_transport_class_register(struct anon_transport_class *atc)",
    "void anon_transport_class_unregister(struct anon_transport_class *atc)",
)
registers(
    "drivers/connector/connector.c",
    "int cn_add_callback(const struct cb_id *id, const char *name, void *callback)",
    "void cn_del_callback(const struct cb_id *id)",
)


answers(
    0,
    "drivers/gpu/drm/drm_nomodeset.c",
    "bool drm_firmware_drivers_only(void)",
    how="no nomodeset on the command line",
)
answers(
    0,
    "drivers/hv/hv_common.c",
    "bool hv_is_hyperv_initialized(void)",
    "bool hv_is_isolation_supported(void)",
    "bool hv_is_hibernation_supported(void)",
    how="there is no Hyper-V",
)
accepts(
    "drivers/mtd/mtdcore.c",
    "void ledtrig_mtd_activity(void)",
    how="there is no such LED",
)
accepts(
    "kernel/trace/trace.c",
    "void trace_array_put(struct trace_array *this_tr)",
    "int trace_array_set_clr_event(struct trace_array *tr, const char *system, const char *event, bool enable)",
    "int trace_array_init_printk(struct trace_array *tr)",
    how="there is no tracing",
)
makes(
    "kernel/trace/trace.c",
    "struct trace_array *trace_array_get_by_name(const char *name)",
    "int trace_array_destroy(struct trace_array *this_tr)",
    size=256,
    how="there is no tracing",
    kept=True,
)
accepts(
    "drivers/cxl/core/port.c",
    "void cxl_bus_drain(void)",
    how="there is no such device",
)
makes(
    "mm/memory-tiers.c",
    "struct memory_dev_type *alloc_memory_type(int adistance)",
    "void destroy_memory_type(struct memory_dev_type *memtype)",
    size=96,
    how="an opaque object",
    error=True,
)
accepts(
    "drivers/base/dd.c",
    "void wait_for_device_probe(void)",
    how="probing is never asynchronous",
)
accepts(
    "kernel/sched/core.c",
    "void sched_set_fifo(struct task_struct *p)",
    "void sched_set_fifo_low(struct task_struct *p)",
    "void sched_set_normal(struct task_struct *p, int nice)",
    "void set_user_nice(struct task_struct *p, long nice)",
    how="every task has one priority",
)
accepts(
    "drivers/edac/edac_mc.c",
    "int edac_mc_add_mc_with_groups(struct mem_ctl_info *mci, const struct attribute_group **groups)",
    how="there is no memory controller",
)
answers(
    0,
    "drivers/edac/edac_mc.c",
    "const char *edac_get_owner(void)",
    "struct mem_ctl_info *edac_mc_alloc(unsigned int mc_num, unsigned int n_layers, struct edac_mc_layer "
    "*layers, unsigned int sz_pvt)",
    "struct mem_ctl_info *edac_mc_del_mc(struct device *dev)",
    "void edac_mc_free(struct mem_ctl_info *mci)",
    "struct mem_ctl_info *find_mci_by_dev(struct device *dev)",
    "struct edac_device_ctl_info *edac_device_alloc_ctl_info(unsigned int pvt_sz, char *dev_name, unsigned int "
    "nr_instances, char *blk_name, unsigned int nr_blocks, unsigned int off_val, struct "
    "edac_dev_sysfs_block_attribute *attrib_spec, unsigned int nr_attrib, int device_index)",
    "struct edac_pci_ctl_info *edac_pci_alloc_ctl_info(unsigned int sz_pvt, const char *edac_pci_name)",
    how="no memory controller is found",
)
accepts(
    "net/core/rtnetlink.c",
    "int rtnl_unregister(int protocol, int msgtype)",
    "void rtnl_unregister_all(int protocol)",
    "void __rtnl_unregister_many(const struct rtnl_msg_handler *handlers, int n)",
    how="no message ever comes",
)
answers(
    0,
    "net/core/rtnetlink.c",
    "int rtnl_register_module(struct module *owner, int protocol, int msgtype, void *doit, void *dumpit, "
    "unsigned int flags)",
    "int __rtnl_register_many(const struct rtnl_msg_handler *handlers, int n)",
    how="no message ever comes",
)
accepts(
    "net/l3mdev/l3mdev.c",
    "int l3mdev_table_lookup_register(enum l3mdev_type l3type, void *fn)",
    "void l3mdev_table_lookup_unregister(enum l3mdev_type l3type, void *fn)",
    how="there is no such device",
)
accepts(
    "drivers/char/hw_random/core.c",
    "int hwrng_register(struct hwrng *rng)",
    "void hwrng_unregister(struct hwrng *rng)",
    "int devm_hwrng_register(struct device *dev, struct hwrng *rng)",
    "void devm_hwrng_unregister(struct device *dev, struct hwrng *rng)",
    how="nobody takes random bytes from it",
)
accepts(
    "drivers/leds/led-class.c",
    "void led_classdev_unregister(struct led_classdev *led_cdev)",
    "void led_classdev_suspend(struct led_classdev *led_cdev)",
    "void led_classdev_resume(struct led_classdev *led_cdev)",
    "void led_trigger_event(struct led_trigger *trig, enum led_brightness brightness)",
    "void led_set_brightness(struct led_classdev *led_cdev, unsigned int brightness)",
    "void led_trigger_blink(struct led_trigger *trig, unsigned long *delay_on, unsigned long *delay_off)",
    "void led_trigger_blink_oneshot(struct led_trigger *trig, unsigned long *delay_on, unsigned long "
    "*delay_off, int invert)",
    how="there is no LED",
)
answers(
    0,
    "drivers/leds/led-class.c",
    "int led_classdev_register_ext(struct device *parent, struct led_classdev *led_cdev, struct led_init_data "
    "*init_data)",
    how="there is no LED",
)
answers(
    42312,
    "lib/zlib_inflate/inflate.c",
    "int zlib_inflate_workspacesize(void)",
    how="the size is near that of the kernel",
)
answers(
    268104,
    "lib/zlib_deflate/deflate.c",
    "int zlib_deflate_workspacesize(int windowBits, int memLevel)",
    how="the size is that of the largest window and level",
)
accepts(
    "kernel/power/suspend.c",
    "void register_syscore_ops(struct syscore_ops *ops)",
    "void unregister_syscore_ops(struct syscore_ops *ops)",
    how="the machine never sleeps",
)
accepts(
    "drivers/power/supply/power_supply_core.c",
    "void power_supply_changed(struct power_supply *psy)",
    "void power_supply_put(struct power_supply *psy)",
    how="there is no power supply",
)
accepts(
    "fs/dcache.c",
    "void shrink_dcache_sb(struct super_block *sb)",
    "void shrink_dcache_parent(struct dentry *parent)",
    "void d_prune_aliases(struct inode *inode)",
    how="directory entries are not cached",
)
