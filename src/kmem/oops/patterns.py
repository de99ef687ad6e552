"""The spellings of Linux 2.6 to 6.18 by which a report is known, and the facts that single lines carry."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple


class Header(NamedTuple):
    """A line that begins a report, or names one that has begun."""

    kind: str
    pattern: re.Pattern[str]
    joins: frozenset[str]
    """Kinds of an open report that this line continues instead of beginning a new one."""
    takes: bool
    """Whether a joined report changes to this kind."""


FAULTS = frozenset({"null", "paging", "gpf", "unhandled", "abort", "oops"})
NOTES = frozenset({"gpf-note", "nx-note", "list", "refcount-note", "odebug-note", "usercopy", "stack-guard", "fortify"})
ANY = frozenset({"*"})


def _header(kind: str, pattern: str, joins: frozenset[str] = frozenset(), takes: bool = True) -> Header:
    return Header(kind, re.compile(pattern), joins, takes)


HEADERS = (
    _header("gpf-note", r"kasan: GPF could be caused by|kasan: CONFIG_KASAN_INLINE enabled", frozenset({"gpf-note"})),
    _header("nx-note", r"kernel tried to execute NX-protected page|unable to execute userspace code"),
    _header("kasan", r"BUG: KAS[Aa][Nn]: "),
    _header("kfence", r"BUG: KFENCE: "),
    _header("kmsan", r"BUG: KMSAN: ", frozenset({"kmsan"})),
    _header("kcsan", r"BUG: KCSAN: "),
    _header("ubsan", r"UBSAN: (?!.*bounds_strict)"),
    _header("sleep", r"BUG: sleeping function called from invalid"),
    _header("sched", r"BUG: scheduling while atomic"),
    _header("bad-page", r"BUG: Bad page (?:state|map|cache)|Bad page state (?:at|in)"),
    _header(
        "list",
        r"list[_ ](?:add|del)(?: double add)? corruption|list_add double add|slist corruption",
        frozenset({"warning", "list"}),
    ),
    _header("stack-guard", r"BUG: (?:\w+ )?stack guard page was hit|BUG: IRQ stack guard page"),
    _header("soft-lockup", r"BUG: soft lockup|NMI watchdog: BUG: soft lockup|watchdog: BUG: soft lockup"),
    _header("hard-lockup", r"Watchdog detected hard LOCKUP|NMI watchdog: Watchdog detected hard"),
    _header("spinlock", r"BUG: spinlock (?:bad magic|lockup|wrong|recursion|already unlocked|trylock)|BUG: rwlock"),
    _header("preempt", r"BUG: using (?:__this_cpu|smp_processor_id)\S* in preemptible"),
    _header("kmemleak", r"BUG: memory leak|^unreferenced object 0x"),
    _header(
        "null",
        r"(?i:BUG: (?:unable to handle )?kernel NULL pointer dereference|"
        r"Unable to handle kernel NULL pointer|Kernel NULL pointer dereference)",
    ),
    _header(
        "paging",
        r"(?i:(?:BUG: )?unable to handle (?:kernel )?(?:paging request|page fault|access to user memory|"
        r"kernel memory|execute of user|kernel pointer|kernel execution)|"
        r"BUG: Unable to handle kernel|Unable to handle kernel (?:pointer|virtual))",
        frozenset({"nx-note"}),
    ),
    _header("unhandled", r"Unhandled fault: "),
    _header("insufficient", r"Insufficient stack space to handle exception|Kernel stack overflow"),
    _header("double-fault", r"PANIC: double fault|traps: PANIC: double fault|^double fault: "),
    _header(
        "usercopy",
        r"usercopy: |Bad or missing usercopy whitelist|"
        r"[Kk]ernel memory (?:exposure|overwrite) attempt detected",
    ),
    _header("fortify", r"detected buffer overflow in|memcpy: detected field-spanning|buffer overflow detected"),
    _header("gpf", r"(?:Oops: )?general protection fault|stack segment: ", FAULTS | {"gpf-note"}),
    _header(
        "oops",
        r"Oops: |Internal error: |Oops\[#\d+\]|Kernel access of bad area|Unable to handle.*Oops",
        FAULTS | {"nx-note", "gpf-note", "stack-guard", "double-fault", "insufficient", "bug", "list", "kasan"},
        False,
    ),
    _header("bug", r"(?<!: )[kK]ernel BUG at |BUG: failure at|\bBUG_ON\(", NOTES | {"slub"}),
    _header("invalid-op", r"invalid opcode: |Oops: invalid opcode|Oops - (?:BUG|undefined)", ANY, False),
    _header("slab-corruption", r"Slab corruption[: ]|slab error in|slab: double free detected"),
    _header(
        "slub",
        r"^\s*BUG:? (?!.*Slab disabled)[\w.:()-]+(?: \S+)? ?\((?:Tainted|Not tainted)[^)]*\)|"
        r"BUG \S+: (?:Poison overwritten|Redzone|Object|Right Redzone|Left Redzone|Freechain|Wrong|Padding)|"
        r"BUG: (?:kmem|SLUB)|Slub|SLUB: .*corrupt",
        frozenset({"kasan"}),
        False,
    ),
    _header("slab-note", r"Wrong slab cache\. |Object is not a Slab page"),
    _header("odebug-note", r"^ODEBUG: ", frozenset({"cut"})),
    _header("refcount-note", r"^refcount_t: ", frozenset({"cut"})),
    _header(
        "warning",
        r"WARNING: (?:CPU: \d+ PID: \d+ )?at |WARNING: \S+:\d+ at |Badness (?:at|in) ",
        frozenset({"odebug-note", "refcount-note", "slab-note", "list", "vmap-failure", "fortify", "usercopy"}),
    ),
    _header(
        "lockdep",
        r"WARNING: (?:possible circular|inconsistent lock|possible recursive|suspicious RCU|bad unlock|"
        r"\S+ lock|possible irq lock)|\[ INFO: (?:inconsistent|possible|suspicious|\w+-safe)",
    ),
    _header("alloc-failure", r"page allocation failure|order:\d+, mode:0x\w+.*allocation"),
    _header(
        "vmap-failure",
        r"vmap allocation for size \d+ failed|vmalloc error: size|vmalloc: allocation failure|"
        r"SLUB: Unable to allocate memory|overran sparse",
        frozenset({"vmap-failure"}),
    ),
    _header("vmap-failure", r"SLUB: Unable to allocate"),
    _header("hung", r"INFO: task .* blocked for more than"),
    _header("rcu-stall", r"rcu: INFO: rcu_\w+ (?:self-)?detected stall|INFO: rcu_\w+ (?:self-)?detected stall"),
    _header("oom", r"invoked oom-killer|Out of memory: Kill|Memory cgroup out of memory"),
    _header("panic", r"Kernel panic - not syncing", ANY, False),
    _header("kasan", r"^The buggy address belongs to the", ANY, False),
    _header("oops", r"^\s*pc : [a-z_]\w+\+0x|^\s*PC is at ", ANY, False),
    _header("oops", r"^IP: \[<|^IP: [a-z_]+\w*\+0x", FAULTS, False),
)

START = re.compile(
    r"BUG|Unable|unable|[Oo]ops|kernel (?:BUG|tried)|general prot|Internal error|WARNING|corruption|KASAN|kasan:|"
    r"usercopy|"
    r"exposure|overwrite|refcount_t|ODEBUG|allocation (?:failure|for)|vmalloc|Unhandled|Insufficient|PANIC|"
    r"double fault|"
    r"INFO: |unreferenced|Bad page|Badness|[Ss]lab|SLUB|UBSAN|oom-killer|Out of mem|panic|lockup|LOCKUP|opcode|"
    r"bad area|"
    r"stall|^IP: |pc : |PC is at|buggy address|Kernel stack|overflow|order:|segment:|NULL pointer"
)
"""A cheap first look: a line without any of these words is no headline."""

TRACE_START = re.compile(r"^\s*(?:Call [Tt]race|Backtrace|Stack trace|stack backtrace)\b", re.IGNORECASE)
ALLOC_START = re.compile(
    r"^(?:INFO: )?\s*(?:Allocated (?:by|in)|allocated by)|allocated by task|Uninit was created at|"
    r"^Last potentially related work creation"
)
FREE_START = re.compile(r"^(?:INFO: )?\s*(?:Freed (?:by|in)|freed by)")
OTHER_START = re.compile(
    r"^\s*(?:Uninit was stored|Local variable|The buggy address|Memory state|Mem-Info|Code: |"
    r"hardirqs last|softirqs last|the existing dependency|\d+ locks? held by|irq event stamp|"
    r"Disabling lock|Preemption disabled at|Modules linked in|---\[ end)"
)
END = re.compile(r"---\[ end trace|^={20,}$|---\[ end Kernel")

FACTS = {
    "kasan": r"BUG: KAS[Aa][Nn]: (?P<what>[\w -]+?) (?:in (?P<where>\S+)|on address)"
    r"(?:.* at addr (?P<addr>[0-9a-f]{1,16}))?",
    "access": r"(?P<rw>Read|Write)(?: of size (?P<size>\d{1,20}))?(?: at addr (?P<addr>[0-9a-f]{1,16}))?"
    r" by task (?P<task>.*)",
    "kfence": r"BUG: KFENCE: (?P<what>[\w -]+?) in (?P<where>\S+)",
    "kfence-object": r"kfence-#\d+ ?[:\[ ].*?size=(?P<size>\d{1,20}), cache=(?P<cache>[\w.:-]+)",
    "kfence-distance": r"\((?P<n>\d{1,20})B (?P<side>left|right) of kfence",
    "kmsan": r"BUG: KMSAN: (?P<what>[\w -]+?) in (?P<where>\S+)(?!.*\[inline\])",
    "kcsan": r"BUG: KCSAN: (?P<what>[\w: -]+?) in (?P<where>.+)",
    "ubsan": r"UBSAN: (?P<what>[\w -]+?) in (?P<where>\S+)",
    "inside": r"is located (?P<offset>\d{1,20}) bytes (?P<side>inside|to the right|to the left|before|after)",
    "cache": r"belongs to the cache (?P<cache>\S+) of size (?P<size>\d{1,20})",
    "cache2": r"Object at [0-9a-f]+, in cache (?P<cache>\S+)(?: size: (?P<size>\d{1,20}))?",
    "slub": r"^\s*BUG:? (?!K[A-Z]+:|Bad |memory |unable |sleeping )"
    r"(?P<cache>[\w.:-]+(?:\(\S+\))?) ?(?:\((?P<taint>[^)]*)\))?: (?P<what>.+)",
    "slub-bytes": r"(?:INFO: )?0x(?P<from>[0-9a-f]{1,16})-0x(?P<to>[0-9a-f]{1,16})",
    "slub-first": r"First byte (?P<byte>0x[0-9a-f]{1,16}) instead of (?P<want>0x[0-9a-f]{1,16})",
    "slub-alloc": r"(?:INFO: |^\s*)Allocated in (?P<where>\S+) (?:\[\w+\] )?age=(?P<age>\d{1,20}) cpu="
    r"(?P<cpu>\d{1,20}) "
    r"pid=(?P<pid>\d{1,20})",
    "slub-free": r"(?:INFO: |^\s*)Freed in (?P<where>\S+) (?:\[\w+\] )?age=(?P<age>\d{1,20}) cpu=(?P<cpu>\d{1,20}) "
    r"pid=(?P<pid>\d{1,20})",
    "remaining": r"Objects? remaining",
    "slab-object": r"Slab corruption(?: \(.*?\))?: (?:(?P<cache>\S+) )?start=(?P<start>[0-9a-f]{1,16}), len="
    r"(?P<len>\d{1,20})",
    "dump": r"^(?:\s*(?:Object|Redzone|Padding|Bytes b4|Poison)\s+\S+\s+|"
    r"\s*[0-9a-f]{3}:\s)(?P<bytes>(?:[0-9a-f]{2} ?){4,})",
    "list": r"but was (?P<was>(?:0x)?[0-9a-f]{1,16})",
    "list-poison": r"->(?:next|prev) is (?P<poison>LIST_POISON\d|NULL)",
    "refcount": r"refcount_t: (?P<what>[^.;]*)",
    "odebug": r"ODEBUG: (?P<what>\w+) (?P<state>\w+).*?object type: (?P<type>\w+)",
    "order": r"order:(?P<order>\d{1,20}),? mode:(?P<mode>0x[0-9a-f]{1,16})(?:\((?P<names>[A-Z_|0-9a-fx]+)\))?",
    "vmap-size": r"(?:vmap allocation for size |vmalloc: allocation failure: |vmalloc error: size )(?P<size>\d{1,20})",
    "mode": r"mode:(?P<mode>0x[0-9a-f]{1,16})(?:\((?P<names>[A-Z_|0-9a-fx]+)\))?",
    "sleep-at": r"invalid context at (?P<file>\S+)",
    "atomic": r"in_atomic\(\): ?(?P<atomic>\d{1,20}), irqs_disabled\(\): ?(?P<irqs>\d{1,20})",
    "lock": r"#\d+: +(?:[0-9a-f]+ )?\((?P<lock>.+?)\)\{(?P<usage>[^}]*)\}(?:-\{(?P<wait>[\d:]+)\})?,? at: "
    r"(?:\[<[0-9a-f]+>\] )?(?P<where>\S+)",
    "wanted-lock": r"^\s*(?:[0-9a-f]+ )?\((?P<lock>.+?)\)\{(?P<usage>[^}]*)\}.{0,12}? at: "
    r"(?:\[<[0-9a-f]+>\] )?(?P<where>[\w.]+)",
    "wrong-cache": r"Wrong slab cache\. (?P<want>\S+) but object is from (?P<cache>\S+)",
    "no-slab": r"Object is not a Slab page",
    "preempt-at": r"Preemption disabled at:?\s*(?P<where>.*)",
    "warn-at": r"WARNING: (?:CPU: \d+ PID: \d+ )?at (?P<file>\S+?):(?P<line>\d{1,20})(?: (?P<where>\S+))?",
    "bug-at": r"[kK]ernel BUG at (?P<file>\S+?):(?P<line>\d{1,20})",
    "page": r"page: ?(?P<page>\S+) (?:ref)?count:(?P<count>-?\d{1,20}) mapcount:"
    r"(?P<map>-?\d{1,20}) mapping: *(?P<mapping>\S+)",
    "page-old": r"flags: ?(?P<flags>0x[0-9a-f]{1,16}) mapping:(?P<mapping>\S+) mapcount:(?P<map>-?\d{1,20}) "
    r"count:(?P<count>-?\d{1,20})",
    "page-flags": r"^(?:page )?flags: ?(?P<flags>0x[0-9a-f]{1,16})\((?P<names>[^)]*)\)",
    "page-why": r"page dumped because: (?P<why>.+)",
    "page-bad": r"bad because of flags: ?(?P<flags>0x[0-9a-f]{1,16})\((?P<names>[^)]*)\)",
    "usercopy": r"memory (?P<what>exposure|overwrite) attempt detected (?:from|to) (?P<where>.*?) "
    r"?(?:\((?:offset (?P<offset>\d{1,20}), "
    r"size )?(?P<size>\d{1,20})(?: bytes)?\))?!?$",
    "whitelist": r"Bad or missing usercopy whitelist",
    "stack-hit": r"stack guard page was hit at (?P<addr>[0-9a-f]+|\(____ptrval____\)) \(stack is "
    r"(?P<low>[0-9a-f]{1,16})\.\.(?P<high>[0-9a-f]{1,16})",
    "far": r"FAR: (?P<addr>0x[0-9a-f]{1,16})",
    "task-stack": r"Task stack: +\[(?P<low>0x[0-9a-f]{1,16})\.\.(?P<high>0x[0-9a-f]{1,16})\]",
    "stack-end": r"corrupted stack end",
    "workqueue": r"^Workqueue: (?P<queue>\S+) (?P<fn>\S+)",
    "pte": r"PTE (?P<pte>[0-9a-f]{1,16})",
    "leak": r"unreferenced object (?P<addr>0x[0-9a-f]{1,16}) \(size (?P<size>\d{1,20})\)",
    "irqs-off": r"IRQs (?P<state>on|off)",
    "reclaim": r"RECLAIM_FS-ON|IN-RECLAIM|\(fs_reclaim\)",
    "pf": r"#PF: supervisor (?P<access>\S+(?: fetch)?)|\[normal kernel (?P<old>\w+) (?:access|fault)",
    "gpf-addr": r"non-canonical address (?P<addr>0x[0-9a-f]{1,16})",
    "kasan-range": r"KASAN: (?P<what>null-ptr-deref|probably user-memory-access|maybe wild-memory-access|"
    r"wild-memory-access) in range "
    r"\[(?P<low>0x[0-9a-f]{1,16})",
    "memcg-oom": r"Memory cgroup out of memory|oom_memcg=|mem_cgroup_out_of_memory",
    "killed": r"Killed process (?P<pid>\d{1,10})[, ]+(?:UID \d+[, ]+)?\((?P<comm>[^)]{1,40})\)",
    "slab-pages": r"slab_unreclaimable:(?P<pages>\d{1,18})(?!kB|\d)",
    "ram-pages": r"^\s*(?P<pages>\d{1,18}) pages RAM",
    "ubsan-index": r"index (?P<index>-?\d{1,20}) is out of range for type '(?P<type>[^']{1,200})'",
    "ubsan-shift": r"shift exponent (?P<n>-?\d{1,20}) is (?P<why>.{1,80})",
    "ubsan-load": r"load of value (?P<n>-?\d{1,20}) is not a valid value for type '(?P<type>[^']{1,200})'",
    "ubsan-sum": r"^\s*(?P<sum>-?\d{1,20} [-+*] -?\d{1,20}) cannot be represented in type '(?P<type>[^']{1,200})'",
    "kcsan-access": r"^\s*(?:race at unknown origin, with )?(?P<how>read-write|write|read|assert no \S+)"
    r"(?: \((?P<mark>[\w, ]+)\))? to 0x[0-9a-f]+ of (?P<size>\d{1,9}) bytes by (?P<who>.{1,40}) on cpu "
    r"(?P<cpu>\d{1,6})",
    "kcsan-value": r"value changed: (?P<old>0x[0-9a-f]+) -> (?P<new>0x[0-9a-f]+)",
    "starved": r"kthread starved for (?P<n>\d{1,18}) jiffies",
    "rcu-self": r"self-detected stall",
    "slub-debug": r"slub_debug=|slab_debug=|SLUB_DEBUG_ON",
    "leak-comm": r"comm \"(?P<comm>[^\"]*)\", pid (?P<pid>\d{1,20})",
    "seg-fixed": r"Segment (?P<segment>user|kernel|none)",
    "pgd": r"^\[(?P<addr>[0-9a-f]{8,16})\] \*pgd=|^pgd = ",
    "end-trace": r"---\[ end trace (?P<id>[0-9a-f]{1,16})",
    "invalid-free": r"(?:Invalid|invalid)[ -]free of (?P<addr>0x[0-9a-f]{1,16})",
    "corrupted-at": r"Corrupted memory at (?P<addr>0x[0-9a-f]{1,16})",
    "fault-injection": r"FAULT_INJECTION: forcing a failure",
}
"""Patterns of single lines, by the name under which `Report.facts` keeps them."""


@cache
def fact_pattern(name: str) -> re.Pattern[str]:
    """The compiled pattern of the fact *name*; most logs need few of them."""
    return re.compile(FACTS[name])


NEEDLES = {
    "kasan": "BUG: KAS",
    "access": " by task ",
    "kfence": "KFENCE: ",
    "kfence-object": "kfence-#",
    "kfence-distance": "of kfence",
    "kmsan": "KMSAN: ",
    "kcsan": "KCSAN: ",
    "wanted-lock": " at: ",
    "wrong-cache": "Wrong slab cache",
    "no-slab": "not a Slab page",
    "ubsan": "UBSAN: ",
    "inside": "is located ",
    "cache": "belongs to the cache",
    "cache2": "in cache ",
    "slub": "BUG",
    "slub-bytes": "-0x",
    "slub-first": "First byte",
    "slub-alloc": "Allocated in ",
    "slub-free": "Freed in ",
    "remaining": "remaining",
    "slab-object": "Slab corruption",
    "dump": " ",
    "list": "but was ",
    "list-poison": "LIST_POISON",
    "refcount": "refcount_t: ",
    "odebug": "ODEBUG: ",
    "order": "order:",
    "vmap-size": "vm",
    "mode": "mode:",
    "sleep-at": "invalid context at",
    "atomic": "in_atomic()",
    "lock": "at: ",
    "preempt-at": "Preemption dis",
    "warn-at": "WARNING: ",
    "bug-at": "ernel BUG at",
    "page": "mapcount:",
    "page-old": "mapcount:",
    "page-flags": "flags: ",
    "page-why": "page dumped because",
    "page-bad": "bad because",
    "usercopy": "attempt detected",
    "whitelist": "usercopy whitelist",
    "stack-hit": "guard page was hit",
    "far": "FAR: ",
    "task-stack": "Task stack:",
    "stack-end": "corrupted stack end",
    "workqueue": "Workqueue: ",
    "pte": "PTE ",
    "leak": "unreferenced object",
    "irqs-off": "IRQs o",
    "reclaim": "{",
    "pf": "#PF",
    "gpf-addr": "non-canonical",
    "kasan-range": "in range",
    "memcg-oom": "em",
    "killed": "Killed process",
    "slab-pages": "slab_unreclaimable:",
    "ram-pages": "pages RAM",
    "ubsan-index": "out of range for type",
    "ubsan-shift": "shift exponent",
    "ubsan-load": "load of value",
    "ubsan-sum": "cannot be represented",
    "kcsan-access": " bytes by ",
    "kcsan-value": "value changed",
    "starved": "starved for",
    "rcu-self": "self-detected",
    "slub-debug": "debug",
    "leak-comm": 'comm "',
    "seg-fixed": "Segment ",
    "pgd": "pgd",
    "end-trace": "end trace",
    "invalid-free": "free of 0x",
    "corrupted-at": "Corrupted memory",
    "fault-injection": "FAULT_INJECTION",
}
"""A word without which a fact's pattern cannot match: the cheap first look."""
