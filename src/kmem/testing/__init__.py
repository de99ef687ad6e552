"""Tests of a driver with pytest (docs/testing-a-driver.md).

    def test_what_is_written_can_be_read(driver, kernel):
        with kernel.open("/dev/notes") as note:
            note.write(b"hello")
            note.seek(0)
            assert note.read(100) == b"hello"

Installing kmem is all that pytest needs. The fixtures and markers are in `kmem.testing.plugin`, the numbers of ioctl
commands here: ``IOR("n", 1, 4)`` is C's ``_IOR('n', 1, __u32)``.
"""

from __future__ import annotations

from kmem.abi.ioctl import IO, IOR, IOW, IOWR

__all__ = ["IO", "IOR", "IOW", "IOWR"]
