"""What file of this package declares what; written by ``python -m kmem.kapi.make_index``.

Looking a symbol up imports only the file that declares it.
"""

from __future__ import annotations

NAMES = {
    "acpi": """
acpi_acquire_global_lock acpi_bus_generate_netlink_event acpi_bus_get_ejd acpi_bus_register_early_device
acpi_check_dsm acpi_check_region acpi_check_resource_conflict acpi_dev_found acpi_dev_get_first_match_dev
acpi_dev_get_next_match_dev acpi_dev_hid_uid_match acpi_dev_present acpi_device_get_match_data acpi_disable_event
acpi_disable_gpe acpi_disabled acpi_enable_event acpi_enable_gpe acpi_evaluate_dsm acpi_evaluate_integer
acpi_evaluate_object acpi_evaluate_object_typed acpi_evaluate_ost acpi_evaluate_reference acpi_execute_simple_method
acpi_fetch_acpi_dev acpi_find_child_by_adr acpi_find_child_device acpi_gbl_FADT acpi_get_acpi_dev
acpi_get_current_resources acpi_get_data acpi_get_devices acpi_get_event_resources acpi_get_first_physical_node
acpi_get_handle acpi_get_irq_routing_table acpi_get_name acpi_get_next_object acpi_get_object_info acpi_get_parent
acpi_get_pci_dev acpi_get_physical_device_location acpi_get_sleep_type_data acpi_get_table acpi_get_type
acpi_has_method acpi_install_address_space_handler acpi_install_fixed_event_handler acpi_install_gpe_handler
acpi_install_notify_handler acpi_install_table_handler acpi_kobj acpi_match_device acpi_match_device_ids
acpi_match_platform_list acpi_os_wait_events_complete acpi_put_table acpi_release_global_lock
acpi_remove_address_space_handler acpi_remove_fixed_event_handler acpi_remove_gpe_handler acpi_remove_notify_handler
acpi_remove_table_handler acpi_resources_are_enforced acpi_root_dir acpi_scan_lock_acquire acpi_scan_lock_release
acpi_update_all_gpes acpi_walk_namespace acpi_walk_resources is_acpi_data_node is_acpi_device_node
""",
    "address": """
__default_kernel_pte_mask __supported_pte_mask __virt_addr_valid cachemode2protval lookup_address pgprot_writecombine
pgprot_writethrough
""",
    "asan": """
__asan_alloca_poison __asan_allocas_unpoison __asan_handle_no_return __asan_load16_noabort __asan_load1_noabort
__asan_load2_noabort __asan_load4_noabort __asan_load8_noabort __asan_loadN_noabort __asan_memcpy __asan_memmove
__asan_memset __asan_poison_stack_memory __asan_register_globals __asan_set_shadow_00 __asan_set_shadow_f1
__asan_set_shadow_f2 __asan_set_shadow_f3 __asan_set_shadow_f5 __asan_set_shadow_f8 __asan_store16_noabort
__asan_store1_noabort __asan_store2_noabort __asan_store4_noabort __asan_store8_noabort __asan_storeN_noabort
__asan_unpoison_stack_memory __asan_unregister_globals __kasan_check_read __kasan_check_write kasan_report
""",
    "bitmap": """
__bitmap_and __bitmap_andnot __bitmap_clear __bitmap_complement __bitmap_equal __bitmap_intersects __bitmap_or
__bitmap_replace __bitmap_set __bitmap_shift_left __bitmap_shift_right __bitmap_subset __bitmap_weight
__bitmap_weight_and __bitmap_xor bitmap_alloc bitmap_alloc_node bitmap_allocate_region bitmap_cut
bitmap_find_free_region bitmap_find_next_zero_area_off bitmap_free bitmap_from_arr32 bitmap_print_to_pagebuf
bitmap_release_region bitmap_to_arr32 bitmap_zalloc bitmap_zalloc_node
""",
    "bitmap_text": """
bitmap_parse bitmap_parselist bitmap_print_bitmask_to_buf bitmap_print_list_to_buf
""",
    "blkdev": """
__register_blkdev unregister_blkdev
""",
    "bus": """
bus_find_device bus_for_each_dev bus_for_each_drv bus_register bus_register_notifier bus_rescan_devices bus_unregister
bus_unregister_notifier device_attach device_bind_driver device_driver_attach device_release_driver device_reprobe
driver_attach driver_find driver_find_device driver_for_each_device driver_register driver_unregister
""",
    "checksum": """
__crc32c_le __crc32c_le_shift byte_rev_table crc32_be crc32_le crc32_le_shift crc_ccitt crc_ccitt_false
crc_ccitt_false_table crc_ccitt_table
""",
    "chrdev": """
__register_chrdev __unregister_chrdev alloc_chrdev_region cdev_add cdev_alloc cdev_default_release cdev_del
cdev_device_add cdev_device_del cdev_dynamic_release cdev_init cdev_set_parent ktype_cdev_default ktype_cdev_dynamic
misc_class misc_class.name misc_deregister misc_register register_chrdev_region unregister_chrdev_region
""",
    "classes": """
__class_create __class_register class_compat_register class_compat_unregister class_create class_create_release
class_destroy class_find_device class_for_each_device class_interface_register class_interface_unregister
class_register class_unregister
""",
    "cmdline": """
get_option get_options
""",
    "cpu": """
__cpuhp_remove_state __cpuhp_remove_state_cpuslocked __cpuhp_setup_state __cpuhp_setup_state_cpuslocked
__cpuhp_state_add_instance __cpuhp_state_remove_instance cpu_has_xfeatures cpuhp_dynamic cpuhp_steps irq_fpu_usable
kernel_fpu_begin_mask kernel_fpu_end msrs_alloc msrs_free x86_match_cpu xfeature_name.0 xfeature_name.1
xfeature_name.10 xfeature_name.11 xfeature_name.2 xfeature_name.3 xfeature_name.4 xfeature_name.5 xfeature_name.6
xfeature_name.7 xfeature_name.8 xfeature_name.9
""",
    "cpumask": """
__cpu_active_mask __cpu_dying_mask __cpu_online_mask __cpu_possible_mask __cpu_present_mask __num_online_cpus
alloc_cpumask_var_node cpu_all_bits cpu_bit_bitmap cpu_hotplug_disable cpu_hotplug_enable cpumask_local_spread
cpumask_next_wrap free_cpumask_var nr_cpu_ids
""",
    "crypto": """
crypto_alloc_acomp crypto_alloc_aead crypto_alloc_ahash crypto_alloc_akcipher crypto_alloc_base crypto_alloc_kpp
crypto_alloc_rng crypto_alloc_shash crypto_alloc_skcipher crypto_alloc_sync_skcipher crypto_destroy_tfm
crypto_has_ahash crypto_has_alg crypto_has_kpp crypto_has_shash crypto_has_skcipher crypto_init_queue
crypto_lookup_template crypto_register_acomp crypto_register_acomps crypto_register_aead crypto_register_aeads
crypto_register_ahash crypto_register_ahashes crypto_register_akcipher crypto_register_alg crypto_register_algs
crypto_register_kpp crypto_register_rng crypto_register_rngs crypto_register_scomp crypto_register_scomps
crypto_register_shash crypto_register_shashes crypto_register_skcipher crypto_register_skciphers
crypto_register_template crypto_register_templates crypto_unregister_acomp crypto_unregister_acomps
crypto_unregister_aead crypto_unregister_aeads crypto_unregister_ahash crypto_unregister_ahashes
crypto_unregister_akcipher crypto_unregister_alg crypto_unregister_algs crypto_unregister_kpp crypto_unregister_rng
crypto_unregister_rngs crypto_unregister_scomp crypto_unregister_scomps crypto_unregister_shash
crypto_unregister_shashes crypto_unregister_skcipher crypto_unregister_skciphers crypto_unregister_template
crypto_unregister_templates
""",
    "crypto_lib": """
__crypto_memneq __crypto_xor async_schedule_node chacha_block_generic hchacha_block_generic
""",
    "ctype": """
_ctype
""",
    "debugfs": """
debugfs_create_atomic_t debugfs_create_automount debugfs_create_blob debugfs_create_bool debugfs_create_devm_seqfile
debugfs_create_dir debugfs_create_file debugfs_create_file_size debugfs_create_file_unsafe debugfs_create_regset32
debugfs_create_size_t debugfs_create_str debugfs_create_symlink debugfs_create_u16 debugfs_create_u32
debugfs_create_u32_array debugfs_create_u64 debugfs_create_u8 debugfs_create_ulong debugfs_create_x16
debugfs_create_x32 debugfs_create_x64 debugfs_create_x8 debugfs_initialized debugfs_lookup debugfs_lookup_and_remove
debugfs_remove debugfs_rename
""",
    "delay": """
__const_udelay __delay __ndelay __udelay cpu_khz loops_per_jiffy tsc_khz
""",
    "device": """
__dynamic_dev_dbg _dev_alert _dev_crit _dev_emerg _dev_err _dev_info _dev_notice _dev_printk _dev_warn
dev_driver_string dev_err_probe dev_printk_emit dev_warn_probe
""",
    "devicecore": """
__root_device_register device_add device_create device_create_release device_create_with_groups device_del
device_destroy device_find_child device_for_each_child device_initialize device_ktype device_match_any
device_match_devt device_match_fwnode device_match_name device_match_of_node device_register device_release
device_set_of_node_from_dev device_unregister get_device put_device root_device_release root_device_unregister
set_primary_fwnode
""",
    "devio": """
__devm_release_region __devm_request_region devm_ioremap devm_ioremap_release devm_ioremap_resource devm_ioremap_uc
devm_ioremap_wc devm_iounmap devm_memremap devm_memremap_release devm_memunmap devm_region_release
""",
    "devirq": """
devm_free_irq devm_irq_release devm_request_threaded_irq
""",
    "devres": """
__devm_add_action __devm_alloc_percpu __devres_alloc_node devm_action_release devm_add_action devm_free_pages
devm_free_percpu devm_get_free_pages devm_kasprintf devm_kfree devm_kmalloc devm_kmalloc_release devm_kmemdup
devm_krealloc devm_kstrdup devm_kstrdup_const devm_kvasprintf devm_pages_release devm_percpu_release
devm_release_action devm_remove_action devres_add devres_close_group devres_destroy devres_find devres_for_each_res
devres_free devres_get devres_names devres_open_group devres_release devres_release_group devres_remove
devres_remove_group group_close_release group_open_release
""",
    "dma": """
dma_alloc_attrs dma_alloc_pages dma_free_attrs dma_free_pages dma_get_merge_boundary dma_get_required_mask
dma_map_page_attrs dma_map_resource dma_map_sg_attrs dma_map_sgtable dma_max_mapping_size dma_need_sync
dma_opt_mapping_size dma_set_coherent_mask dma_set_mask dma_sync_sg_for_cpu dma_sync_sg_for_device
dma_sync_single_for_cpu dma_sync_single_for_device dma_unmap_page_attrs dma_unmap_resource dma_unmap_sg_attrs
dmam_alloc_attrs dmam_free_coherent dmam_release
""",
    "dmapool": """
dma_pool_alloc dma_pool_create dma_pool_destroy dma_pool_free dmam_pool_create dmam_pool_destroy dmam_pool_release
""",
    "dmi": """
dmi_check_system dmi_find_device dmi_first_match dmi_get_bios_year dmi_get_date dmi_get_system_info dmi_ident.1
dmi_ident.18 dmi_ident.19 dmi_ident.2 dmi_ident.20 dmi_ident.3 dmi_ident.4 dmi_ident.6 dmi_ident.7 dmi_ident.8
dmi_match dmi_memdev_name dmi_name_in_vendors dmi_walk
""",
    "drivers": """
__auxiliary_driver_register __cxl_driver_register __dax_driver_register __serdev_device_driver_register
__serio_register_driver __spi_register_driver acpi_bus_register_driver acpi_bus_type acpi_bus_type.name
acpi_bus_unregister_driver auxiliary_bus_type auxiliary_bus_type.name auxiliary_driver_unregister coreboot_bus_type
coreboot_bus_type.name coreboot_driver_register coreboot_driver_unregister cxl_bus_type cxl_bus_type.name
cxl_driver_unregister dax_bus_type dax_bus_type.name dax_driver_unregister i2c_bus_type i2c_bus_type.name
i2c_del_driver i2c_register_driver kmem_matches_nothing pcie_port_bus_type pcie_port_bus_type.name pnp_bus_type
pnp_bus_type.name pnp_register_card_driver pnp_register_driver pnp_unregister_card_driver pnp_unregister_driver
serdev_bus_type serdev_bus_type.name serio_bus serio_bus.name serio_unregister_driver spi_bus_type spi_bus_type.name
spi_mem_driver_register_with_owner spi_mem_driver_unregister
""",
    "fileops": """
default_llseek fixed_size_llseek generic_file_llseek generic_file_llseek_size memory_read_from_buffer
no_seek_end_llseek no_seek_end_llseek_size nonseekable_open noop_llseek simple_open simple_read_from_buffer
simple_write_to_buffer stream_open
""",
    "filesystem": """
__register_nls load_nls register_filesystem unload_nls unregister_filesystem unregister_nls
""",
    "find_bit": """
__find_nth_bit _find_first_and_bit _find_first_bit _find_first_zero_bit _find_last_bit _find_next_and_bit
_find_next_andnot_bit _find_next_bit _find_next_zero_bit find_next_clump8
""",
    "genalloc": """
devm_gen_pool_create devm_gen_pool_release gen_pool_add_owner gen_pool_alloc_algo_owner gen_pool_avail
gen_pool_best_fit gen_pool_create gen_pool_destroy gen_pool_dma_alloc gen_pool_dma_alloc_algo gen_pool_dma_zalloc
gen_pool_first_fit gen_pool_first_fit_align gen_pool_first_fit_order_align gen_pool_fixed_alloc
gen_pool_for_each_chunk gen_pool_free_owner gen_pool_get gen_pool_has_addr gen_pool_set_algo gen_pool_size
gen_pool_virt_to_phys
""",
    "gendisk": """
__blk_alloc_disk __blk_mq_alloc_disk badblocks_exit badblocks_init bioset_exit bioset_init bioset_integrity_create
blk_mark_disk_dead blk_mq_alloc_tag_set blk_mq_destroy_queue blk_mq_free_tag_set blk_mq_freeze_queue blk_mq_init_queue
blk_mq_quiesce_queue blk_mq_unfreeze_queue blk_mq_unquiesce_queue blk_put_queue blk_queue_chunk_sectors
blk_queue_dma_alignment blk_queue_flag_clear blk_queue_flag_set blk_queue_io_min blk_queue_io_opt
blk_queue_logical_block_size blk_queue_max_discard_sectors blk_queue_max_hw_sectors blk_queue_max_segment_size
blk_queue_max_segments blk_queue_max_write_zeroes_sectors blk_queue_physical_block_size blk_queue_rq_timeout
blk_queue_segment_boundary blk_queue_update_dma_alignment blk_queue_virt_boundary blk_queue_write_cache
blk_set_stacking_limits blk_sync_queue block_class del_gendisk device_add_disk disk_release invalidate_bdev
kmem_block_class_name kmem_disk_numbers put_disk set_capacity set_capacity_and_notify sync_blockdev
""",
    "glob": """
glob_match
""",
    "gup": """
get_user_pages get_user_pages_fast get_user_pages_remote get_user_pages_unlocked pin_user_pages pin_user_pages_fast
pin_user_pages_remote pin_user_pages_unlocked set_page_dirty set_page_dirty_lock unpin_user_page unpin_user_pages
unpin_user_pages_dirty_lock
""",
    "hexdump": """
bin2hex hex2bin hex_asc hex_asc_upper hex_dump_to_buffer hex_to_bin print_hex_dump
""",
    "hrtimer": """
__hrtimer_get_remaining hrtimer_active hrtimer_cancel hrtimer_forward hrtimer_init hrtimer_resolution
hrtimer_start_range_ns hrtimer_try_to_cancel kmem_hrtimer_bases kmem_ktime_get_real schedule_hrtimeout
schedule_hrtimeout_range
""",
    "hsiphash": """
__hsiphash_unaligned __siphash_unaligned hsiphash_1u32 hsiphash_2u32 hsiphash_3u32 hsiphash_4u32 siphash_1u32
siphash_1u64 siphash_2u64 siphash_3u32 siphash_3u64 siphash_4u64
""",
    "ida": """
ida_alloc_range ida_destroy ida_free
""",
    "idr": """
idr_alloc idr_alloc_cyclic idr_alloc_u32 idr_destroy idr_find idr_for_each idr_get_next idr_get_next_ul idr_preload
idr_remove idr_replace radix_tree_delete radix_tree_delete_item radix_tree_gang_lookup radix_tree_insert
radix_tree_lookup radix_tree_preload
""",
    "inet": """
__ipv6_addr_type clean_acked_data_flush in6addr_any in6addr_interfacelocal_allnodes in6addr_interfacelocal_allrouters
in6addr_linklocal_allnodes in6addr_linklocal_allrouters in6addr_loopback in6addr_sitelocal_allrouters
mdiobus_setup_mdiodev_from_board_info netdev_alert netdev_crit netdev_emerg netdev_err netdev_info netdev_notice
netdev_warn
""",
    "input": """
devm_input_allocate_device devm_input_device_release input_alloc_absinfo input_allocate_device input_class
input_dev_release input_enable_softrepeat input_event input_free_device input_inject_event input_register_device
input_reset_device input_set_abs_params input_set_capability input_unregister_device kmem_input_class_name
kmem_input_number
""",
    "interval_tree": """
interval_tree_insert interval_tree_iter_first interval_tree_iter_next interval_tree_remove
""",
    "iomem": """
ioread16 ioread16_rep ioread16be ioread32 ioread32_rep ioread32be ioread8 ioread8_rep ioremap ioremap_cache
ioremap_encrypted ioremap_prot ioremap_uc ioremap_wc ioremap_wt iounmap iowrite16 iowrite16_rep iowrite16be iowrite32
iowrite32_rep iowrite32be iowrite8 iowrite8_rep memcpy_fromio memcpy_toio memset_io
""",
    "irq": """
disable_irq disable_irq_nosync enable_irq free_irq kmem_irq_thread kmem_irqs request_any_context_irq
request_threaded_irq synchronize_irq
""",
    "kfifo": """
__kfifo_alloc __kfifo_free __kfifo_in __kfifo_init __kfifo_out __kfifo_out_peek
""",
    "kobject": """
dev_set_name kobject_add kobject_del kobject_get kobject_get_path kobject_get_unless_zero kobject_init kobject_put
kobject_set_name
""",
    "kset": """
dynamic_kobj_release dynamic_kobj_release.ktype firmware_kobj firmware_kobj.name fs_kobj fs_kobj.name hypervisor_kobj
hypervisor_kobj.name kernel_kobj kernel_kobj.name kobject_create_and_add kobject_init_and_add kset_create_and_add
kset_find_obj kset_register kset_release kset_release.ktype kset_unregister mm_kobj mm_kobj.name
""",
    "kstrtox": """
kstrtobool kstrtoint kstrtoll kstrtos16 kstrtos8 kstrtou16 kstrtou8 kstrtouint kstrtoull simple_strtol simple_strtoll
simple_strtoul simple_strtoull
""",
    "kthread": """
kmem_kthread_stopped kthread_bind kthread_complete_and_exit kthread_create_on_cpu kthread_create_on_node kthread_data
kthread_freezable_should_stop kthread_func kthread_park kthread_parkme kthread_should_park kthread_should_stop
kthread_stop kthread_unpark
""",
    "kthread_worker": """
__kthread_init_worker kthread_cancel_delayed_work_sync kthread_cancel_work_sync kthread_create_worker
kthread_create_worker_on_cpu kthread_delayed_work_timer_fn kthread_destroy_worker kthread_flush_work
kthread_flush_worker kthread_mod_delayed_work kthread_queue_delayed_work kthread_queue_work kthread_worker_fn
""",
    "kunit": """
__kunit_add_resource kunit_cleanup kunit_current kunit_destroy_resource kunit_do_failed_assertion kunit_init_test
kunit_kfree kunit_kmalloc_array kunit_kmalloc_array_free kunit_log_append kunit_remove_resource kunit_try_catch_throw
""",
    "kunit_assert": """
kunit_binary_assert_format kunit_binary_ptr_assert_format kunit_binary_str_assert_format kunit_fail_assert_format
kunit_ptr_not_err_assert_format kunit_unary_assert_format
""",
    "kunit_kasan": """
kasan_multi_shot kasan_restore_multi_shot kasan_save_enable_multi_shot
""",
    "led": """
led_trigger_register led_trigger_register_simple led_trigger_unregister led_trigger_unregister_simple
""",
    "linear_ranges": """
linear_range_get_max_value linear_range_get_selector_high linear_range_get_selector_low
linear_range_get_selector_low_array linear_range_get_selector_within linear_range_get_value
linear_range_get_value_array linear_range_values_in_range linear_range_values_in_range_array
""",
    "list": """
__list_add_valid __list_add_valid_or_report __list_del_entry_valid __list_del_entry_valid_or_report
""",
    "list_sort": """
list_sort
""",
    "math": """
gcd int_pow int_sqrt iter_div_u64_rem lcm lcm_not_zero memparse rational_best_approximation
""",
    "memory": """
remap_pfn_range remap_vmalloc_range vm_get_page_prot vm_insert_page vm_iomap_memory vm_map_pages vm_map_pages_zero
vmf_insert_pfn vmf_insert_pfn_prot zap_vma_ptes
""",
    "mempool": """
mempool_alloc mempool_alloc_pages mempool_alloc_slab mempool_create mempool_create_node mempool_destroy mempool_exit
mempool_free mempool_free_pages mempool_free_slab mempool_init mempool_init_node mempool_kfree mempool_kmalloc
mempool_resize
""",
    "mmap": """
__mmdrop find_vma find_vma_intersection get_task_mm mmput vm_brk vm_brk_flags vm_mmap vm_munmap
""",
    "module": """
__module_get __request_module module_layout module_put module_refcount try_module_get
""",
    "more_parts": """
__list_lru_init __put_cred __srcu_read_lock __srcu_read_unlock acpi_bus_power_manageable acpi_bus_set_power
acpi_osi_is_win8 acpi_processor_preregister_performance acpi_quirk_skip_acpi_ac_and_battery
acpi_quirk_skip_serdev_enumeration add_device_randomness add_hwgenerator_randomness alg_test async_synchronize_cookie
backlight_device_unregister brioctl_set capable cleanup_srcu_struct component_add component_add_typed component_del
cpufreq_register_driver cpus_read_lock cpus_read_unlock dev_get_regmap devm_gpiod_get_index_optional
devm_gpiod_get_optional ec_read ec_transaction ec_write file_ns_capable firmware_request_nowarn fsnotify genl_lock
genl_unlock has_capability_noaudit inet_frags_fini inet_frags_init inet_hashinfo2_init_mod init_srcu_struct
ipv6_mod_enabled kernel_param_lock kernel_param_unlock key_create_or_update list_lru_destroy mmu_notifier_synchronize
neigh_table_clear neigh_table_init netdev_class_create_file_ns netdev_class_remove_file_ns
netdev_lower_get_next_private nf_log_set nf_log_unset nf_register_net_hook nf_register_net_hooks
nf_register_queue_handler nf_unregister_net_hook nf_unregister_net_hooks nf_unregister_queue_handler ns_capable
ns_capable_noaudit nvmem_register nvmem_unregister override_creds padata_alloc padata_free prepare_kernel_cred
register_btf_id_dtor_kfuncs register_btf_kfunc_id_set register_fib_notifier register_nexthop_notifier release_firmware
request_firmware request_firmware_direct request_firmware_nowait revert_creds skb_flow_dissector_init
sock_diag_register_inet_compat sock_diag_unregister_inet_compat srcu_barrier synchronize_net synchronize_srcu
synchronize_srcu_expedited sysfs_break_active_protection sysfs_unbreak_active_protection tcf_idrinfo_destroy
transport_add_device transport_configure_device transport_destroy_device transport_remove_device
transport_setup_device tty_termios_encode_baud_rate unregister_fib_notifier unregister_nexthop_notifier
usb_hcd_amd_remote_wakeup_quirk vga_switcheroo_register_handler vga_switcheroo_unregister_handler vlan_ioctl_set
xfrm_flush_gc xfrm_if_register_cb xfrm_if_unregister_cb xfrm_input_register_afinfo xfrm_input_unregister_afinfo
xfrm_state_flush
""",
    "mutex": """
__mutex_init atomic_dec_and_mutex_lock mutex_is_locked mutex_lock mutex_lock_interruptible mutex_lock_io
mutex_lock_killable mutex_trylock mutex_unlock
""",
    "namehash": """
full_name_hash hashlen_string
""",
    "net_registers": """
dev_add_offload dev_add_pack dev_remove_offload dev_remove_pack inet6_add_offload inet6_add_protocol inet6_del_offload
inet6_del_protocol inet6_register_protosw inet6_unregister_protosw inet_add_offload inet_add_protocol inet_del_offload
inet_del_protocol inet_register_protosw inet_unregister_protosw lwtunnel_encap_add_ops lwtunnel_encap_del_ops
nf_log_register nf_log_unregister nf_register_sockopt nf_unregister_sockopt register_qdisc register_tcf_proto_ops
rtnl_af_register rtnl_af_unregister sock_diag_register sock_diag_unregister tcf_em_register tcf_em_unregister
tcp_register_congestion_control tcp_register_ulp tcp_unregister_congestion_control tcp_unregister_ulp unregister_qdisc
unregister_tcf_proto_ops xfrm4_protocol_deregister xfrm4_protocol_register xfrm6_protocol_deregister
xfrm6_protocol_register xfrm_policy_register_afinfo xfrm_policy_unregister_afinfo xfrm_register_km xfrm_register_type
xfrm_register_type_offload xfrm_unregister_km xfrm_unregister_type xfrm_unregister_type_offload
""",
    "netdev": """
__rtnl_link_register __rtnl_link_unregister alloc_etherdev_mqs alloc_netdev_mqs ether_setup free_netdev
netdev_eth_name netdev_index netif_carrier_off netif_carrier_on register_netdev register_netdevice rtnl_link_register
rtnl_link_unregister unregister_netdev unregister_netdevice_many unregister_netdevice_queue
""",
    "notifier": """
atomic_notifier_call_chain atomic_notifier_chain_register atomic_notifier_chain_unregister
blocking_notifier_call_chain blocking_notifier_chain_register blocking_notifier_chain_register_unique_prio
blocking_notifier_chain_unregister crypto_register_notifier crypto_unregister_notifier fb_register_client
fb_unregister_client kmem_chain_crypto_register_notifier kmem_chain_fb_register_client
kmem_chain_mce_register_decode_chain kmem_chain_netlink_register_notifier kmem_chain_power_supply_reg_notifier
kmem_chain_register_acpi_notifier kmem_chain_register_blocking_lsm_notifier kmem_chain_register_dcbevent_notifier
kmem_chain_register_die_notifier kmem_chain_register_inet6addr_notifier
kmem_chain_register_inet6addr_validator_notifier kmem_chain_register_inetaddr_notifier
kmem_chain_register_inetaddr_validator_notifier kmem_chain_register_keyboard_notifier
kmem_chain_register_memory_notifier kmem_chain_register_module_notifier kmem_chain_register_netdevice_notifier
kmem_chain_register_netevent_notifier kmem_chain_register_oom_notifier kmem_chain_register_pm_notifier
kmem_chain_register_reboot_notifier kmem_chain_register_switchdev_blocking_notifier
kmem_chain_register_switchdev_notifier kmem_chain_register_vmap_purge_notifier kmem_chain_register_vt_notifier
mce_register_decode_chain mce_unregister_decode_chain netlink_register_notifier netlink_unregister_notifier
power_supply_reg_notifier power_supply_unreg_notifier raw_notifier_call_chain raw_notifier_chain_register
raw_notifier_chain_unregister register_acpi_notifier register_blocking_lsm_notifier register_dcbevent_notifier
register_die_notifier register_inet6addr_notifier register_inet6addr_validator_notifier register_inetaddr_notifier
register_inetaddr_validator_notifier register_keyboard_notifier register_memory_notifier register_module_notifier
register_netdevice_notifier register_netevent_notifier register_oom_notifier register_pm_notifier
register_reboot_notifier register_switchdev_blocking_notifier register_switchdev_notifier register_vmap_purge_notifier
register_vt_notifier srcu_init_notifier_head srcu_notifier_call_chain srcu_notifier_chain_register
srcu_notifier_chain_unregister unregister_acpi_notifier unregister_blocking_lsm_notifier unregister_dcbevent_notifier
unregister_die_notifier unregister_inet6addr_notifier unregister_inet6addr_validator_notifier
unregister_inetaddr_notifier unregister_inetaddr_validator_notifier unregister_keyboard_notifier
unregister_memory_notifier unregister_module_notifier unregister_netdevice_notifier unregister_netevent_notifier
unregister_oom_notifier unregister_pm_notifier unregister_reboot_notifier unregister_switchdev_blocking_notifier
unregister_switchdev_notifier unregister_vmap_purge_notifier unregister_vt_notifier
""",
    "once": """
__alloc_bucket_spinlocks __do_once_done __do_once_start __hw_addr_init dev_addr_mod dev_valid_name dst_cache_destroy
dst_cache_init fb_get_options free_bucket_spinlocks reciprocal_value
""",
    "open": """
filp_open kern_path lookup_bdev simple_rmdir simple_unlink
""",
    "page_frag": """
__page_frag_alloc_align __page_frag_cache_drain page_frag_alloc_align page_frag_free
""",
    "pages": """
__alloc_pages __alloc_pages_bulk __folio_alloc __folio_put __free_pages __get_free_pages alloc_contig_range
alloc_pages alloc_pages_bulk_noprof alloc_pages_exact empty_zero_page folio_alloc free_contig_range free_pages
free_pages_exact get_free_pages_noprof get_zeroed_page is_free_buddy_page put_pages_list split_page zero_pfn
""",
    "panic": """
__stack_chk_fail __warn_printk add_taint dump_stack fortify_panic panic panic_timeout
""",
    "param_array": """
param_array_element param_array_free param_array_get param_array_set
""",
    "params": """
kmalloced_params param_array_ops param_free_charp param_get_bool param_get_byte param_get_charp param_get_hexint
param_get_int param_get_invbool param_get_long param_get_short param_get_string param_get_uint param_get_ullong
param_get_ulong param_get_ushort param_ops_bint param_ops_bool param_ops_bool_enable_only param_ops_byte
param_ops_charp param_ops_hexint param_ops_int param_ops_invbool param_ops_long param_ops_short param_ops_string
param_ops_uint param_ops_ullong param_ops_ulong param_ops_ushort param_set_bint param_set_bool
param_set_bool_enable_only param_set_byte param_set_charp param_set_copystring param_set_hexint param_set_int
param_set_invbool param_set_long param_set_short param_set_uint param_set_uint_minmax param_set_ullong param_set_ulong
param_set_ushort param_value
""",
    "parser": """
match_hex match_int match_octal match_strdup match_strlcpy match_token
""",
    "parts": """
__netlink_kernel_create __rtnl_register_many __rtnl_unregister_many alloc_memory_type anon_transport_class_register
anon_transport_class_unregister bdi_alloc bdi_put bdi_register bdi_set_max_ratio bdi_unregister cn_add_callback
cn_del_callback cxl_bus_drain d_prune_aliases destroy_memory_type devm_hwrng_register devm_hwrng_unregister
dmaengine_get dmaengine_put drm_firmware_drivers_only edac_device_alloc_ctl_info edac_get_owner
edac_mc_add_mc_with_groups edac_mc_alloc edac_mc_del_mc edac_mc_free edac_pci_alloc_ctl_info
ethtool_set_ethtool_phy_ops find_mci_by_dev hv_is_hibernation_supported hv_is_hyperv_initialized
hv_is_isolation_supported hwrng_register hwrng_unregister key_alloc key_invalidate key_link key_put key_revoke
key_unlink keyring_alloc l3mdev_table_lookup_register l3mdev_table_lookup_unregister led_classdev_register_ext
led_classdev_resume led_classdev_suspend led_classdev_unregister led_set_brightness led_trigger_blink
led_trigger_blink_oneshot led_trigger_event ledtrig_mtd_activity n_tty_inherit_ops netlink_kernel_release
power_supply_changed power_supply_put register_syscore_ops rtnl_register_module rtnl_unregister rtnl_unregister_all
sched_set_fifo sched_set_fifo_low sched_set_normal set_user_nice shrink_dcache_parent shrink_dcache_sb
trace_array_destroy trace_array_get_by_name trace_array_init_printk trace_array_put trace_array_set_clr_event
transport_class_register transport_class_unregister unregister_syscore_ops wait_for_device_probe
zlib_deflate_workspacesize zlib_inflate_workspacesize
""",
    "pci": """
__pci_register_driver pci_bus_match pci_bus_type pci_bus_type.name pci_clear_master pci_dev_get pci_dev_present
pci_dev_put pci_device_probe pci_device_remove pci_disable_device pci_enable_device pci_enable_device_mem pci_find_bus
pci_find_capability pci_find_ext_capability pci_find_next_bus pci_get_class pci_get_device pci_get_domain_bus_and_slot
pci_get_slot pci_get_subsys pci_iomap pci_ioremap_bar pci_iounmap pci_match_id pci_next_slot pci_read_config_byte
pci_read_config_dword pci_read_config_word pci_reenable_device pci_release_dev pci_release_region pci_release_regions
pci_release_selected_regions pci_request_region pci_request_regions pci_request_selected_regions pci_root_bus
pci_select_bars pci_set_master pci_unregister_driver pci_write_config_byte pci_write_config_dword
pci_write_config_word
""",
    "percpu": """
__alloc_percpu __alloc_percpu_gfp free_percpu
""",
    "percpu_counter": """
__percpu_counter_compare __percpu_counter_init __percpu_counter_init_many __percpu_counter_sum
percpu_counter_add_batch percpu_counter_batch percpu_counter_destroy percpu_counter_destroy_many percpu_counter_set
percpu_counter_sync
""",
    "pernet": """
init_net init_uts_ns kmem_init_nsproxy net_exit_list net_generic_ids register_pernet_device register_pernet_subsys
tcf_register_action tcf_unregister_action unregister_pernet_device unregister_pernet_subsys
""",
    "platform": """
__platform_create_bundle __platform_driver_probe __platform_driver_register __platform_register_drivers
platform_add_devices platform_bus_type platform_bus_type.name platform_device_add platform_device_add_data
platform_device_add_resources platform_device_alloc platform_device_del platform_device_id platform_device_put
platform_device_register platform_device_register_full platform_device_release platform_device_unregister
platform_driver_unregister platform_get_irq platform_get_irq_optional platform_get_resource
platform_get_resource_byname platform_match platform_probe platform_remove platform_unregister_drivers
""",
    "pm_runtime": """
__pm_runtime_disable __pm_runtime_idle __pm_runtime_resume __pm_runtime_set_status __pm_runtime_suspend
__pm_runtime_use_autosuspend __suspend_report_result dev_pm_qos_add_request dev_pm_qos_expose_flags
dev_pm_qos_expose_latency_limit dev_pm_qos_flags dev_pm_qos_hide_flags dev_pm_qos_hide_latency_limit
dev_pm_qos_remove_request dev_pm_qos_update_request device_pm_wait_for_dev device_set_wakeup_capable
device_set_wakeup_enable device_wakeup_disable device_wakeup_enable pm_runtime_allow pm_runtime_barrier
pm_runtime_enable pm_runtime_forbid pm_runtime_irq_safe pm_runtime_no_callbacks pm_runtime_set_autosuspend_delay
pm_wakeup_dev_event pm_wakeup_ws_event
""",
    "ports": """
devm_ioport_map devm_ioport_map_release free_dma ioport_map ioport_unmap kmem_dma_channels request_dma
""",
    "preempt": """
__local_bh_enable_ip _local_bh_enable
""",
    "printk": """
__dynamic_pr_debug _printk console_printk no_hash_pointers oops_in_progress vprintk vprintk_default vprintk_emit
""",
    "procfs": """
_proc_mkdir proc_create proc_create_data proc_create_mount_point proc_create_net_data proc_create_net_data_write
proc_create_net_single proc_create_net_single_write proc_create_seq_private proc_create_single_data proc_mkdir
proc_mkdir_data proc_mkdir_mode proc_remove proc_set_size proc_set_user proc_symlink remove_proc_entry
remove_proc_subtree
""",
    "random": """
__get_random_u32_below get_random_bytes get_random_u16 get_random_u32 get_random_u64 get_random_u8 prandom_bytes_state
prandom_u32_state
""",
    "ratelimit": """
___ratelimit __printk_ratelimit nopage_rs oom_rs printk_ratelimit_state printk_timed_ratelimit slub_oom_rs
""",
    "rbtree": """
__rb_erase_color __rb_insert_augmented rb_erase rb_first rb_first_postorder rb_insert_color rb_last rb_next
rb_next_postorder rb_prev rb_replace_node
""",
    "rcu": """
__rcu_read_lock __rcu_read_unlock call_rcu kmem_wakeme_after_rcu kvfree_call_rcu rcu_barrier rcu_cblist
rcu_is_watching rcu_scheduler_active synchronize_rcu synchronize_rcu_expedited
""",
    "refcount": """
_atomic_dec_and_lock refcount_dec_and_lock refcount_dec_and_mutex_lock refcount_dec_if_one refcount_dec_not_one
refcount_warn_saturate
""",
    "registers": """
__register_binfmt __register_nmi_handler attribute_container_register attribute_container_unregister
blkcg_policy_register blkcg_policy_unregister cpufreq_register_governor cpufreq_unregister_governor
devfreq_add_governor devfreq_remove_governor elv_register elv_unregister gpiod_add_lookup_table
gpiod_remove_lookup_table input_register_handler input_unregister_handler nfs42_ssc_register nfs42_ssc_unregister
nfs_ssc_register nfs_ssc_unregister register_acpi_bus_type register_asymmetric_key_parser register_console
register_key_type register_quota_format textsearch_register textsearch_unregister tty_register_ldisc
tty_unregister_ldisc unregister_acpi_bus_type unregister_asymmetric_key_parser unregister_binfmt unregister_console
unregister_key_type unregister_nmi_handler unregister_quota_format zpool_register_driver zpool_unregister_driver
""",
    "registry": """
kmem_registry
""",
    "resource": """
__release_region __request_region memremap memunmap page_is_ram region_intersects release_resource request_resource
""",
    "rhashtable": """
bucket_table_free_rcu rhashtable_compare_args rhashtable_destroy rhashtable_free_and_destroy rhashtable_init
rhashtable_insert_slow rhashtable_jhash rhashtable_jhash2 rhltable_init rht_deferred_worker
""",
    "rhashtable_nested": """
__rht_bucket_nested rht_bucket_nested rht_bucket_nested.rhnull rht_bucket_nested_insert
""",
    "rhashtable_walk": """
rhashtable_walk_enter rhashtable_walk_exit rhashtable_walk_next rhashtable_walk_peek rhashtable_walk_start_check
rhashtable_walk_stop
""",
    "rtnl": """
genl_groups genl_ids genl_register_family genl_unregister_family proto_register proto_unregister register_net_sysctl
register_net_sysctl_sz register_sysctl register_sysctl_sz register_sysctl_table rtnl_held rtnl_is_locked rtnl_lock
rtnl_lock_killable rtnl_trylock rtnl_unlock sock_register sock_unregister unregister_net_sysctl_table
unregister_sysctl_table
""",
    "rwsem": """
__init_rwsem down_read down_read_interruptible down_read_killable down_read_trylock down_write down_write_killable
down_write_trylock downgrade_write up_read up_write
""",
    "scatterlist": """
__sg_page_iter_next __sg_page_iter_start sg_copy_buffer sg_copy_from_buffer sg_copy_to_buffer sg_init_one
sg_init_table sg_miter_next sg_miter_skip sg_miter_start sg_miter_stop sg_nents sg_nents_for_len sg_next
sg_pcopy_from_buffer sg_pcopy_to_buffer sg_zero_buffer
""",
    "sched": """
io_schedule io_schedule_timeout kmem_idle kmem_interrupt kmem_interrupt_return kmem_sched schedule wake_up_process
yield
""",
    "semaphore": """
down down_interruptible down_killable down_timeout down_trylock up
""",
    "shrinker": """
register_shrinker shrink_control shrinker_alloc shrinker_free shrinker_list shrinker_register synchronize_shrinkers
unregister_shrinker
""",
    "skbuff": """
consume_skb gro_cells_destroy gro_cells_init inet_ehash_locks_alloc kfree_skb_reason skb_append skb_dequeue
skb_dequeue_tail skb_queue_head skb_queue_purge skb_queue_tail skb_unlink
""",
    "slab": """
__kmalloc __kmalloc_cache_node_noprof __kmalloc_cache_noprof __kmalloc_large_node_noprof __kmalloc_large_noprof
__kmalloc_node __kmalloc_node_track_caller kfree kfree_const kfree_sensitive kmalloc_large kmalloc_large_node
kmalloc_node_trace kmalloc_size_roundup kmalloc_trace kmem_cache_alloc kmem_cache_alloc_bulk kmem_cache_alloc_lru
kmem_cache_alloc_node kmem_cache_create kmem_cache_create_usercopy kmem_cache_destroy kmem_cache_free
kmem_cache_free_bulk kmem_cache_shrink kmem_cache_size kmem_dump_obj krealloc ksize mem_dump_obj validate_slab_cache
""",
    "slab_buckets": """
__fortify_panic __kmalloc_node_noprof __kmalloc_node_track_caller_noprof __kmem_cache_create_args
__kvmalloc_node_noprof kmem_buckets_create kvrealloc_noprof pcpu_alloc_noprof
""",
    "smp": """
on_each_cpu_cond_mask smp_call_function smp_call_function_many smp_call_function_single
""",
    "softirq": """
__tasklet_hi_schedule __tasklet_schedule irq_work_queue irq_work_sync tasklet_init tasklet_kill tasklet_setup
tasklet_unlock tasklet_unlock_spin_wait tasklet_unlock_wait
""",
    "sort": """
bsearch sort sort_r
""",
    "spinlock": """
_raw_read_lock _raw_read_lock_bh _raw_read_lock_irq _raw_read_lock_irqsave _raw_read_trylock _raw_read_unlock
_raw_read_unlock_bh _raw_read_unlock_irq _raw_read_unlock_irqrestore _raw_spin_lock _raw_spin_lock_bh
_raw_spin_lock_irq _raw_spin_lock_irqsave _raw_spin_trylock _raw_spin_trylock_bh _raw_spin_unlock _raw_spin_unlock_bh
_raw_spin_unlock_irq _raw_spin_unlock_irqrestore _raw_write_lock _raw_write_lock_bh _raw_write_lock_irq
_raw_write_lock_irqsave _raw_write_lock_nested _raw_write_trylock _raw_write_unlock _raw_write_unlock_bh
_raw_write_unlock_irq _raw_write_unlock_irqrestore
""",
    "sprintf": """
kasprintf kvasprintf kvasprintf_const scnprintf snprintf sprint_symbol sprint_symbol_no_offset sprintf sysfs_emit
sysfs_emit_at vscnprintf vsnprintf vsprintf
""",
    "sscanf": """
sscanf vsscanf
""",
    "static_key": """
static_key_count static_key_disable static_key_disable_cpuslocked static_key_enable static_key_enable_cpuslocked
static_key_slow_dec static_key_slow_inc
""",
    "string": """
memchr memchr_inv memcmp memscan sized_strscpy strcasecmp strcat strchr strchrnul strcmp strcpy strcspn strlcat
strlcpy strlen strncasecmp strncat strnchr strncmp strncpy strnlen strnstr strpbrk strrchr strscpy strsep strspn
strstr
""",
    "string_helpers": """
__sysfs_match_string kasprintf_strarray kfree_strarray match_string memcpy_and_pad skip_spaces strim string_escape_mem
string_get_size string_unescape strreplace strscpy_pad sysfs_streq
""",
    "swnode": """
is_software_node software_node_fwnode software_node_ops software_node_register software_node_register_node_group
software_node_register_nodes software_node_unregister software_node_unregister_node_group
software_node_unregister_nodes to_software_node
""",
    "sysfs": """
bus_create_file bus_remove_file class_create_file_ns class_remove_file_ns device_add_groups device_create_bin_file
device_create_file device_remove_bin_file device_remove_file device_remove_file_self device_remove_groups
devm_device_add_group devm_device_add_groups driver_create_file driver_remove_file kobject_uevent kobject_uevent_env
sysfs_add_file_to_group sysfs_add_link_to_group sysfs_chmod_file sysfs_create_bin_file sysfs_create_file_ns
sysfs_create_files sysfs_create_group sysfs_create_groups sysfs_create_link sysfs_create_link_nowarn
sysfs_create_mount_point sysfs_merge_group sysfs_notify sysfs_remove_bin_file sysfs_remove_file_from_group
sysfs_remove_file_ns sysfs_remove_file_self sysfs_remove_files sysfs_remove_group sysfs_remove_groups
sysfs_remove_link sysfs_remove_link_from_group sysfs_remove_mount_point sysfs_rename_link_ns sysfs_unmerge_group
sysfs_update_group sysfs_update_groups
""",
    "sysinfo": """
__symbol_get check_signature cpufreq_get_current_driver default_char2uni default_uni2char efivar_is_available
efivar_supports_writes efivars_kobject getboottime64 i2c_for_each_dev kmem_nls_charset kmem_nls_default kmem_nls_lower
kmem_nls_upper kvm_para_available load_nls_default rtc_cmos_read set_freezable si_meminfo
""",
    "thunks": """
__SCT__cond_resched __SCT__might_resched __SCT__preempt_schedule __SCT__preempt_schedule_notrace __fentry__
__get_user_1 __get_user_2 __get_user_4 __get_user_8 __get_user_nocheck_1 __get_user_nocheck_2 __get_user_nocheck_4
__get_user_nocheck_8 __memcpy __memmove __memset __put_user_1 __put_user_2 __put_user_4 __put_user_8
__put_user_nocheck_1 __put_user_nocheck_2 __put_user_nocheck_4 __put_user_nocheck_8 __static_call_return0
__sw_hweight32 __sw_hweight64 __x86_indirect_thunk_r10 __x86_indirect_thunk_r11 __x86_indirect_thunk_r12
__x86_indirect_thunk_r13 __x86_indirect_thunk_r14 __x86_indirect_thunk_r15 __x86_indirect_thunk_r8
__x86_indirect_thunk_r9 __x86_indirect_thunk_rax __x86_indirect_thunk_rbp __x86_indirect_thunk_rbx
__x86_indirect_thunk_rcx __x86_indirect_thunk_rdi __x86_indirect_thunk_rdx __x86_indirect_thunk_rsi
__x86_indirect_thunk_rsp __x86_return_thunk clear_page_erms clear_page_orig clear_page_rep clear_user_erms
clear_user_original clear_user_rep_good copy_page memcpy memmove memset rep_movs_alternative rep_stos_alternative
""",
    "timekeeping": """
__msecs_to_jiffies __usecs_to_jiffies jiffies jiffies64_to_msecs jiffies64_to_nsecs jiffies_64 jiffies_to_msecs
jiffies_to_timespec64 jiffies_to_usecs ktime_get ktime_get_boot_fast_ns ktime_get_coarse_real_ts64
ktime_get_coarse_ts64 ktime_get_coarse_with_offset ktime_get_mono_fast_ns ktime_get_raw ktime_get_raw_fast_ns
ktime_get_raw_ts64 ktime_get_real_fast_ns ktime_get_real_seconds ktime_get_real_ts64 ktime_get_seconds ktime_get_ts64
ktime_get_with_offset mktime64 nsecs_to_jiffies nsecs_to_jiffies64 set_normalized_timespec64
""",
    "timer": """
msleep msleep_interruptible round_jiffies round_jiffies_relative round_jiffies_up round_jiffies_up_relative
schedule_timeout schedule_timeout_idle schedule_timeout_interruptible schedule_timeout_killable
schedule_timeout_uninterruptible usleep_range_state
""",
    "timer_list": """
add_timer add_timer_on init_timer_key mod_timer mod_timer_pending timer_delete timer_delete_sync timer_reduce
timer_shutdown timer_shutdown_sync try_to_del_timer_sync
""",
    "topology": """
__node_distance kmem_node_cpumasks node_states node_to_cpumask_map nr_online_nodes
""",
    "tty": """
__tty_alloc_driver tty_class tty_class.name tty_dev_name_to_number tty_driver_kref_put tty_register_device
tty_register_device_attr tty_register_driver tty_std_termios tty_unregister_device tty_unregister_driver
uart_register_driver uart_unregister_driver
""",
    "tty_io": """
do_tty_hangup tty_fops tty_get_char_size tty_get_frame_size tty_hangup tty_hung_up_p tty_init_termios tty_ioctl
tty_kref_put tty_open tty_port_tty_vhangup tty_read tty_release tty_standard_install tty_termios_baud_rate
tty_termios_copy_hw tty_vhangup tty_wakeup tty_write
""",
    "tty_port": """
__tty_insert_flip_char flush_to_ldisc tty_buffer_request_room tty_buffer_set_limit tty_flip_buffer_push
tty_insert_flip_string_fixed_flag tty_port_close tty_port_close_end tty_port_close_start tty_port_destroy
tty_port_hangup tty_port_init tty_port_link_device tty_port_open tty_port_put tty_port_register_device
tty_port_register_device_attr tty_port_tty_get tty_port_tty_hangup tty_port_tty_set tty_port_tty_wakeup
""",
    "uaccess": """
__copy_user_nocache _copy_from_user _copy_to_user check_zeroed_user copy_from_kernel_nofault copy_from_user_nofault
copy_to_user_nofault copy_user_enhanced_fast_string copy_user_generic_string copy_user_generic_unrolled
fault_in_readable fault_in_writeable strncpy_from_user strnlen_user
""",
    "usercopy": """
__check_object_size __copy_overflow
""",
    "userns": """
fqdir_exit fqdir_init from_kgid from_kgid_munged from_kuid from_kuid_munged make_kgid make_kuid
""",
    "utf": """
utf16s_to_utf8s utf8s_to_utf16s
""",
    "util": """
__memcat_p kmemdup kmemdup_nul kstrdup kstrdup_const kstrndup kvmemdup memdup_user memdup_user_nul strndup_user
vmemdup_user
""",
    "uuid": """
guid_gen guid_null guid_parse uuid_gen uuid_is_valid uuid_null uuid_parse
""",
    "vfs": """
__d_drop alloc_anon_inode current_time d_add d_alloc_name d_delete d_drop d_instantiate d_make_root dput drop_nlink
empty_inode_ops generic_delete_inode get_next_ino get_tree_nodev get_tree_single ihold inc_nlink init_pseudo iput
kill_anon_super kill_litter_super lockref_get new_inode pseudo_fs_context_ops pseudo_fs_fill_super pseudo_fs_free
pseudo_fs_get_tree set_nlink simple_pin_fs simple_release_fs vfs_next_ino
""",
    "vmalloc": """
__vcalloc __vmalloc __vmalloc_array __vmalloc_node is_vmalloc_addr is_vmalloc_or_module_addr kvfree kvfree_sensitive
kvmalloc_node kvrealloc vcalloc vfree vfree_atomic vm_map_ram vm_unmap_aliases vm_unmap_ram vmalloc vmalloc_32
vmalloc_32_user vmalloc_array vmalloc_huge vmalloc_node vmalloc_to_page vmalloc_to_pfn vmalloc_user vmap vmap_pfn
vunmap vzalloc vzalloc_node
""",
    "vt": """
clear_selection console_blanked console_lock console_unlock do_blank_screen do_unblank_screen fg_console kd_mksound
redraw_screen screen_glyph screen_pos vc_cons vt_get_leds
""",
    "wait": """
__init_swait_queue_head __init_waitqueue_head __wake_up __wake_up_locked __wake_up_sync __wake_up_sync_key
add_wait_queue add_wait_queue_exclusive autoremove_wake_function complete complete_all completion_done
default_wake_function do_wait_intr finish_wait init_wait_entry prepare_to_wait prepare_to_wait_event
prepare_to_wait_exclusive remove_wait_queue try_wait_for_completion wait_for_completion
wait_for_completion_interruptible wait_for_completion_interruptible_timeout wait_for_completion_io
wait_for_completion_io_timeout wait_for_completion_killable wait_for_completion_killable_timeout
wait_for_completion_timeout wait_woken woken_wake_function
""",
    "workqueue": """
__flush_workqueue alloc_workqueue cancel_delayed_work cancel_delayed_work_sync cancel_work cancel_work_sync
current_work delayed_work_timer_fn destroy_workqueue drain_workqueue flush_delayed_work flush_work kmem_worker
kmem_workqueues kmem_wq_barrier mod_delayed_work_on queue_delayed_work_on queue_work_on system_bh_highpri_wq
system_bh_wq system_freezable_power_efficient_wq system_freezable_wq system_highpri_wq system_long_wq
system_power_efficient_wq system_unbound_wq system_wq work_busy
""",
    "x86": """
__put_devmap_managed_page_refs boot_cpu_data devmap_managed_key hugetlb_optimize_vmemmap_key native_cpuid
native_read_msr native_read_msr_safe native_write_msr native_write_msr_safe physical_mask pv_ops sme_me_mask
static_key_initialized system_state
""",
    "xa_store": """
radix_tree_node_cachep radix_tree_node_rcu_free
""",
    "xarray": """
__xa_alloc __xa_alloc_cyclic __xa_clear_mark __xa_cmpxchg __xa_erase __xa_insert __xa_set_mark __xa_store
xa_clear_mark xa_delete_node xa_destroy xa_erase xa_extract xa_find xa_find_after xa_get_mark xa_get_order xa_load
xa_set_mark xa_store xa_store_range
""",
    "xas": """
__xas_next __xas_prev xas_clear_mark xas_create_range xas_find xas_find_conflict xas_find_marked xas_get_mark
xas_get_order xas_init_marks xas_load xas_nomem xas_pause xas_set_mark xas_split xas_split_alloc xas_store
""",
}
"""File: names declared in it."""

PRIVATE_DATA = """
ktype_cdev_default ktype_cdev_dynamic misc_class misc_class.name cpuhp_dynamic cpuhp_steps xfeature_name.0
xfeature_name.1 xfeature_name.10 xfeature_name.11 xfeature_name.2 xfeature_name.3 xfeature_name.4 xfeature_name.5
xfeature_name.6 xfeature_name.7 xfeature_name.8 xfeature_name.9 device_ktype devres_names dmi_ident.1 dmi_ident.18
dmi_ident.19 dmi_ident.2 dmi_ident.20 dmi_ident.3 dmi_ident.4 dmi_ident.6 dmi_ident.7 dmi_ident.8 acpi_bus_type
acpi_bus_type.name auxiliary_bus_type auxiliary_bus_type.name coreboot_bus_type coreboot_bus_type.name
cxl_bus_type.name dax_bus_type dax_bus_type.name i2c_bus_type.name pcie_port_bus_type.name pnp_bus_type
pnp_bus_type.name serdev_bus_type serdev_bus_type.name serio_bus.name spi_bus_type.name block_class
kmem_block_class_name kmem_disk_numbers kmem_hrtimer_bases kmem_input_class_name kmem_input_number kmem_irqs
dynamic_kobj_release.ktype firmware_kobj.name fs_kobj.name hypervisor_kobj.name kernel_kobj.name kset_release.ktype
mm_kobj.name kunit_current kasan_multi_shot netdev_eth_name netdev_index kmem_chain_crypto_register_notifier
kmem_chain_fb_register_client kmem_chain_mce_register_decode_chain kmem_chain_netlink_register_notifier
kmem_chain_power_supply_reg_notifier kmem_chain_register_acpi_notifier kmem_chain_register_blocking_lsm_notifier
kmem_chain_register_dcbevent_notifier kmem_chain_register_die_notifier kmem_chain_register_inet6addr_notifier
kmem_chain_register_inet6addr_validator_notifier kmem_chain_register_inetaddr_notifier
kmem_chain_register_inetaddr_validator_notifier kmem_chain_register_keyboard_notifier
kmem_chain_register_memory_notifier kmem_chain_register_module_notifier kmem_chain_register_netdevice_notifier
kmem_chain_register_netevent_notifier kmem_chain_register_oom_notifier kmem_chain_register_pm_notifier
kmem_chain_register_reboot_notifier kmem_chain_register_switchdev_blocking_notifier
kmem_chain_register_switchdev_notifier kmem_chain_register_vmap_purge_notifier kmem_chain_register_vt_notifier
param_array_element kmalloced_params param_value pci_bus_type.name pci_next_slot pci_root_bus kmem_init_nsproxy
net_exit_list net_generic_ids platform_bus_type.name platform_device_id kmem_dma_channels nopage_rs oom_rs
printk_ratelimit_state slub_oom_rs rcu_cblist kmem_registry rhashtable_compare_args rht_bucket_nested.rhnull
genl_groups genl_ids rtnl_held kmem_sched shrink_control shrinker_list software_node_ops kmem_nls_charset
kmem_nls_default kmem_nls_lower kmem_nls_upper kmem_node_cpumasks tty_class tty_class.name tty_fops empty_inode_ops
pseudo_fs_context_ops vfs_next_ino kmem_workqueues radix_tree_node_cachep
"""
"""Variables of the model's own."""

_modules: dict[str, str] = {}


def module_of(name: str) -> str | None:
    """The file, without ``.py``, that declares *name*; None when none does."""
    if not _modules:
        for module, names in NAMES.items():
            _modules.update(dict.fromkeys(names.split(), module))
    return _modules.get(name)
