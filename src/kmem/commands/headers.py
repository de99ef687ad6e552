"""``kmem headers [RELEASE]``: list the kernel headers to build modules against, or fetch those of a release."""

from __future__ import annotations

import argparse
import sys

from kmem.commands import options


def parser() -> argparse.ArgumentParser:
    """Return the options of ``kmem headers``."""
    result = options.new_parser(
        "headers",
        "Without a word: list the kernel headers there are. With a release: fetch its headers unless they are there. "
        "They are looked for in $KMEM_HEADERS, in /lib/modules and in the user's cache, "
        "and fetched into the cache with apt-get, without root.",
    )
    result.add_argument(
        "release", nargs="?", choices=options.releases(), help="the kernel release to fetch headers for"
    )
    result.add_argument(
        "--modules",
        action="store_true",
        help="the modules of the release's kernel instead (70 MB), to be tried by kmem survey",
    )
    return result


def main(words: list[str]) -> int:
    """List, or fetch when needed."""
    args = parser().parse_args(words)

    from kmem.modules.headers import find, require

    if args.modules:
        from kmem.modules.kernel_package import require_modules

        release = args.release or options.RELEASE
        print(require_modules(release, progress=lambda text: print(f"headers: {text}", file=sys.stderr)))
        return 0
    if args.release is None:
        for release in options.releases():
            found = find(release)
            print(f"{release}  {found.version} at {found.path} ({found.source})" if found else f"{release}  none")
        return 0
    headers = require(args.release, progress=lambda text: print(f"headers: {text}", file=sys.stderr))
    print(f"{headers.version} at {headers.path} ({headers.source})")
    return 0
