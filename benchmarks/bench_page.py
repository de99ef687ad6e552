"""How long a page takes from its opening to its first picture, in a headless Chromium.

``python benchmarks/bench_page.py FILE.html…`` takes pages that ``kmem run --html`` or ``kmem report`` wrote; needs the
extra ``page`` and Chromium (``./dev page`` installs the one and names the other).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
PICTURE = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
DRAWN = "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
TURNS = 5


def opened(browser: Any, path: Path) -> tuple[float, float]:
    """Milliseconds to the first picture, and until everything is drawn and answers."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.goto(path.resolve().as_uri(), wait_until="load")
    page.screenshot()  # there is a picture then
    found = page.evaluate(PICTURE), page.evaluate(DRAWN)
    context.close()
    return found


def main() -> None:
    """Measure and print."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or len(sys.argv) < 2:
        sys.exit(__doc__)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for name in sys.argv[1:]:
            times = [opened(browser, Path(name)) for _ in range(TURNS)]
            picture, drawn = (sorted(column)[TURNS // 2] for column in zip(*times, strict=True))
            size = Path(name).stat().st_size
            print(f"{name}: {size / 1e6:.2f} MB, first picture after {picture:.0f} ms, all drawn after {drawn:.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
