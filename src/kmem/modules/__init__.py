"""Kernel modules: reading, placing, linking and patching ``.ko`` files, their symbols and lines, headers and kbuild."""
