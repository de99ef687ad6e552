"""Plots for papers (``--plot F``): a replay over time, a sweep's outcomes. SVG, PDF or PNG, by the name of the file.

The same input makes the same bytes. Colours are Okabe and Ito's, for eyes of all kinds, and cividis; what is stacked is
hatched too, so that it can be told apart without colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kmem.errors import InputError, UsageError
from kmem.trace.result import Result, unusable
from kmem.trace.sweep import Outcome

SUFFIXES = (".svg", ".pdf", ".png")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
HATCHES = ("", "//", "\\\\", "..", "xx", "--", "++", "")
MARKERS = "osD^vP*X"
PAGE, MIB = 4096, 1 << 20
_STYLE: Any = {
    "svg.hashsalt": "kmem",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "hatch.linewidth": 0.4,
    "figure.dpi": 150,
}
_DATES: dict[str, dict[str, None]] = {
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
}
"""What of a file's metadata would differ between two runs, or two versions of the library."""


def ready(path: str) -> Path:
    """The file that a plot goes to. Raises before the work begins if it could not be made."""
    file = Path(path)
    if file.suffix not in SUFFIXES:
        raise UsageError(f"--plot {path}: no kind of plot is named so", remedy=f"End it in {', '.join(SUFFIXES)}.")
    if not file.parent.is_dir():
        raise InputError(f"--plot {path}: there is no directory {file.parent}", remedy="Make it first.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib", remedy="pip install 'kmem[plot]'") from None
    return file


def _figure(rows: int, columns: int = 1, *, height: float) -> tuple[Any, Any]:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(7.0, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, file: Path) -> None:
    from matplotlib import rc_context

    with rc_context(_STYLE):
        figure.savefig(file, metadata=_DATES[file.suffix])


def _from_zero(axis: Any) -> None:
    """The axis begins at 0, and nothing touches its upper end."""
    axis.autoscale(axis="y")
    axis.set_ylim(0, max(axis.get_ylim()[1], 1e-6) * 1.02)


def replay_plot(result: Result, caches: Sequence[dict[str, Any]], file: Path) -> None:
    """Memory by cache over time, free pages by order, and the unusable free space index of each order.

    *caches* are names with their bytes at each of the result's samples, the largest first.
    """
    from matplotlib import colormaps, rc_context

    if not result.samples:
        raise UsageError("there is nothing to plot: the trace has no events", remedy="Record for longer.")
    seconds = [(sample.time - result.begin) / 1e9 for sample in result.samples]
    figure, axes = _figure(3, height=7.5)
    with rc_context(_STYLE):
        memory, free, index = (row[0] for row in axes)
        shown = [*caches[: len(COLOURS) - 1]]
        rest = [sum(column) for column in zip(*(c["values"] for c in caches[len(shown) :]), strict=True)]
        rows = [(str(c["name"]), c["values"]) for c in shown] + ([("all others", rest)] if rest else [])
        stacks = memory.stackplot(seconds, *([n / MIB for n in values] for _, values in rows), linewidth=0)
        for stack, colour, hatch in zip(stacks, COLOURS, HATCHES, strict=False):
            stack.set(facecolor=colour, hatch=hatch, edgecolor="#ffffff")
        memory.legend(stacks[::-1], [name for name, _ in rows][::-1], loc="center left", bbox_to_anchor=(1, 0.5))
        memory.set(title="Live objects by cache", ylabel="MiB", ylim=(0, None))
        orders = len(result.samples[0].free)
        ramp = [colormaps["cividis"](order / max(orders - 1, 1)) for order in range(orders)]
        for order in range(orders):
            pages = [(sample.free[order] << order) * PAGE / MIB for sample in result.samples]
            free.plot(
                seconds, pages, color=ramp[order], label=f"order {order}", marker=MARKERS[order % 8], markevery=0.2
            )
            if order:
                share = [unusable(sample.free, order) for sample in result.samples]
                index.plot(seconds, share, color=ramp[order], marker=MARKERS[order % 8], markevery=0.2)
        free.set(title="Free memory by the order of its blocks", ylabel="MiB", yscale="symlog", ylim=(0, None))
        free.legend(loc="upper left", bbox_to_anchor=(1, 1), labelspacing=0.2)
        index.set(
            title="Free memory in blocks too small for an order", ylabel="unusable free space index", xlabel="seconds"
        )
        _from_zero(index)
        figure.suptitle(f"Linux {result.release}, {result.cpus} CPUs, {result.ram >> 20:,} MiB")
    _save(figure, file)


_MEASURES = (
    ("slab pages at the end", "MiB", lambda o: o.pages * PAGE / MIB),
    ("slab pages at most", "MiB", lambda o: o.peak_pages * PAGE / MIB),
    ("waste", "share of the slabs' pages", lambda o: o.waste),
    ("unusable for order 3", "share of free memory", lambda o: o.unusable),
)


def sweep_plot(outcomes: Sequence[Outcome], file: Path) -> None:
    """Four measures of a sweep: lines where one setting is a number, bars where there are several or it is none."""
    figure, axes = _figure(2, 2, height=5.0)
    names = {name for outcome in outcomes for name, _ in outcome.settings}
    values = {value for outcome in outcomes for _, value in outcome.settings}
    traces = list(dict.fromkeys(outcome.file for outcome in sorted(outcomes, key=lambda o: o.file)))
    lines = len(names) == 1 and len(values) > 2 and all(isinstance(value, int) for value in values)
    from matplotlib import rc_context

    with rc_context(_STYLE):
        for axis, (title, unit, measure) in zip(axes.flat, _MEASURES, strict=True):
            axis.set(title=title, ylabel=unit)
            (_lines if lines else _bars)(axis, outcomes, traces, measure)
            _from_zero(axis)
        figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(traces), 3))
    _save(figure, file)


def _label(outcome: Outcome) -> str:
    return "\n".join(f"{name}={value}" for name, value in outcome.settings)


def _lines(axis: Any, outcomes: Sequence[Outcome], traces: list[str], measure: Any) -> None:
    for number, trace in enumerate(traces):
        points = sorted((o.settings[0][1], measure(o)) for o in outcomes if o.file == trace)
        axis.plot(
            *zip(*points, strict=True),
            label=Path(trace).name,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
        )
    axis.set(xlabel=outcomes[0].settings[0][0], xticks=sorted({o.settings[0][1] for o in outcomes}))


def _bars(axis: Any, outcomes: Sequence[Outcome], traces: list[str], measure: Any) -> None:
    labels = list(dict.fromkeys(_label(o) for o in sorted(outcomes, key=lambda o: tuple(map(repr, o.settings)))))
    width = 0.8 / len(traces)
    for number, trace in enumerate(traces):
        found = {_label(o): measure(o) for o in outcomes if o.file == trace}
        at = [labels.index(label) + width * (number - (len(traces) - 1) / 2) for label in found]
        axis.bar(
            at,
            list(found.values()),
            width,
            label=Path(trace).name,
            color=COLOURS[number % len(COLOURS)],
            hatch=HATCHES[number % len(HATCHES)],
            edgecolor="#ffffff",
        )
    axis.set_xticks(range(len(labels)), labels, fontsize=6, rotation=0 if len(labels) < 3 else 90)
    axis.grid(visible=False, axis="x")
