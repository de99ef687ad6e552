"""Tables: plain text that fits its content, and a value that shows itself as one in a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Generic, NamedTuple, TypeVar, overload

STYLE = "text-align:{align};padding:2px 10px;font-family:monospace"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table, its heading first.

    None is an empty cell, a column that is empty throughout is left out, and a column of numbers is set flush right.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    kept = [column for column in range(len(head)) if not cells or any(row[column] for row in cells)]
    numeric = numbers(rows, len(head))
    width = {column: max(len(row[column]) for row in [list(head), *cells]) for column in kept}
    return [
        "  ".join(
            row[column].rjust(width[column]) if column in numeric else row[column].ljust(width[column])
            for column in kept
        ).rstrip()
        for row in [list(head), *cells]
    ]


def numbers(rows: Sequence[Sequence[object]], columns: int) -> set[int]:
    """Which columns have nothing but numbers."""
    return {
        column
        for column in range(columns)
        if rows and all(row[column] is None or isinstance(row[column], int | float) for row in rows)
    }


class Address(int):
    """A number that shows itself as an address."""

    def __str__(self) -> str:
        return f"{self:#x}"

    __repr__ = __str__


_Row = TypeVar("_Row", bound=tuple[Any, ...])


class Table(Generic[_Row]):
    """Rows, all of one named tuple, and a title. It is a sequence of them; printed, it is a table.

    ``table.where("kmalloc")`` has the rows in which a cell has that text, ``table.by("slabs")`` is sorted, the largest
    first, ``table.column("slabs")`` are the values of one column. pandas takes it as it is: ``DataFrame(table)``.
    """

    def __init__(self, title: str, row: type[_Row], rows: Sequence[_Row]) -> None:
        self.title, self.rows, self._row = title, list(rows), row

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns, as the rows have them."""
        fields: tuple[str, ...] = self._row._fields  # type: ignore[attr-defined]
        return fields

    @property
    def head(self) -> list[str]:
        """Names of the columns for a person."""
        return [name.replace("_", " ").strip() for name in self.fields]

    def where(self, text: str) -> Table[_Row]:
        """The rows in which a cell has *text*."""
        return Table(self.title, self._row, [row for row in self.rows if any(text in str(cell) for cell in row)])

    def by(self, name: str) -> Table[_Row]:
        """The rows sorted by a column, the largest first."""
        at = self.fields.index(name)
        return Table(self.title, self._row, sorted(self.rows, key=lambda row: row[at], reverse=True))

    def column(self, name: str) -> list[Any]:
        """The values of a column."""
        at = self.fields.index(name)
        return [row[at] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[_Row]:
        return iter(self.rows)

    @overload
    def __getitem__(self, at: int) -> _Row: ...
    @overload
    def __getitem__(self, at: slice) -> Table[_Row]: ...
    def __getitem__(self, at: int | slice) -> _Row | Table[_Row]:
        return Table(self.title, self._row, self.rows[at]) if isinstance(at, slice) else self.rows[at]

    def __str__(self) -> str:
        return "\n".join([self.title, *table(self.head, self.rows)] if self.rows else [f"{self.title}: none"])

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        shown = RichTable(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        numeric = numbers(self.rows, len(self.fields))
        for column, name in enumerate(self.head):
            shown.add_column(name, justify="right" if column in numeric else "left", overflow="fold")
        for row in self.rows:
            shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
        return shown

    def _repr_html_(self) -> str:
        numeric = numbers(self.rows, len(self.fields))
        style = [STYLE.format(align="right" if column in numeric else "left") for column in range(len(self.fields))]
        head = "".join(f'<th style="{s}">{escape(name)}</th>' for s, name in zip(style, self.head, strict=True))
        body = "".join(f"<tr>{_cells(row, style)}</tr>" for row in self.rows)
        return (
            f"<table><caption>{escape(self.title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _cells(row: Sequence[object], style: Sequence[str]) -> str:
    cells = ("" if cell is None else escape(str(cell)) for cell in row)
    return "".join(f'<td style="{s}">{cell}</td>' for s, cell in zip(style, cells, strict=True))


class Fact(NamedTuple):
    """A row of a table of facts."""

    what: str
    value: object
