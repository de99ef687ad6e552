"""The hardware, which knows nothing of Linux: RAM, page tables, the CPU, traps, per-cpu areas, the clock."""
