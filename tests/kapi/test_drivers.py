"""Buses, drivers and devices find each other; what is registered is known until it is taken out again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kmem
from kmem.errors import UsageError
from kmem.kapi.fields import at, get, put

NODEV, EXIST, BUSY = -19, -17, -16


@pytest.fixture
def k() -> Iterator[kmem.Kernel]:
    with kmem.boot(ram="128M") as machine:
        yield machine


def zeroed(k: kmem.Kernel, struct: str) -> int:
    made: int = k.kzalloc(k.layout[struct].size)
    return made


def pci_driver(k: kmem.Kernel, vendor: int, device: int) -> int:
    ids = k.kzalloc(2 * k.layout["pci_device_id"].size)
    for member, value in (("vendor", vendor), ("device", device), ("subvendor", 0xFFFFFFFF), ("subdevice", 0xFFFFFFFF)):
        put(k, "pci_device_id", ids, member, value)
    driver = zeroed(k, "pci_driver")
    put(k, "pci_driver", driver, "name", k.mm.boot.string("lamp"))
    put(k, "pci_driver", driver, "id_table", ids)
    return driver


def test_a_platform_driver_without_its_device_is_not_kept_when_it_asks_for_one_now(k: kmem.Kernel) -> None:
    driver = zeroed(k, "platform_driver")
    put(k, "device_driver", at(k, "platform_driver", driver, "driver"), "name", k.mm.boot.string("lamp"))
    from kmem.kapi.platform import __platform_driver_probe as probe_now

    assert k.executor.drive(probe_now(k, driver, 0, 0)) == NODEV
    assert k.driver_find("lamp", k.address_of("platform_bus_type")) == 0


def test_a_name_that_the_bus_knows_is_busy(k: kmem.Kernel) -> None:
    first, second = zeroed(k, "device_driver"), zeroed(k, "device_driver")
    for driver in (first, second):
        put(k, "device_driver", driver, "name", k.mm.boot.string("lamp"))
        put(k, "device_driver", driver, "bus", k.address_of("i2c_bus_type"))
    assert k.driver_register(first) == 0
    assert k.driver_register(second) == BUSY
    assert "already registered" in k.dmesg()
    k.driver_unregister(first)
    assert k.driver_register(second) == 0


def test_a_driver_of_a_bus_that_nobody_registered_is_refused(k: kmem.Kernel) -> None:
    bus, driver = zeroed(k, "bus_type"), zeroed(k, "device_driver")
    put(k, "bus_type", bus, "name", k.mm.boot.string("lamps"))
    put(k, "device_driver", driver, "name", k.mm.boot.string("lamp"))
    put(k, "device_driver", driver, "bus", bus)
    assert k.driver_register(driver) == -22
    assert k.bus_register(bus) == 0
    assert k.driver_register(driver) == 0


def test_a_device_that_is_plugged_in_is_found_and_gone_when_it_is_unplugged(k: kmem.Kernel) -> None:
    assert k.pci_get_device(0x8086, 0x10D3, 0) == 0
    card = k.plug_pci(0x8086, 0x10D3, bars=[0x20000, 4096])
    assert k.pci_get_device(0x8086, 0x10D3, 0) == card.address
    assert k.pci_get_device(0x8086, 0x10D3, card.address) == 0
    assert card.config[:4] == bytes.fromhex("8680d310")
    assert [size for _, size in card.bars] == [0x20000, 4096]
    card.unplug()
    assert k.pci_get_device(0x8086, 0xFFFFFFFF, 0) == 0


def test_a_driver_gets_the_device_that_its_table_names_whoever_comes_first(k: kmem.Kernel) -> None:
    early = k.plug_pci(0x8086, 0x10D3)
    other = k.plug_pci(0x8086, 0x1234)
    driver = pci_driver(k, 0x8086, 0x10D3)
    from kmem.kapi.pci import __pci_register_driver as register

    assert k.executor.drive(register(k, driver, 0, 0)) == 0
    late = k.plug_pci(0x8086, 0x10D3)
    assert (early.driver, other.driver, late.driver) == ("lamp", "", "lamp")
    k.pci_unregister_driver(driver)
    assert early.driver == ""


def test_a_region_must_be_a_power_of_two(k: kmem.Kernel) -> None:
    with pytest.raises(UsageError):
        k.plug_pci(1, 2, bars=[5000])


def test_character_device_numbers_are_given_once(k: kmem.Kernel) -> None:
    dev = k.kzalloc(8)
    assert k.alloc_chrdev_region(dev, 0, 4, "lamps") == 0
    first = k.mem.u32(dev)
    assert k.register_chrdev_region(first + 3, 1, "other") == BUSY
    assert k.alloc_chrdev_region(dev, 0, 4, "lamps") == 0
    assert k.mem.u32(dev) >> 20 == (first >> 20) - 1
    k.unregister_chrdev_region(first, 4)
    assert k.register_chrdev_region(first + 3, 1, "other") == 0


def test_an_algorithm_is_found_by_name_while_it_is_registered(k: kmem.Kernel) -> None:
    alg = zeroed(k, "shash_alg")
    base = at(k, "shash_alg", alg, "base")
    k.write(at(k, "crypto_alg", base, "cra_name"), b"crc32c\0")
    k.write(at(k, "crypto_alg", base, "cra_driver_name"), b"crc32c-generic\0")
    assert k.crypto_has_alg("crc32c", 0, 0) == 0
    assert k.crypto_register_shash(alg) == 0
    assert k.crypto_register_shash(alg) == EXIST
    assert k.crypto_has_alg("crc32c", 0, 0) == 1
    k.crypto_unregister_shash(alg)
    assert k.crypto_alloc_shash("crc32c", 0, 0) == (1 << 64) - 2
    assert k.crypto_has_alg("sha256", 0, 0) == 1


def test_a_notifier_chain_is_in_the_order_of_priority(k: kmem.Kernel) -> None:
    head = zeroed(k, "raw_notifier_head")
    blocks = [k.kzalloc(24) for _ in range(3)]
    for block, priority in zip(blocks, (0, 10, 5), strict=True):
        k.mem.set_u32(block + 16, priority)
        assert k.raw_notifier_chain_register(head, block) == 0
    found, at_block = [], k.mem.u64(head)
    while at_block:
        found.append(blocks.index(at_block))
        at_block = k.mem.u64(at_block + 8)
    assert found == [1, 2, 0]
    assert k.raw_notifier_chain_register(head, blocks[0]) == EXIST
    assert k.raw_notifier_chain_unregister(head, blocks[0]) == 0
    assert k.raw_notifier_chain_unregister(head, blocks[0]) == -2


def test_a_file_system_of_a_name_that_is_taken_is_busy(k: kmem.Kernel) -> None:
    mine, same, built_in = (zeroed(k, "file_system_type") for _ in range(3))
    for fs, name in ((mine, "lampfs"), (same, "lampfs"), (built_in, "tmpfs")):
        put(k, "file_system_type", fs, "name", k.mm.boot.string(name))
    assert k.register_filesystem(mine) == 0
    assert (k.register_filesystem(same), k.register_filesystem(built_in)) == (BUSY, BUSY)
    assert k.unregister_filesystem(mine) == 0
    assert k.unregister_filesystem(mine) == -22


def test_debugfs_forgets_a_tree_at_once(k: kmem.Kernel) -> None:
    top = k.debugfs_create_dir("lamps", 0)
    k.debugfs_create_file("level", 0o644, k.debugfs_create_dir("one", top), 0, 0)
    assert k.debugfs_lookup("lamps", 0) == top
    k.debugfs_remove(top)
    assert k.debugfs_lookup("lamps", 0) == 0


def test_the_last_reference_to_an_object_drops_the_one_to_its_parent(k: kmem.Kernel) -> None:
    parent = k.kobject_create_and_add("above", 0)
    child = k.kobject_create_and_add("below", parent)
    references = at(k, "kobject", parent, "kref")
    assert k.mem.u32(references) == 2
    assert get(k, "kobject", child, "parent") == parent
    k.kobject_put(child)
    assert k.mem.u32(references) == 1


def test_work_runs_when_it_is_flushed_or_not_at_all(k: kmem.Kernel) -> None:
    work = zeroed(k, "work_struct")
    queue = k.mem.u64(k.address_of("system_wq"))
    assert k.queue_work_on(0, queue, work) is True
    assert k.queue_work_on(0, queue, work) is False
    assert k.cancel_work_sync(work) == 1
    assert k.cancel_work_sync(work) == 0


def test_a_platform_device_is_probed_by_the_driver_of_its_name(k: kmem.Kernel) -> None:
    from kmem.kapi.platform import __platform_driver_register as register

    driver = zeroed(k, "platform_driver")
    inner = at(k, "platform_driver", driver, "driver")
    put(k, "device_driver", inner, "name", k.mm.boot.string("lamp"))
    assert k.executor.drive(register(k, driver, 0)) == 0
    pdev = k.platform_device_alloc("lamp", 3)
    assert k.platform_device_add(pdev) == 0
    dev = at(k, "platform_device", pdev, "dev")
    assert get(k, "device", dev, "driver") == inner
    k.platform_device_unregister(pdev)
