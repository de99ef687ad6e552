"""The page of a run, in a real browser: it draws, zooms, answers clicks and keys, and asks nothing of any network."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser's driver is missing: ./dev page installs it")
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing: ./dev page installs it")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.needs_headers,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run that finds something."""
    path = tmp_path_factory.mktemp("page") / "run.html"
    words = [sys.executable, "-m", "kmem", "run", "examples/name_driver", "--html", str(path)]
    assert subprocess.run(words, check=False, capture_output=True).returncode == 1
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


@contextmanager
def watched(browser: Any, file: Path) -> Iterator[Any]:
    """The page in *file*, opened; what it asked for and complained about is asserted at the end."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    opened = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(file.as_uri())
    yield opened
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []
    context.close()


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    """The page of the run."""
    with watched(browser, file) as opened:
        yield opened


def picture(page: Any, canvas: str) -> str:
    """What is drawn on a canvas."""
    found: str = page.evaluate(f"document.getElementById('{canvas}').toDataURL()")
    return found


def colours(page: Any, canvas: str) -> int:
    """How many colours are on a canvas."""
    script = """id => { const canvas = document.getElementById(id), pen = canvas.getContext('2d');
      const all = new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
      return new Set(all).size; }"""
    found: int = page.evaluate(script, canvas)
    return found


def test_it_says_what_was_found_and_draws_at_once(page: Any) -> None:
    assert page.locator("h1").inner_text() == "name_driver"
    assert "findings" in page.locator("#verdict").inner_text()
    assert "out-of-bounds" in page.locator("#findings").inner_text()
    assert colours(page, "time-canvas") > 3
    assert colours(page, "frames-canvas") > 3


def test_the_timeline_zooms_and_its_cursor_moves(page: Any) -> None:
    canvas = page.locator("#time-canvas")
    before, window = picture(page, "time-canvas"), page.evaluate("kmem.timeline.window()")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 100)
    page.mouse.up()
    zoomed = page.evaluate("kmem.timeline.window()")
    assert zoomed[1] - zoomed[0] < (window[1] - window[0]) / 2
    assert picture(page, "time-canvas") != before
    canvas.focus()
    page.keyboard.press("0")
    assert page.evaluate("kmem.timeline.window()") == window
    page.keyboard.press("Home")
    first = page.locator("#time-read").inner_text()
    page.keyboard.press("End")
    assert page.locator("#time-read").inner_text() != first
    page.select_option("#time-by", "cache")
    assert "kmalloc-16" in page.locator("#time-legend").inner_text()
    page.select_option("#time-by", "module")
    assert "name_driver.c:17" in page.locator("#time-legend").inner_text()


def test_hovering_and_clicking_a_frame_says_what_it_is_and_opens_its_slab(page: Any) -> None:
    assert "kmalloc-16" in page.locator("#slab h3").inner_text()
    before = page.locator("#slab").inner_text()
    page.locator("#frames-canvas").hover(position={"x": 8, "y": 200})
    assert "free" in page.locator("#frames-read").inner_text()
    page.fill("#frames-go", "0xffff888000001000")
    page.keyboard.press("Enter")
    assert page.evaluate("kmem.frames.state().chosen") == 1
    assert page.locator("#slab").is_hidden()
    canvas = page.locator("#frames-canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("kmem.frames.state().chosen") == 2
    page.keyboard.press("+")
    assert page.evaluate("kmem.frames.state().count") < 4096
    page.evaluate("kmem.frames.choose(kmem.data.memory.near[0], true)")
    assert page.locator("#slab").inner_text() == before


def test_an_object_shows_its_bytes_and_its_history(page: Any) -> None:
    page.click("text=Show the moment")
    address = page.evaluate("kmem.data.steps[kmem.steps.at()][2]")
    page.evaluate("address => kmem.frames.choose(kmem.frames.frame(address), true)", address)
    page.locator(f"#slab button[title*='{address}']").click()
    assert "kmalloc at" in page.locator("#slab li").first.inner_text()
    assert re.match(r"0000 ( [0-9a-f]{2}){16}", page.locator("#slab .hex").inner_text())


def test_the_page_tables_are_walked_for_an_address(page: Any) -> None:
    page.fill("#walk-address", "0xffff888000001000")
    page.click("#walk-form button")
    text = page.locator("#walk").inner_text()
    assert "PGD" in text
    assert "is physical address 0x0000000000001000" in text
    page.fill("#walk-address", "0x10")
    page.click("#walk-form button")
    assert "is not mapped" in page.locator("#walk").inner_text()


def test_call_sites_sort_and_search(page: Any) -> None:
    rows = page.locator("#sites tbody tr")
    everything = rows.count()
    page.fill("#sites-search", "name_driver.c")
    assert rows.count() == 1 < everything
    page.fill("#sites-search", "")
    page.click("#sites th button:has-text('call site')")
    names = [rows.nth(i).locator("td").first.inner_text() for i in range(everything)]
    assert names == sorted(names)


def test_events_are_stepped_through(page: Any) -> None:
    page.click("#steps-first")
    assert page.locator("#steps-number").input_value() == "1"
    assert page.locator("#steps-back").is_disabled()
    page.click("#steps-next")
    assert "2 of" in page.locator("#steps-now").inner_text()
    page.click("#steps-last")
    assert page.locator("#steps-next").is_disabled()
    assert "before:" in page.locator("#steps-now").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_it_is_accessible_in_both_colours_and_fits_a_phone(browser: Any, file: Path, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = context.new_page()
    opened.goto(file.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate("document.documentElement.classList.contains('dark')") == (scheme == "dark")
    # The page's own policy lets no script in; axe is one.
    context.close()
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    opened = context.new_page()
    opened.goto(file.as_uri())
    results = axe_api.Axe().run(opened)
    serious = [v["id"] for v in results.response["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == []
    context.close()


PICTURES = {
    "page-light.png": ("light", 1200, 1180, "body"),
    "page-dark.png": ("dark", 1200, 1180, "body"),
    "page-phone-light.png": ("light", 390, 844, "body"),
    "page-phone-dark.png": ("dark", 390, 844, "#frames"),
}
"""The pictures in docs/images: colours, width, height, what is at the top."""


@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_in_the_documentation_are_there(browser: Any, file: Path, root: Path, name: str) -> None:
    """KMEM_UPDATE=1 takes them anew; letters differ from machine to machine, so only their size is compared."""
    scheme, width, height, top = PICTURES[name]
    picture = root / "docs" / "images" / name
    if os.environ.get("KMEM_UPDATE") == "1":
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        opened = context.new_page()
        opened.goto(file.as_uri())
        opened.evaluate("top => document.querySelector(top).scrollIntoView({behavior: 'instant'})", top)
        opened.wait_for_timeout(200)
        picture.parent.mkdir(exist_ok=True)
        opened.screenshot(path=str(picture))
        context.close()
    data = picture.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (width, height)
    assert len(data) < 250_000
    assert f"images/{name}" in (root / "docs" / "page.md").read_text()


def explore(page: Any) -> None:
    """What can be done with the page of any trace."""
    assert colours(page, "time-canvas") > 3
    assert colours(page, "frames-canvas") > 3
    canvas = page.locator("#time-canvas")
    before, window = picture(page, "time-canvas"), page.evaluate("kmem.timeline.window()")
    canvas.focus()
    page.keyboard.press("+")
    zoomed = page.evaluate("kmem.timeline.window()")
    assert zoomed[1] - zoomed[0] < window[1] - window[0]
    assert picture(page, "time-canvas") != before
    page.locator("#frames-canvas").click(position={"x": 60, "y": 40})
    assert page.locator("#frames-read").inner_text()
    rows = page.locator("#sites tbody tr")
    everything = rows.count()
    page.fill("#sites-search", rows.first.locator("td").first.inner_text())
    assert 1 <= rows.count() <= everything
    page.fill("#steps-number", "2")
    page.keyboard.press("Enter")
    page.click("#steps-next")
    assert "3 of" in page.locator("#steps-now").inner_text()


def test_the_page_of_a_trace_opens_and_answers(browser: Any, tmp_path: Path) -> None:
    for words in (
        ["run", "examples/kmalloc_driver", "--trace", str(tmp_path / "t.kmem")],
        ["report", str(tmp_path / "t.kmem"), "-o", str(tmp_path / "t.html")],
    ):
        assert subprocess.run([sys.executable, "-m", "kmem", *words], check=False, capture_output=True).returncode == 0
    with watched(browser, tmp_path / "t.html") as page:
        explore(page)


@pytest.mark.needs_shared
@pytest.mark.slow
def test_the_page_of_millions_of_recorded_events_opens_and_answers(browser: Any, tmp_path: Path, shared: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs the extra kmem[parquet]")
    trace, page_file = shared / "traces" / "linux-6.18" / "events.parquet", tmp_path / "t.html"
    words = [sys.executable, "-m", "kmem", "report", str(trace), "-o", str(page_file)]
    assert subprocess.run(words, check=False, capture_output=True).returncode == 0
    assert page_file.stat().st_size < 10_000_000
    with watched(browser, page_file) as page:
        explore(page)
        assert "5,834,016" in page.locator("body").inner_text()
