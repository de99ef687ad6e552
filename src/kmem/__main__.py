"""``python -m kmem``: the same as the ``kmem`` command."""

from __future__ import annotations

import sys

from kmem.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
