"""The rest of what modules of the network, of security and of devices call when they start, 6.1."""

from __future__ import annotations

from kmem.kapi.registry import accepts, answers, makes, registers

makes(
    "security/keys/key.c",
    "struct key *key_create_or_update(void *keyring_ref, const char *type, const char *description, const void "
    "*payload, size_t plen, unsigned int perm, unsigned long flags)",
    size=256,
    how="an opaque object",
    error=True,
)
accepts(
    "net/ipv4/inet_fragment.c",
    "int inet_frags_init(struct inet_frags *f)",
    "void inet_frags_fini(struct inet_frags *f)",
    how="there are no fragments",
)
accepts(
    "kernel/bpf/btf.c",
    "int register_btf_kfunc_id_set(enum bpf_prog_type prog_type, const struct btf_kfunc_id_set *kset)",
    "int register_btf_id_dtor_kfuncs(const struct btf_id_dtor_kfunc *dtors, u32 add_cnt, struct module *owner)",
    how="there is no BPF",
)
accepts(
    "net/core/dev.c",
    "void synchronize_net(void)",
    how="nobody reads meanwhile: there is one task",
)
registers(
    "net/xfrm/xfrm_input.c",
    "int xfrm_input_register_afinfo(const struct xfrm_input_afinfo *afinfo)",
    "int xfrm_input_unregister_afinfo(const struct xfrm_input_afinfo *afinfo)",
)
registers(
    "net/core/sock_diag.c",
    "void sock_diag_register_inet_compat(const struct sock_diag_inet_compat *ptr)",
    "void sock_diag_unregister_inet_compat(const struct sock_diag_inet_compat *ptr)",
)
makes(
    "kernel/cred.c",
    "struct cred *prepare_kernel_cred(struct task_struct *daemon)",
    "void __put_cred(struct cred *cred)",
    size=176,
    how="an opaque object",
    count=1,
)
accepts(
    "mm/list_lru.c",
    "int __list_lru_init(struct list_lru *lru, bool memcg_aware, struct lock_class_key *key, struct shrinker "
    "*shrinker)",
    "void list_lru_destroy(struct list_lru *lru)",
    how="nothing is ever in the list",
)
accepts(
    "net/socket.c",
    "void brioctl_set(void *hook)",
    "void vlan_ioctl_set(void *hook)",
    how="nobody calls the hook",
)
accepts(
    "net/xfrm/xfrm_policy.c",
    "void xfrm_if_register_cb(const struct xfrm_if_cb *ifcb)",
    "void xfrm_if_unregister_cb(void)",
    how="nobody calls it",
)
accepts(
    "net/netfilter/nf_queue.c",
    "void nf_register_queue_handler(const struct nf_queue_handler *qh)",
    "void nf_unregister_queue_handler(void)",
    how="there is no packet",
)
answers(
    1,
    "net/ipv6/af_inet6.c",
    "bool ipv6_mod_enabled(void)",
    how="IPv6 is on",
)
accepts(
    "drivers/tty/tty_baudrate.c",
    "void tty_termios_encode_baud_rate(struct ktermios *termios, unsigned int ibaud, unsigned int obaud)",
    how="the speeds stay as they are",
)
accepts(
    "drivers/base/firmware_loader/main.c",
    "void release_firmware(const struct firmware *fw)",
    how="there is no firmware",
)
answers(
    -2,
    "drivers/base/firmware_loader/main.c",
    "int request_firmware(const struct firmware **firmware_p, const char *name, struct device *device)",
    "int request_firmware_direct(const struct firmware **firmware_p, const char *name, struct device *device)",
    "int firmware_request_nowarn(const struct firmware **firmware, const char *name, struct device *device)",
    "int request_firmware_nowait(struct module *module, bool uevent, const char *name, struct device *device, "
    "gfp_t gfp, void *context, void *cont)",
    how="there is no file of firmware: -ENOENT",
)
registers(
    "net/netfilter/core.c",
    "int nf_register_net_hook(struct net *net, const struct nf_hook_ops *reg)",
    "void nf_unregister_net_hook(struct net *net, const struct nf_hook_ops *reg)",
    which=1,
)
accepts(
    "net/netfilter/core.c",
    "int nf_register_net_hooks(struct net *net, const struct nf_hook_ops *reg, unsigned int n)",
    "void nf_unregister_net_hooks(struct net *net, const struct nf_hook_ops *reg, unsigned int hookcount)",
    how="there is no packet",
)
accepts(
    "net/core/fib_notifier.c",
    "int register_fib_notifier(struct net *net, struct notifier_block *nb, void *cb, struct netlink_ext_ack *extack)",
    "int unregister_fib_notifier(struct net *net, struct notifier_block *nb)",
    how="no route ever changes",
)
accepts(
    "net/core/neighbour.c",
    "void neigh_table_init(int index, struct neigh_table *tbl)",
    "int neigh_table_clear(int index, struct neigh_table *tbl)",
    how="there is no neighbour",
)
answers(
    0,
    "drivers/acpi/osi.c",
    "bool acpi_osi_is_win8(void)",
    "bool acpi_quirk_skip_acpi_ac_and_battery(void)",
    "int acpi_quirk_skip_serdev_enumeration(struct device *controller_parent, bool *skip)",
    how="the firmware is not asked",
)
accepts(
    "kernel/cpu.c",
    "void cpus_read_lock(void)",
    "void cpus_read_unlock(void)",
    how="CPUs never come or go",
)
accepts(
    "net/ipv4/nexthop.c",
    "int register_nexthop_notifier(struct net *net, struct notifier_block *nb, struct netlink_ext_ack *extack)",
    "int unregister_nexthop_notifier(struct net *net, struct notifier_block *nb)",
    how="no route ever changes",
)
accepts(
    "kernel/rcu/srcutree.c",
    "int init_srcu_struct(struct srcu_struct *ssp)",
    "void cleanup_srcu_struct(struct srcu_struct *ssp)",
    "void synchronize_srcu(struct srcu_struct *ssp)",
    "void synchronize_srcu_expedited(struct srcu_struct *ssp)",
    "void srcu_barrier(struct srcu_struct *ssp)",
    "void __srcu_read_unlock(struct srcu_struct *ssp, int idx)",
    how="nobody reads meanwhile: there is one task",
)
answers(
    0,
    "kernel/rcu/srcutree.c",
    "int __srcu_read_lock(struct srcu_struct *ssp)",
    how="nobody reads meanwhile: there is one task",
)
accepts(
    "net/sched/act_api.c",
    "void tcf_idrinfo_destroy(const struct tc_action_ops *ops, struct tcf_idrinfo *idrinfo)",
    how="no action was ever made",
)
accepts(
    "net/ipv4/inet_hashtables.c",
    "int inet_hashinfo2_init_mod(struct inet_hashinfo *h)",
    how="there is no socket",
)
accepts(
    "net/netlink/genetlink.c",
    "void genl_lock(void)",
    "void genl_unlock(void)",
    how="nobody else is there",
)
accepts(
    "net/netfilter/nf_log.c",
    "int nf_log_set(struct net *net, u_int8_t pf, const struct nf_logger *logger)",
    "void nf_log_unset(struct net *net, const struct nf_logger *logger)",
    how="no packet is ever logged",
)
accepts(
    "net/xfrm/xfrm_state.c",
    "int xfrm_state_flush(struct net *net, u8 proto, bool task_valid, bool sync)",
    how="there is no state",
)
answers(
    0,
    "kernel/cred.c",
    "const struct cred *override_creds(const struct cred *new)",
    how="everybody may do everything",
)
accepts("kernel/cred.c", "void revert_creds(const struct cred *old)", how="everybody may do everything")
makes(
    "kernel/padata.c",
    "struct padata_instance *padata_alloc(const char *name)",
    "void padata_free(struct padata_instance *pinst)",
    size=512,
    how="an opaque object",
)
makes(
    "drivers/nvmem/core.c",
    "struct nvmem_device *nvmem_register(const struct nvmem_config *config)",
    "void nvmem_unregister(struct nvmem_device *nvmem)",
    size=1024,
    how="an opaque object",
    error=True,
)
answers(
    0,
    "crypto/testmgr.c",
    "int alg_test(const char *driver, const char *alg, u32 type, u32 mask)",
    how="no algorithm is tested",
)
answers(
    0,
    "drivers/gpio/gpiolib-devres.c",
    "struct gpio_desc *devm_gpiod_get_optional(struct device *dev, const char *con_id, unsigned int flags)",
    "struct gpio_desc *devm_gpiod_get_index_optional(struct device *dev, const char *con_id, unsigned int index, "
    "unsigned int flags)",
    how="no pin is described for any device",
)
accepts(
    "drivers/gpu/vga/vga_switcheroo.c",
    "int vga_switcheroo_register_handler(const struct vga_switcheroo_handler *handler, unsigned int flags)",
    "void vga_switcheroo_unregister_handler(void)",
    how="there is one screen",
)
accepts("mm/mmu_notifier.c", "void mmu_notifier_synchronize(void)", how="nothing is notified of")
accepts("net/xfrm/xfrm_state.c", "void xfrm_flush_gc(void)", how="there is no state")
accepts("kernel/async.c", "void async_synchronize_cookie(u64 cookie)", how="what was scheduled has run already")
accepts(
    "net/core/net-sysfs.c",
    "int netdev_class_create_file_ns(const struct class_attribute *class_attr, const void *ns)",
    "void netdev_class_remove_file_ns(const struct class_attribute *class_attr, const void *ns)",
    how="nobody reads the files",
)
answers(
    -19,
    "drivers/acpi/ec.c",
    "int ec_read(u8 addr, u8 *val)",
    "int ec_write(u8 addr, u8 val)",
    "int ec_transaction(u8 command, const u8 *wdata, unsigned int wdata_len, u8 *rdata, unsigned int rdata_len)",
    how="there is no embedded controller: -ENODEV",
)
accepts(
    "drivers/char/random.c",
    "void add_device_randomness(const void *buf, size_t len)",
    "void add_hwgenerator_randomness(const void *buf, size_t len, size_t entropy)",
    how="randomness comes from the seed of the run alone",
)
accepts(
    "drivers/base/component.c",
    "int component_add(struct device *dev, const struct component_ops *ops)",
    "int component_add_typed(struct device *dev, const struct component_ops *ops, int subcomponent)",
    "void component_del(struct device *dev, const struct component_ops *ops)",
    how="no aggregate device binds it",
)
answers(
    0,
    "drivers/usb/host/pci-quirks.c",
    "int usb_hcd_amd_remote_wakeup_quirk(struct pci_dev *pdev)",
    how="no host controller has the fault",
)
answers(
    0,
    "fs/sysfs/file.c",
    "struct kernfs_node *sysfs_break_active_protection(struct kobject *kobj, const struct attribute *attr)",
    "void sysfs_unbreak_active_protection(struct kernfs_node *kn)",
    how="there is no sysfs: no file is in use",
)
answers(
    0,
    "drivers/acpi/device_pm.c",
    "bool acpi_bus_power_manageable(void *handle)",
    how="firmware manages no device's power",
)
answers(
    -19,
    "drivers/acpi/device_pm.c",
    "int acpi_bus_set_power(void *handle, int state)",
    how="firmware manages no device's power",
)
answers(
    1,
    "kernel/capability.c",
    "bool capable(int cap)",
    "bool ns_capable(struct user_namespace *ns, int cap)",
    "bool ns_capable_noaudit(struct user_namespace *ns, int cap)",
    "bool file_ns_capable(const struct file *file, struct user_namespace *ns, int cap)",
    "bool has_capability_noaudit(struct task_struct *t, int cap)",
    how="every program is root's",
)
accepts(
    "fs/notify/fsnotify.c",
    "int fsnotify(__u32 mask, const void *data, int data_type, struct inode *dir, const struct qstr *file_name, "
    "struct inode *inode, u32 cookie)",
    how="nobody watches files",
)
answers(
    0,
    "drivers/acpi/processor_perflib.c",
    "int acpi_processor_preregister_performance(struct acpi_processor_performance *performance)",
    how="the firmware describes no processor",
)
answers(
    -19,
    "drivers/cpufreq/cpufreq.c",
    "int cpufreq_register_driver(struct cpufreq_driver *driver_data)",
    how="no CPU has another frequency: -ENODEV",
)
accepts(
    "drivers/base/transport_class.c",
    "void transport_setup_device(struct device *dev)",
    "int transport_add_device(struct device *dev)",
    "void transport_configure_device(struct device *dev)",
    "void transport_remove_device(struct device *dev)",
    "void transport_destroy_device(struct device *dev)",
    how="no attributes of a transport appear",
)
accepts(
    "net/core/flow_dissector.c",
    "void skb_flow_dissector_init(struct flow_dissector *flow_dissector, const struct flow_dissector_key *key, "
    "unsigned int key_count)",
    how="there is no packet",
)
accepts(
    "drivers/video/backlight/backlight.c",
    "void backlight_device_unregister(struct backlight_device *bd)",
    how="there is no screen",
)
answers(
    0,
    "drivers/base/regmap/regmap.c",
    "struct regmap *dev_get_regmap(struct device *dev, const char *name)",
    how="no device has a map of registers",
)
answers(
    0,
    "net/core/dev.c",
    "void *netdev_lower_get_next_private(struct net_device *dev, struct list_head **iter)",
    how="no device stands on another",
)
accepts(
    "kernel/params.c",
    "void kernel_param_lock(struct module *mod)",
    "void kernel_param_unlock(struct module *mod)",
    how="nobody changes parameters meanwhile",
)
