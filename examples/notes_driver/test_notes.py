"""Tests of the driver beside this file: pytest examples/notes_driver"""

from __future__ import annotations

import errno
import struct

import pytest

from kmem.testing import IO, IOR

NOTES_CLEAR, NOTES_STATUS = IO("n", 0), IOR("n", 1, 8)


@pytest.fixture
def note(driver, kernel):
    with kernel.open("/dev/notes") as opened:
        yield opened


def test_what_is_written_can_be_read(note):
    assert note.write(b"buy milk") == 8
    assert note.seek(0) == 0
    assert note.read(100) == b"buy milk"
    assert note.read(100) == b""


def test_every_program_has_a_note_of_its_own(note, kernel):
    note.write(b"mine")
    with kernel.open("/dev/notes") as other:
        assert other.read(100) == b""


def test_ioctls(note):
    note.write(b"buy milk")
    assert struct.unpack("II", note.ioctl(NOTES_STATUS, bytes(8))) == (8, 256)
    note.ioctl(NOTES_CLEAR)
    assert struct.unpack("II", note.ioctl(NOTES_STATUS, bytes(8))) == (0, 256)
    with pytest.raises(OSError, match="ENOTTY"):
        note.ioctl(IO("n", 99))


@pytest.mark.driver(".", room=4)
def test_a_full_note_takes_no_more(note):
    assert note.write(b"buy milk") == 4
    with pytest.raises(OSError, match="ENOSPC") as refused:
        note.write(b"!")
    assert refused.value.errno == errno.ENOSPC


def test_a_driver_that_is_in_use_stays(note, driver):
    with pytest.raises(Exception, match="in use"):
        driver.rmmod()


@pytest.mark.fail_each_alloc
def test_no_memory(note):
    assert note.write(b"buy milk") == 8


@pytest.mark.kernel(release="6.12", config="debug", cpus=4)
def test_on_another_kernel(note):
    assert note.write(b"buy milk") == 8
