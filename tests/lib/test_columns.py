"""Tables as values."""

from __future__ import annotations

from typing import NamedTuple

from kmem.lib.columns import Address, Table, table


class Row(NamedTuple):
    name: str
    live_bytes: int
    place: str | None = None


ROWS = [Row("kmalloc-64", 5), Row("<b>", 700, "drv.c:4"), Row("dentry", 60)]


def test_text_fits_its_content_and_numbers_are_flush_right() -> None:
    assert str(Table("caches", Row, ROWS)).splitlines() == [
        "caches",
        "name        live bytes  place",
        "kmalloc-64           5",
        "<b>                700  drv.c:4",
        "dentry              60",
    ]
    assert str(Table("caches", Row, [])) == "caches: none"
    assert table(["a", "b"], [(1, None)]) == ["a", "1"]


def test_it_is_a_sequence_of_its_rows() -> None:
    rows = Table("caches", Row, ROWS)
    assert (len(rows), rows[1], list(rows)) == (3, ROWS[1], ROWS)
    assert isinstance(rows[:2], Table)
    assert rows[:2].column("name") == ["kmalloc-64", "<b>"]


def test_rows_are_picked_and_sorted() -> None:
    rows = Table("caches", Row, ROWS)
    assert rows.by("live_bytes").column("live_bytes") == [700, 60, 5]
    assert rows.where("drv").column("name") == ["<b>"]
    assert len(rows.where("nothing")) == 0


def test_html_is_escaped_and_has_every_cell() -> None:
    html = Table("<title>", Row, ROWS)._repr_html_()
    assert html.count("<tr>") == 4
    assert html.count("<td") == 9
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "&lt;title&gt;" in html


def test_a_terminal_with_rich_shows_every_cell() -> None:
    from rich.console import Console

    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(Table("caches", Row, [*ROWS, Row("[red]x[/red]", 1)]))
    shown = console.export_text()
    for word in ("caches", "live bytes", "kmalloc-64", "<b>", "700", "drv.c:4", "[red]x[/red]"):
        assert word in shown


def test_addresses_are_numbers_that_show_as_addresses() -> None:
    assert str(Address(0xFFFF888000000000)) == "0xffff888000000000"
    assert Address(4) + 1 == 5
