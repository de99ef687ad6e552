"""The screen of ``kmem top``. Only this file knows textual; what it shows is made by `kmem.report.top`."""

from __future__ import annotations

import time
from typing import ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Footer, Input, Static

from kmem.errors import KmemError
from kmem.report.top import KEYS, VIEWS, Key, Shown, head, nothing, rows, summary
from kmem.report.top_sources import Player, Source

STEPS = 60
"""A step is so small a part of a trace."""
MOST = 500
"""Rows that are on the screen or a few keys away."""
MOVES, OTHERS = ("step", "faster", "jump"), ("view", "sort", "turn", "base", "pause", "filter")
"""What keys do: with a trace only, and always."""


class TopApp(App[None]):
    """Caches, call sites or free blocks of a source, once in *delay* seconds."""

    TITLE = "kmem top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { height: auto; padding: 0 1; }
    #filter { display: none; height: 3; }
    #filter.open { display: block; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("tab", "view", "next view", priority=True),
        Binding("1", "view(0)", show=False),
        Binding("2", "view(1)", show=False),
        Binding("3", "view(2)", show=False),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("escape", "unfilter", "no filter", show=False, priority=True),
        Binding("r", "turn", "reverse"),
        Binding("d", "base", "changes from now"),
        Binding("space", "pause", "pause"),
        Binding("left", "step(-1)", "back", priority=True),
        Binding("right", "step(1)", "on", priority=True),
        Binding("plus", "faster(2.0)", "faster", key_display="+"),
        Binding("minus", "faster(0.5)", "slower", key_display="-"),
        Binding("home", "jump(0.0)", "begin", show=False, priority=True),
        Binding("end", "jump(1.0)", "end", show=False, priority=True),
        *(
            Binding(letter, f"sort('{letter}')", "sort: " + "/".join(dict.fromkeys(names)), show=False)
            for letter, names in {
                letter: [key.column for keys in KEYS.values() for key in keys if key.letter == letter]
                for letter in sorted({key.letter for keys in KEYS.values() for key in keys})
            }.items()
        ),
    ]

    def __init__(self, source: Source, shown: Shown, delay: float, speed: float = 0.0, paused: bool = False) -> None:
        super().__init__()
        self.source, self.shown, self.delay = source, shown, delay
        self.player = source if isinstance(source, Player) else None
        self.speed = speed or (self.player.speed() if self.player else 1.0)
        self.paused = paused
        self.moment = source.moment()
        if shown.base is None:
            shown.base = self.moment
        self.typing = False
        self._aim: float | None = None
        self.problem: KmemError | None = None
        self._filled: tuple[list[tuple[str, int]], list[list[str]]] = [], []
        self._ticked = time.monotonic()

    def compose(self) -> ComposeResult:
        """The parts of the screen, from top to bottom."""
        yield Static(id="summary", markup=False)
        yield DataTable(id="table", cursor_type="row", zebra_stripes=True)
        yield Input(id="filter", placeholder="part of a name; Enter keeps it, Esc clears it")
        yield Footer()

    def on_mount(self) -> None:
        """Show what is, and look again from time to time."""
        self.table.focus()
        self.draw()
        self.set_interval(self.delay, self.tick)

    @property
    def table(self) -> DataTable[str]:
        """The table."""
        return self.query_one("#table", DataTable)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What makes no sense here is not offered; while a filter is typed, letters are letters."""
        if action in MOVES and self.player is None:
            return False
        return not (self.typing and action in (*MOVES, *OTHERS))

    # time

    def tick(self) -> None:
        """Time has passed."""
        now = time.monotonic()
        if self.player is None or self.paused or self.player.at >= self.player.duration:
            self._ticked = now
            if self.player is None and not self.paused:
                self.look()
        elif self._aim is None:
            passed, self._ticked = now - self._ticked, now
            self.go(self.player.at + passed * self.speed)

    def look(self) -> None:
        """Take the moment that is, and show it; leave when there is none any more."""
        try:
            self.moment = self.source.moment()
        except KmemError as error:
            self.leave(error)
        else:
            self.draw()

    def leave(self, error: KmemError) -> None:
        """The source failed: `show` raises it when the screen is gone."""
        self.problem = error
        self.exit()

    def go(self, second: float) -> None:
        """Move the replay, without holding up the keyboard; while it moves, the last wish is kept."""
        moving, self._aim = self._aim is not None, second
        if not moving:
            self._go(second)

    @work(thread=True, exclusive=False)
    def _go(self, second: float) -> None:
        assert self.player is not None
        try:
            self.player.seek(second)
        except KmemError as error:
            self.call_from_thread(self.leave, error)
        else:
            self.call_from_thread(self._arrived, second)

    def _arrived(self, second: float) -> None:
        if self._aim not in (None, second):
            self._go(self._aim)
        else:
            self._aim = None
        self.look()

    # what keys do

    def action_view(self, number: int = -1) -> None:
        """The next view, or the one with a number."""
        self.shown.view = VIEWS[number if number >= 0 else (VIEWS.index(self.shown.view) + 1) % len(VIEWS)]
        self.draw()

    def action_sort(self, letter: str) -> None:
        """Sort by a column; again: the other way round."""
        if letter not in {key.letter for key in KEYS[self.shown.view]}:
            return
        self.shown.falling = not self.shown.falling if self.shown.sort.get(self.shown.view) == letter else True
        self.shown.sort[self.shown.view] = letter
        self.draw()

    def action_turn(self) -> None:
        """The other way round."""
        self.shown.falling = not self.shown.falling
        self.draw()

    def action_base(self) -> None:
        """Count changes from now on."""
        self.shown.base = self.moment
        self.draw()

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self.paused = not self.paused
        self.draw()

    def action_step(self, steps: int) -> None:
        """A step of the trace, back or forth; it stands still there."""
        assert self.player is not None
        self.paused = True
        at = self.player.at if self._aim is None else self._aim
        self.go(min(max(at + steps * self.player.duration / STEPS, 0.0), self.player.duration))

    def action_jump(self, share: float) -> None:
        """To the beginning or the end."""
        assert self.player is not None
        self.go(self.player.duration * share)

    def action_faster(self, factor: float) -> None:
        """Play faster or slower."""
        self.speed *= factor
        self.draw()

    def action_filter(self) -> None:
        """Type a part of a name."""
        typed = self.query_one("#filter", Input)
        typed.add_class("open")
        self.typing = True
        typed.value = self.shown.filter
        typed.focus()
        self.refresh_bindings()

    def action_unfilter(self) -> None:
        """Show all names again."""
        self.query_one("#filter", Input).value = ""
        self._filtered("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show the names that have what was typed so far."""
        if self.typing:
            self.shown.filter = event.value
            self.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter."""
        self._filtered(event.value)

    def _filtered(self, text: str) -> None:
        self.query_one("#filter", Input).remove_class("open")
        self.typing = False
        self.shown.filter = text
        self.table.focus()
        self.refresh_bindings()
        self.draw()

    # the screen

    def draw(self) -> None:
        """Show the moment; the cursor stays on its name."""
        every = rows(self.moment, self.shown)
        told = [self.status()]
        if len(every) > MOST:
            told[0] += f" | the first {MOST:,} of {len(every):,} rows"
        elif not every:
            told.append(nothing(self.shown))
        del every[MOST:]
        self.query_one("#summary", Static).update("\n".join([*summary(self.moment), *told]))
        titles = [self._title(column) for column in head(self.shown.view)]
        plain = [[self._cell(cell) for cell in row] for row in every]
        widths = [max(map(len, column)) for column in zip(titles, *plain, strict=True)]
        cells = [
            [text if isinstance(cell, str) else text.rjust(width) for cell, text, width in zip(*of_row, strict=True)]
            for of_row in ((row, texts, widths) for row, texts in zip(every, plain, strict=True))
        ]
        self._fill(list(zip(titles, widths, strict=True)), cells)

    def _fill(self, columns: list[tuple[str, int]], cells: list[list[str]]) -> None:
        """Put the cells into the table: those that are others now, if it has the same form."""
        table, before = self.table, self._filled
        cursor = table.cursor_row
        name = before[1][cursor][0] if 0 <= cursor < len(before[1]) else ""
        if (columns, len(cells)) == (before[0], len(before[1])):
            for number, (row, old) in enumerate(zip(cells, before[1], strict=True)):
                for at, (cell, other) in enumerate(zip(row, old, strict=True)):
                    if cell != other:
                        table.update_cell_at(Coordinate(number, at), cell)
        else:
            scrolled = table.scroll_offset
            table.clear(columns=True)
            for title, width in columns:
                table.add_column(title, width=width)
            for row in cells:
                table.add_row(*row)
            table.scroll_to(scrolled.x, scrolled.y, animate=False)
        self._filled = columns, cells
        at = next((n for n, row in enumerate(cells) if row[0] == name), min(max(cursor, 0), max(len(cells) - 1, 0)))
        if at != table.cursor_row:
            table.move_cursor(row=at, animate=False, scroll=False)

    def status(self) -> str:
        """What the keys have set."""
        said = [self.shown.view]
        if (key := self.sorted_by()) is not None:
            said.append(f"by {key.column}{'' if self.shown.falling else ', reversed'}")
        if self.shown.filter:
            said.append(f"with {self.shown.filter!r}")
        if self.player is not None:
            said.append(f"speed {self.speed:.3g}")
        if self.paused:
            said.append("PAUSED")
        elif self.player is not None and self.player.at >= self.player.duration:
            said.append("the end")
        return " | ".join(said)

    def sorted_by(self) -> Key | None:
        """The column that is sorted by."""
        view = self.shown.view
        return next((key for key in KEYS[view] if key.letter == self.shown.sort.get(view)), None)

    def _title(self, column: str) -> str:
        key = next((key for key in KEYS[self.shown.view] if key.column == column), None)
        if key is None:
            return column
        mark = " *" if key == self.sorted_by() else ""
        return f"{column} ({key.letter}){mark}"

    def _cell(self, cell: int | float | str | None) -> str:
        return "" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell)


def show(source: Source, shown: Shown, delay: float, speed: float, paused: bool) -> None:
    """Run the screen until it is left. Raises what the source raised."""
    app = TopApp(source, shown, delay, speed, paused)
    app.run()
    if app.problem is not None:
        raise app.problem
