"""The kernel command line of a boot: what it changes, and what the kernel says about the rest (init/main.c,
kernel/params.c, lib/cmdline.c, mm/slub.c, mm/slab_common.c, mm/page_alloc.c; 6.1).

Parameters are separated by blanks; a value in double quotes may hold blanks; ``-`` and ``_`` are the same in a name;
what stands behind ``--`` is for user space. As in the kernel a parameter that nobody knows is no error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kmem.abi.release import release as facts_of
from kmem.abi.slab_flags import slab_flags

KERN_ERR, KERN_WARNING, KERN_NOTICE, KERN_INFO = 3, 4, 5, 6
MAX_ORDER = 11
_TRUE, _FALSE = "yYtT1", "nNfF0"
_BLANKS = " \t\n\v\f\r\xa0"

ELSEWHERE = frozenset(
    "BOOT_IMAGE console debug earlycon earlyprintk ignore_loglevel init initcall_debug initrd isolcpus kaslr loglevel "
    "memtest mitigations nmi_watchdog nokaslr nopti norandmaps nosmp oops panic panic_on_warn printk quiet rdinit ro "
    "root rootdelay rootflags rootfstype rw splash systemd tsc verbose vga".split()
)
"""Parameters of the kernel that have nothing to do with what is modelled."""
NOT_MODELLED = {
    "cgroup.memory": "memory control groups are not modelled",
    "crashkernel": "no memory is reserved for a crash kernel",
    "debug_guardpage_minorder": "guard pages are not modelled",
    "debug_pagealloc": "unmapping of free pages is not modelled",
    "hardened_usercopy": "usercopy checks stay on",
    "hugepages": "huge page pools are not modelled",
    "hugepagesz": "huge page pools are not modelled",
    "kasan": "KASAN is not in this configuration",
    "kernelcore": "a movable zone is not modelled",
    "kfence.sample_interval": "KFENCE is not modelled, which is as sample_interval=0",
    "maxcpus": "--cpus says how many CPUs there are",
    "mem": "--ram says how much memory there is",
    "memmap": "--ram says how much memory there is",
    "movablecore": "a movable zone is not modelled",
    "nr_cpus": "--cpus says how many CPUs there are",
    "numa": "--numa says how many nodes there are",
    "page_owner": "page owners are not recorded",
    "page_poison": "page poisoning is not modelled",
    "slub_memcg_sysfs": "memory control groups are not modelled",
    "transparent_hugepage": "transparent huge pages are not modelled",
}
"""Parameters that concern memory and are not obeyed, and why."""


@dataclass
class CommandLine:
    """What a command line says: *settings* of `kmem.mm.config.BootConfig`, lines of the kernel's *log* with their
    levels, and *notes*: what was asked for in vain.
    """

    text: str = ""
    release: str = "6.1"
    settings: dict[str, Any] = field(default_factory=dict)
    log: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def arguments(text: str) -> Iterator[tuple[str, str | None]]:
    """``next_arg()``: each parameter and its value, None without ``=``; ends at ``--``."""
    at = 0
    while True:
        while at < len(text) and text[at] in _BLANKS:
            at += 1
        if at == len(text):
            return
        start, quoted = at, False
        while at < len(text) and (quoted or text[at] not in _BLANKS):
            quoted ^= text[at] == '"'
            at += 1
        word = text[start:at]
        whole = word.startswith('"')
        word = word[1:] if whole else word
        name, equals, value = word.partition("=")
        if whole and (value or name).endswith('"'):
            name, value = (name, value[:-1]) if equals else (name[:-1], value)
        elif value.startswith('"'):
            value = value[1:].removesuffix('"')
        if name == "--" and not equals:
            return
        yield name, value if equals else None


def get_option(text: str) -> int:
    """``get_option()``: the number that *text* begins with, in C's notation; 0 if it begins with none."""
    digits = text.removeprefix("-")
    base = 10
    if digits[:2].lower() == "0x" and digits[2:3] and digits[2] in "0123456789abcdefABCDEF":
        base, digits = 16, digits[2:]
    elif digits[:1] == "0":
        base = 8
    value = 0
    for letter in digits.lower():
        figure = "0123456789abcdef".find(letter)
        if not 0 <= figure < base:
            break
        value = value * base + figure
    return -value if text.startswith("-") else value


def kstrtobool(text: str) -> bool | None:
    """``kstrtobool()``: by the first letter; None for what is no answer."""
    if text[:1] and text[0] in _TRUE:
        return True
    if text[:1] and text[0] in _FALSE:
        return False
    return {"on": True, "of": False}.get(text[:2].lower())


def parse_slub_debug(
    text: str, unknown: Callable[[str], None] = lambda letter: None, release: str = "6.1"
) -> tuple[dict[str, int], bool]:
    """``setup_slub_debug()``: what stands behind ``slub_debug=``: flags by cache name (``*`` at the end allowed, ``""``
    for all others), and whether ``O`` was among the letters. *unknown* is told of other letters.

    Blocks are separated by ``;``: letters, then names after commas. The first block that names a cache counts, and the
    last without names.
    """
    f = slab_flags(release)
    if not text:
        return {"": f.DEBUG_DEFAULT_FLAGS}, False
    found: dict[str, int] = {}
    keep_order = False
    for block in filter(None, text.split(";")):
        letters, comma, names = block.partition(",")
        flags = 0 if letters else f.DEBUG_DEFAULT_FLAGS
        for letter in letters.lower():
            if letter == "-":
                flags = 0
            elif letter == "o":
                keep_order = True
            elif letter in f.SLUB_DEBUG_LETTERS:
                flags |= f.SLUB_DEBUG_LETTERS[letter]
            else:
                unknown(letters[letters.lower().index(letter)])
        if not comma:
            found[""] = flags
        for name in filter(None, names.split(",")):
            found.setdefault(name, flags)
    return found, keep_order


def parse(text: str, base: Mapping[str, Any], release: str = "6.1") -> CommandLine:
    """Read a command line; *base* says what the configuration has built in (``shuffle``: SHUFFLE_PAGE_ALLOCATOR)."""
    line = CommandLine(text, release)
    if not text.strip():
        return line
    line.log.append((KERN_NOTICE, f"Kernel command line: {text}"))
    unknown: tuple[list[str], list[str]] = ([], [])
    for name, value in arguments(text):
        dashed = name.replace("-", "_")
        if _early(line, dashed, value) or _setup(line, dashed, value) or _boolean(line, dashed, value, base):
            continue
        if dashed.startswith("sysctl.") and value is not None:
            _sysctl(line, dashed[len("sysctl.") :].replace("/", "."), value)
        elif dashed in NOT_MODELLED:
            line.notes.append(f"{name} has no effect: {NOT_MODELLED[dashed]}")
        elif dashed in ELSEWHERE:
            line.notes.append(f"{name} has no effect: it does not concern memory")
        elif "." in name:
            line.notes.append(f"{name} has no effect: kmem has no such module parameter")
        else:
            unknown[value is not None].append(name if value is None else f"{name}={value}")
    if unknown[0] or unknown[1]:
        listed = " ".join(unknown[0] + unknown[1])
        said = f'Unknown kernel command line parameters "{listed}", will be passed to user space.'
        line.log.append((KERN_NOTICE, said))
        line.notes.append(said)
    return line


def _early(line: CommandLine, name: str, value: str | None) -> bool:
    """Parameters of ``early_param()``."""
    if name == "no_hash_pointers":
        line.settings["no_hash_pointers"] = True
        line.log.append((KERN_WARNING, _HASHING))
    elif name in ("init_on_alloc", "init_on_free"):
        wanted = None if value is None else kstrtobool(value)
        if wanted is None:
            line.log.append((KERN_WARNING, f"Malformed early option '{name}'"))
            line.notes.append(f"{name} has no effect: it takes 0 or 1")
        else:
            line.settings[name] = wanted
    else:
        return False
    return True


_HASHING = """**********************************************************
**   NOTICE NOTICE NOTICE NOTICE NOTICE NOTICE NOTICE   **
**                                                      **
** This system shows unhashed kernel memory addresses   **
** via the console, logs, and other interfaces. This    **
** might reduce the security of your system.            **
**                                                      **
** If you see this message and you are not debugging    **
** the kernel, report this immediately to your system   **
** administrator!                                       **
**                                                      **
**   NOTICE NOTICE NOTICE NOTICE NOTICE NOTICE NOTICE   **
**********************************************************"""
"""What ``no_hash_pointers`` prints (lib/vsprintf.c)."""


_SLAB_PARAMETERS = ("slab_debug", "slab_min_order", "slab_max_order", "slab_min_objects")
"""How a later release spells those that began with ``slub_``, which it still takes."""


def _setup(line: CommandLine, name: str, value: str | None) -> bool:
    """Parameters of ``__setup()``, which the beginning of the word decides; those with ``=`` need one."""
    if "slab-parameters" in facts_of(line.release).features and name.startswith(_SLAB_PARAMETERS):
        name = f"slub{name[4:]}"
    if value is not None and name in ("slub_min_order", "slub_max_order", "slub_min_objects"):
        number = get_option(value)
        line.settings[name] = min(number, MAX_ORDER - 1) if name == "slub_max_order" else number
    elif name.startswith(("slub_nomerge", "slab_nomerge")):
        line.settings["slab_nomerge"] = True
    elif name.startswith(("slub_merge", "slab_merge")):
        line.settings["slab_nomerge"] = False
    elif name.startswith("slub_debug"):
        _slub_debug(line, value if name == "slub_debug" else None)
    else:
        return False
    return True


def _slub_debug(line: CommandLine, value: str | None) -> None:
    def unknown(letter: str) -> None:
        spelled = "slab_debug" if "slab-parameters" in facts_of(line.release).features else "slub_debug"
        line.log.append((KERN_ERR, f"{spelled} option '{letter}' unknown. skipped"))
        line.notes.append(f"slub_debug has no option {letter!r}")

    flags, keep_order = parse_slub_debug(value or "", unknown, line.release)
    line.settings["slub_debug"] = {name: bits for name, bits in flags.items() if name or bits}
    if keep_order:
        line.settings["disable_higher_order_debug"] = True


def _boolean(line: CommandLine, name: str, value: str | None, base: Mapping[str, Any]) -> bool:
    """``page_alloc.shuffle``, a module parameter of the kernel itself."""
    if name != "page_alloc.shuffle" or not base.get("shuffle"):
        return False
    wanted = True if value is None else kstrtobool(value)
    if wanted is None:
        line.log.append((KERN_ERR, f"Booting kernel: `{value}' invalid for parameter `page_alloc.shuffle'"))
        line.notes.append("page_alloc.shuffle has no effect: it takes 0 or 1")
    else:
        line.settings["shuffle_page_alloc"] = wanted
    return True


_SYSCTLS = {
    "vm.min_free_kbytes": ("min_free_kbytes", 0, (1 << 31) - 1),
    "vm.watermark_scale_factor": ("watermark_scale_factor", 1, 3000),
    "vm.watermark_boost_factor": ("watermark_boost_factor", 0, (1 << 31) - 1),
}
"""Setting, least and largest value of the sysctls that are obeyed."""


def _sysctl(line: CommandLine, name: str, value: str) -> None:
    """``sysctl.vm.NAME=VALUE`` (``process_sysctl_arg()``)."""
    if name not in _SYSCTLS:
        line.notes.append(f"sysctl.{name} has no effect: the sysctls that are obeyed are {', '.join(_SYSCTLS)}")
        return
    setting, least, most = _SYSCTLS[name]
    try:
        number = int(value, 0)
    except ValueError:
        number = least - 1
    if least <= number <= most:
        line.settings[setting] = number
    else:
        line.log.append((KERN_ERR, f"Failed to set sysctl parameter '{name}={value}': invalid value"))
        line.notes.append(f"sysctl.{name} has no effect: it takes {least} to {most}")
