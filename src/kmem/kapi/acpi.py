"""ACPI (drivers/acpi), 6.1: it is there, with an empty namespace: no device, no method, no table of a driver's."""

from __future__ import annotations

from kmem.kapi.export import data, simplified
from kmem.kapi.registry import accepts, answers

AE_NOT_FOUND = 5
EMPTY = simplified("the namespace is empty")

data("acpi_disabled", 4, align=4, doc="ACPI is on, arch/x86/kernel/acpi/boot.c.")
data("acpi_root_dir", 8, doc="/proc/acpi, which nobody has made, drivers/acpi/bus.c.", fidelity=EMPTY)
data("acpi_kobj", 8, doc="/sys/firmware/acpi, which is not there, drivers/acpi/bus.c.", fidelity=EMPTY)
data("acpi_gbl_FADT", 276, doc="The fixed table of the firmware, drivers/acpi/acpica; empty.", fidelity=EMPTY)

answers(
    0,
    "drivers/acpi/acpica",
    "u32 acpi_get_devices(const char *HID, void *user_function, void *context, void **return_value)",
    "u32 acpi_walk_namespace(unsigned int type, void *start_object, u32 max_depth, void *descending_callback, "
    "void *ascending_callback, void *context, void **return_value)",
    how="the namespace is empty: the callback is never called",
)
answers(
    AE_NOT_FOUND,
    "drivers/acpi/acpica",
    "u32 acpi_get_handle(void *parent, void *pathname, acpi_handle *ret_handle)",
    "u32 acpi_get_table(char *signature, u32 instance, struct acpi_table_header **out_table)",
    "u32 acpi_evaluate_object(void *handle, void *pathname, struct acpi_object_list *external_params, struct "
    "acpi_buffer *return_buffer)",
    "u32 acpi_evaluate_object_typed(void *handle, void *pathname, struct acpi_object_list *external_params, "
    "struct acpi_buffer *return_buffer, unsigned int return_type)",
    "u32 acpi_get_object_info(void *handle, struct acpi_device_info **return_buffer)",
    "u32 acpi_get_name(void *handle, u32 name_type, struct acpi_buffer *buffer)",
    "u32 acpi_get_parent(void *handle, acpi_handle *ret_handle)",
    "u32 acpi_get_type(void *handle, acpi_object_type *ret_type)",
    "u32 acpi_get_next_object(unsigned int type, void *parent, void *child, acpi_handle *ret_handle)",
    "u32 acpi_get_data(void *obj_handle, void *handler, void **data)",
    "u32 acpi_walk_resources(void *device_handle, char *name, void *user_function, void *context)",
    "u32 acpi_get_current_resources(void *device_handle, struct acpi_buffer *ret_buffer)",
    "u32 acpi_get_irq_routing_table(void *device_handle, struct acpi_buffer *ret_buffer)",
    "u32 acpi_get_event_resources(void *device_handle, struct acpi_buffer *ret_buffer)",
    "u32 acpi_get_sleep_type_data(u8 sleep_state, u8 *sleep_type_a, u8 *sleep_type_b)",
    how="the namespace is empty",
)
answers(
    AE_NOT_FOUND,
    "drivers/acpi/utils.c",
    "u32 acpi_evaluate_integer(void *handle, void *pathname, struct acpi_object_list *arguments, u64 *data)",
    "u32 acpi_evaluate_reference(void *handle, void *pathname, struct acpi_object_list *arguments, struct "
    "acpi_handle_list *list)",
    "u32 acpi_execute_simple_method(void *handle, char *method, u64 arg)",
    "u32 acpi_get_physical_device_location(void *handle, struct acpi_pld_info **pld)",
    "u32 acpi_evaluate_ost(void *handle, u32 source_event, u32 status_code, struct acpi_buffer *status_buf)",
    how="the namespace is empty",
)
answers(
    0,
    "drivers/acpi/utils.c",
    "bool acpi_dev_present(const char *hid, const char *uid, s64 hrv)",
    "bool acpi_dev_found(const char *hid)",
    "bool acpi_has_method(void *handle, char *name)",
    "struct acpi_device *acpi_dev_get_next_match_dev(struct acpi_device *adev, const char *hid, const char "
    "*uid, s64 hrv)",
    "struct acpi_device *acpi_dev_get_first_match_dev(const char *hid, const char *uid, s64 hrv)",
    "union acpi_object *acpi_evaluate_dsm(void *handle, const guid_t *guid, u64 rev, u64 func, union "
    "acpi_object *argv4)",
    "bool acpi_check_dsm(void *handle, const guid_t *guid, u64 rev, u64 funcs)",
    "bool acpi_dev_hid_uid_match(struct acpi_device *adev, const char *hid2, const char *uid2)",
    how="the namespace is empty",
)
answers(
    0,
    "drivers/acpi/bus.c",
    "const struct acpi_device_id *acpi_match_device(const struct acpi_device_id *ids, const struct device *dev)",
    "const void *acpi_device_get_match_data(const struct device *dev)",
    "struct acpi_device *acpi_fetch_acpi_dev(void *handle)",
    "struct acpi_device *acpi_get_acpi_dev(void *handle)",
    "struct device *acpi_get_first_physical_node(struct acpi_device *adev)",
    "u32 acpi_bus_get_ejd(void *handle, acpi_handle *ejd)",
    "void acpi_scan_lock_acquire(void)",
    "void acpi_scan_lock_release(void)",
    "struct pci_dev *acpi_get_pci_dev(void *handle)",
    "struct acpi_device *acpi_find_child_device(struct acpi_device *parent, u64 address, bool check_children)",
    "struct acpi_device *acpi_find_child_by_adr(struct acpi_device *adev, u64 adr)",
    "bool is_acpi_device_node(const struct fwnode_handle *fwnode)",
    "bool is_acpi_data_node(const struct fwnode_handle *fwnode)",
    "int acpi_bus_generate_netlink_event(const char *device_class, const char *bus_id, u8 type, int data)",
    how="the namespace is empty",
)
answers(
    -2,
    "drivers/acpi/bus.c",
    "int acpi_match_device_ids(struct acpi_device *device, const struct acpi_device_id *ids)",
    "int acpi_match_platform_list(const struct acpi_platform_list *plat)",
    how="the namespace is empty",
)
answers(
    1,
    "drivers/acpi/osl.c",
    "int acpi_resources_are_enforced(void)",
    how="always enforced, as by default",
)
answers(
    0,
    "drivers/acpi/osl.c",
    "int acpi_check_resource_conflict(const struct resource *res)",
    "int acpi_check_region(resource_size_t start, resource_size_t n, const char *name)",
    "void acpi_os_wait_events_complete(void)",
    how="no region is the firmware's",
)
accepts(
    "drivers/acpi/acpica",
    "u32 acpi_install_address_space_handler(void *device, unsigned char space_id, void *handler, void *setup, "
    "void *context)",
    "u32 acpi_remove_address_space_handler(void *device, unsigned char space_id, void *handler)",
    "u32 acpi_install_notify_handler(void *device, u32 handler_type, void *handler, void *context)",
    "u32 acpi_remove_notify_handler(void *device, u32 handler_type, void *handler)",
    "u32 acpi_install_gpe_handler(void *gpe_device, u32 gpe_number, u32 type, void *address, void *context)",
    "u32 acpi_remove_gpe_handler(void *gpe_device, u32 gpe_number, void *address)",
    "u32 acpi_enable_gpe(void *gpe_device, u32 gpe_number)",
    "u32 acpi_disable_gpe(void *gpe_device, u32 gpe_number)",
    "u32 acpi_install_fixed_event_handler(u32 event, void *handler, void *context)",
    "u32 acpi_remove_fixed_event_handler(u32 event, void *handler)",
    "u32 acpi_enable_event(u32 event, u32 flags)",
    "u32 acpi_disable_event(u32 event, u32 flags)",
    "void acpi_put_table(struct acpi_table_header *table)",
    "int acpi_bus_register_early_device(int type)",
    "u32 acpi_install_table_handler(void *handler, void *context)",
    "u32 acpi_remove_table_handler(void *handler)",
    "u32 acpi_release_global_lock(u32 handle)",
    "u32 acpi_acquire_global_lock(u16 timeout, u32 *handle)",
    "u32 acpi_update_all_gpes(void)",
    how="the handler is never called: nothing happens in the namespace",
)
