"""Small multiples: one panel of bars for each stage, with the same rows, order and axis in all.

What changes from panel to panel is then the distribution alone, so one sees which tokens a stage
lifts and which it drops. The last row holds all tokens that are not listed, so that the bars of a
panel sum to 1. On the logarithmic axis a token of one in a million has a bar as well; bars begin at
the left edge there, so compare their ends, not their lengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from matplotlib.transforms import offset_copy

from gpt2lab.figures import new_figure, style, theme, tint

SCALES = ("linear", "log")
COLUMNS = 3
LOWEST = 1e-12
"""Where the logarithmic axis ends at the latest: smaller probabilities have a number but no bar."""
SEARCHED = "#d97706"
"""Orange for the token that was searched for: distinct from both themes' accent to all eyes."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Panel:
    """One stage: lines of text above it, and one probability per row, None for what was dropped."""

    lines: tuple[str, ...]
    values: tuple[float | None, ...]


def small_multiples(
    panels: Sequence[Panel],
    labels: Sequence[str],
    heading: str,
    scale: str,
    dark: bool,
    searched: int | None = None,
) -> Figure:
    """Draw the panels; `labels` name the rows, of which the last is all other tokens together.

    `searched` is the row of a token that is drawn in another colour.
    """
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    above = 0.19 * max(len(panel.lines) for panel in panels)
    height = rows * (0.24 * len(labels) + 0.45 + above) + 0.2 * (2 + heading.count("\n"))
    drawing = new_figure(max(7.4, 3.7 * columns + 1.6), height, dark)
    drawing.suptitle(
        heading, x=0.01, ha="left", fontsize=10, color=theme(dark).ink, parse_math=False
    )
    limits = _limits(panels, scale)
    grid = drawing.subplots(rows, columns, squeeze=False, sharey=True)
    for number, axes in enumerate(grid.flat):
        if number >= len(panels):
            axes.set_visible(False)
            continue
        _draw(axes, panels[number], scale, limits, dark, searched)
        if number % columns == 0:
            axes.set_yticks(range(len(labels)), list(labels), parse_math=False)
            axes.set_ylim(len(labels) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0)
        else:
            axes.yaxis.set_visible(False)
        below = number + columns < len(panels)
        axes.set_xlabel("" if below else f"probability{' (log scale)' if scale == 'log' else ''}")
    settle(drawing)
    return drawing


def settle(drawing: Figure) -> None:
    """Lay the figure out now, once: else whoever saves it draws all of it twice."""
    engine = drawing.get_layout_engine()
    if engine is not None:
        engine.execute(drawing)
        drawing.set_layout_engine(None)


def _limits(panels: Sequence[Panel], scale: str) -> tuple[float, float]:
    """One axis for all panels, with room at the right for the numbers behind the bars."""
    values = [value for panel in panels for value in panel.values if value]
    highest = max(values, default=1.0)
    if scale == "linear":
        return 0, highest * 1.3
    low = 10.0 ** floor(log10(max(LOWEST, min(values, default=LOWEST))) - 0.01)
    return low, highest * (highest / low) ** 0.3


def _set_ticks(axes: Axes, scale: str, low: float) -> None:
    """At most about six, none above 1: the rest of the axis is room for numbers."""
    if scale == "log":
        lowest = round(log10(low))
        powers = range(0, lowest - 1, -max(1, -lowest // 5))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks([10.0**power for power in powers], [_power(power) for power in powers])
    else:
        axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 1])


def _power(power: int) -> str:
    """10⁻³, without the mathematics of matplotlib, which takes long."""
    return "10" + str(power).translate(_SUPERSCRIPTS) if power else "1"


def _draw(
    axes: Axes,
    panel: Panel,
    scale: str,
    limits: tuple[float, float],
    dark: bool,
    searched: int | None,
) -> None:
    colours = theme(dark)
    low, high = limits
    places = np.arange(len(panel.values))
    ends = np.array([max(value or 0.0, low) for value in panel.values])
    drawn = axes.barh(places, ends - low, left=low, height=0.7, color=colours.accent)
    drawn[-1].set_color(tint(colours.ink, 0.4, dark))
    if searched is not None:
        drawn[searched].set_color(SEARCHED)
    axes.set_xscale(scale)
    axes.set_xlim(low, high)
    _set_ticks(axes, scale, low)
    behind = offset_copy(axes.transData, axes.get_figure(root=True), 3, 0, units="points")
    faint = tint(colours.ink, 0.6, dark)
    for place, (end, value) in enumerate(zip(ends, panel.values, strict=True)):
        axes.text(
            end,
            place,
            "dropped" if value is None else f"{value:.3g}",
            transform=behind,
            va="center",
            fontsize=8,
            color=faint if value is None else colours.ink,
            # The axis leaves room for it, and measuring hundreds of texts takes time.
            in_layout=False,
        )
    style(axes, dark)
    # A title whose height is given is not moved up above ticks, for which all would be measured.
    axes.set_title(
        "\n".join(panel.lines), loc="left", y=1.0, color=colours.ink, fontsize=9.5,
        parse_math=False,
    )  # fmt: skip
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
