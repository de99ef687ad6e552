"""What a built site must be: every link in it leads somewhere, and nothing is fetched from a network to show it.

`python docs/site/check.py build/site`
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src"}
"""Elements that a browser fetches, and the attribute that says what; a link element only as a style, icon or font."""
REL = {"stylesheet", "icon", "preload", "preconnect", "prefetch", "modulepreload", "dns-prefetch"}
STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """What a page defines, links to and fetches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {"", "top"}
        self.links: list[str] = []
        self.fetched: list[str] = STYLE.findall(text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note ids, links, and what is fetched."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and REL & set(found.get("rel", "").split()):
            self.fetched.append(found.get("href", ""))
        if FETCHED.get(tag) in found:
            self.fetched.append(found[FETCHED[tag]])


def problems(site: Path) -> list[str]:
    """Everything that is wrong with the site, a line each."""
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        wrong += [f"{name}: fetches {url}" for url in page.fetched if re.match(r"(?:https?:)?//", url)]
        for link in (*page.links, *page.fetched):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                wrong.append(f"{name}: {link}: no such file")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                wrong.append(f"{name}: {link}: no such place in the page")
    for style in site.rglob("*.css"):
        wrong += [f"{style.relative_to(site)}: fetches {url}" for url in STYLE.findall(style.read_text())]
    if not pages:
        wrong.append(f"{site}: no pages")
    return wrong


if __name__ == "__main__":
    found = problems(Path(sys.argv[1]))
    print("\n".join(found) or f"site: {len(list(Path(sys.argv[1]).rglob('*.html')))} pages, every link leads somewhere")
    sys.exit(bool(found))
