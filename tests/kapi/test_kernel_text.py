"""The places in the kernel image: that they say what a real 6.1 printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmem.kapi.kernel_text import MODULE_EXIT, MODULE_INIT, KernelText, kernel_text

GOLDEN = Path(__file__).parent.parent / "golden" / "dump"
RELEASE = "6.1"


@pytest.mark.parametrize(
    ("slug", "function", "text"),
    [
        ("vmalloc-zero-size", "", "__vmalloc_node_range+0x806/0x880"),
        ("alloc-pages-order", "", "__alloc_pages+0x2a9/0x330"),
        ("kvmalloc-size", "", "kvmalloc_node+0xc0/0xd0"),
        ("ioremap-ram", "", "__ioremap_caller+0x345/0x360"),
        ("initcall-imbalance", "", "do_one_initcall+0x1d7/0x220"),
        ("slub-double-free", "__kmem_cache_free", "__kmem_cache_free+0x284/0x2a0"),
        ("slub-freelist", "__kmem_cache_alloc_node", "__kmem_cache_alloc_node+0x12e/0x2a0"),
        ("vmalloc-in-interrupt", "", "__get_vm_area_node+0x138/0x150"),
    ],
)
def test_places_that_a_real_kernel_has_named(slug: str, function: str, text: str) -> None:
    assert kernel_text(RELEASE).site(slug, function).text == text


def test_a_file_and_line_find_their_place() -> None:
    text = kernel_text(RELEASE)
    site = text.at_line("mm/slub.c", 419, "kmem_cache_free")
    assert site is not None
    assert site.function == "kmem_cache_free"
    cold = text.at_line("lib/list_debug.c", 53, "__list_del_entry_valid")
    assert cold is not None
    assert cold.function == "__list_del_entry_valid.cold"
    assert text.at_line("mm/slub.c", 1) is None


def test_a_warning_that_fires_once_says_so() -> None:
    text = kernel_text(RELEASE)
    assert text.site("vmalloc-zero-size").once
    assert not text.site("slub-wrong-cache").once


@pytest.mark.parametrize("line", [19, 22, 25, 28, 31, 34])
def test_every_refcount_warning_has_a_place_of_its_own(line: int) -> None:
    site = kernel_text(RELEASE).at_line("lib/refcount.c", line, "refcount_warn_saturate")
    assert site is not None
    assert (site.function, site.once) == ("refcount_warn_saturate", True)


def test_an_unknown_slug_is_an_error() -> None:
    with pytest.raises(KeyError):
        kernel_text(RELEASE).site("no-such-place")


def test_frames_of_insmod_and_rmmod() -> None:
    text = kernel_text(RELEASE)
    assert [frame.text for frame in text.syscall(MODULE_INIT)] == [
        "do_one_initcall+0x59/0x220",
        "do_init_module+0x4a/0x1f0",
        "__do_sys_finit_module+0xac/0x120",
        "do_syscall_64+0x5d/0xb0",
        "entry_SYSCALL_64_after_hwframe+0x6e/0xd8",
    ]
    assert [frame.text for frame in text.syscall(MODULE_EXIT)] == [
        "__do_sys_delete_module+0x1b9/0x330",
        "do_syscall_64+0x5d/0xb0",
        "entry_SYSCALL_64_after_hwframe+0x6e/0xd8",
    ]


@pytest.mark.parametrize(
    ("path", "golden"),
    [
        (("__kmalloc", "___slab_alloc", "get_partial_node.part.0", "@poison", "show_stack"), "poison-overwritten"),
        (("kfree", "@right-redzone", "show_stack"), "right-redzone"),
        (("__kmalloc", "__kmalloc_large_node", "show_stack"), "unexpected-gfp"),
        (("__alloc_pages", "__alloc_pages_slowpath.constprop.0", "show_stack"), "page-allocation-failure"),
        (("msleep", "__schedule_bug", "show_stack"), "scheduling-while-atomic"),
        (("vmalloc", "__get_vm_area_node"), "bug-in-interrupt"),
        (("vmalloc", "__vmalloc_node_range"), "warning"),
    ],
)
def test_frames_of_a_call_are_those_of_the_real_report(path: tuple[str, ...], golden: str) -> None:
    """From the exported function inwards, up to the module's own frame."""
    lines = (GOLDEN / f"{golden}.txt").read_text().splitlines()
    shown = lines[lines.index("Call Trace:") + 2 :]
    expected = []
    for line in shown:
        if line.endswith("]") or line.startswith(" <"):
            break
        expected.append(line[1:])
    assert [frame.text for frame in kernel_text(RELEASE).frames(*path)] == expected


def test_a_tail_call_leaves_no_frame_and_an_unknown_way_none_at_all() -> None:
    text = kernel_text(RELEASE)
    assert text.frames("kfree", "__kmem_cache_free") == []
    assert text.frames("msleep", "__vmalloc_node_range") == []


def test_the_file_is_consistent() -> None:
    """An offset outside its function, or a way to a name that is not there, would print nonsense."""
    text = (Path(__file__).parents[2] / "src/kmem/abi/releases/6.1.sites").read_text()
    sizes = {words[1]: int(words[3], 16) for line in text.splitlines() if (words := line.split())[:1] == ["function"]}
    places = re.findall(r"([\w.]+)\+0x([0-9a-f]+)\b", text)
    assert len(places) > 500
    for function, offset in places:
        assert 0 <= int(offset, 16) <= sizes[function], function
    for line in text.splitlines():
        if line.startswith(("call ", "jump ")):
            assert line.split()[2].startswith("@") or line.split()[2] in sizes, line


@pytest.mark.needs_shared
def test_sizes_and_warnings_agree_with_every_recorded_debian_log(shared: Path) -> None:
    text = (Path(__file__).parents[2] / "src/kmem/abi/releases/6.1.sites").read_text()
    sizes = {words[1]: int(words[3], 16) for line in text.splitlines() if (words := line.split())[:1] == ["function"]}
    frames = warnings = 0
    for log in [*shared.glob("truth/deb.*/serial.log"), *shared.glob("truth/probe/serial.log")]:
        content = log.read_text(errors="replace")
        for function, size in re.findall(r"\] +(?:\? )?([\w.]+)\+0x\w+/0x(\w+)$", content, re.M):
            if function in sizes:
                assert sizes[function] == int(size, 16), (log, function)
                frames += 1
        for file, line, where in re.findall(r"WARNING: CPU: \d+ PID: \d+ at (\S+):(\d+) (\S+)", content):
            site = kernel_text(RELEASE).at_line(file, int(line))
            assert site is not None, (file, line)
            assert site.text == where
            warnings += 1
    assert frames > 300
    assert warnings > 8


def test_reading_the_format() -> None:
    text = KernelText(
        "# nothing\nfunction f 0x1000 0x20\nfunction g 0x2000 0x40\ncall f+0x8 g\nwarn-once - a.c:3 g+0x4\n"
    )
    site = text.at_line("a.c", 3)
    assert site is not None
    assert (site.slug, site.address, site.text, site.once) == ("", 0x2004, "g+0x4/0x40", True)
    assert [(frame.address, frame.text) for frame in text.frames("f", "g")] == [(0x1008, "f+0x8/0x20")]
