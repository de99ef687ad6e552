"""Why a kernel is not pristine any more: the taint flags that loading a module can set (include/linux/panic.h, 6.1)."""

from __future__ import annotations

TAINT_PROPRIETARY_MODULE = 0
TAINT_FORCED_MODULE = 1
TAINT_CRAP = 10
TAINT_OOT_MODULE = 12
TAINT_UNSIGNED_MODULE = 13
TAINT_LIVEPATCH = 15
TAINT_TEST = 18

_LETTERS = "PFSRMBUDAWCIOELKXTN"
_OF_MODULES = "PFCOEKXTN"


def module_taint_letters(taints: int) -> str:
    """The letters of a module's own taints, in bit order: ``OE`` (``module_flags_taint``)."""
    return "".join(char for bit, char in enumerate(_LETTERS) if taints >> bit & 1 and char in _OF_MODULES)
