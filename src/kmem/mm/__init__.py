"""The kernel's mm/: one file for one of the kernel's, with its function and field names."""
