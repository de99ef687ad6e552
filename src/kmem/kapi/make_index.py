"""``python -m kmem.kapi.make_index``: writes ``index.py``, which says what file of this package declares what.

Run it after an export was added, moved or removed; a test compares.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from textwrap import fill

from kmem.kapi import export

HERE = Path(__file__).parent
_HEAD = '''"""What file of this package declares what; written by ``python -m kmem.kapi.make_index``.

Looking a symbol up imports only the file that declares it.
"""

from __future__ import annotations

NAMES = {
'''
_TAIL = '''
_modules: dict[str, str] = {}


def module_of(name: str) -> str | None:
    """The file, without ``.py``, that declares *name*; None when none does."""
    if not _modules:
        for module, names in NAMES.items():
            _modules.update(dict.fromkeys(names.split(), module))
    return _modules.get(name)
'''


def _block(names: list[str]) -> str:
    return '"""\n' + fill(" ".join(names), 118, break_long_words=False, break_on_hyphens=False) + '\n"""'


def text() -> str:
    """The content that ``index.py`` should have."""
    for path in sorted(HERE.glob("*.py")):
        if any(f"kmem.kapi.{factory} import" in path.read_text(encoding="utf-8") for factory in ("export", "registry")):
            import_module(f"kmem.kapi.{path.stem}")
    files = export.declared()
    blocks = "".join(f'    "{file}": {_block([entry.name for entry in entries])},\n' for file, entries in files.items())
    private = [
        entry.name
        for entries in files.values()
        for entry in entries
        if isinstance(entry, export.Data) and entry.private
    ]
    tail = f'PRIVATE_DATA = {_block(private)}\n"""Variables of the model\'s own."""\n{_TAIL}'
    return f'{_HEAD}{blocks}}}\n"""File: names declared in it."""\n\n{tail}'


def main() -> int:
    """The command; returns the exit status."""
    (HERE / "index.py").write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
