"""Attributions drawn: the text as chips; below it a line for each token, and the largest ones.

Red speaks for what is explained, blue against it, in the chips and in both panels.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gpt2lab.chips import MOST_CHIPS, Head, strip
from gpt2lab.figures import DIVERGING, SIGNED, label, style, theme
from gpt2lab.gradients import TIMES_INPUT
from gpt2lab.input_attribution import Gradients, written
from gpt2lab.inspections.tokens import chip
from gpt2lab.tokens import readable

PANELS = 2.75
"""Inches below the chips."""
LARGEST_SHOWN = 8


def figure(result: Gradients, dark: bool = False) -> Figure:
    """The text in the colours of the attributions; below, all of them, and the largest."""
    limit = max(float(np.abs(result.attributions).max()), 1e-12)
    first = _first_shown(result)
    chips = []
    for group in result.pieces.groups:
        if group.start >= first:
            values = result.attributions[group.start : group.stop].tolist()
            below = tuple(written(one) for one in values)
            shares = tuple(0.5 + 0.5 * one / limit for one in values)
            chips.append(chip(result.pieces, group, below, shares))
    points = f", {result.steps} points" if result.steps > 1 else ""
    how = f"{result.method}{points}"
    legend = f"left: position of the row's first token · below: attribution ({how})"
    if first:
        legend += f" · the first {first:,} tokens are in the panels and the table"
    if result.method == TIMES_INPUT and result.gap is not None:
        legend += " · its gap tells how far from linear the model is"
    title = f"{result.output} of {label(readable(result.token))} (id {result.id})"
    head = Head(title=title, note="", facts=result.facts, filled=None)
    ticks = ((0.0, written(-limit)), (0.5, "0"), (1.0, f"+{written(limit)}"))
    drawing = strip(chips, head, legend, dark, ticks, DIVERGING[dark])
    _add_panels(drawing, result, dark)
    return drawing


def _first_shown(result: Gradients) -> int:
    """Position of the first chip: the beginning of a character."""
    starts = result.pieces.starts
    earliest = max(0, len(starts) - MOST_CHIPS)
    begins = (one for one in range(earliest, len(starts)) if starts[one] == one)
    return next(begins, earliest)


def _add_panels(drawing: Figure, result: Gradients, dark: bool) -> None:
    """Make room below the chips of a strip and draw the two panels there."""
    width, above = drawing.get_size_inches()
    height = above + PANELS
    drawing.set_size_inches(width, height)
    drawing.axes[0].set_position((0, PANELS / height, 1, above / height))
    bottom, top = 0.5 / height, (PANELS - 1.0) / height
    _draw_all(drawing.add_axes((0.07, bottom, 0.5, top)), result.attributions, result.formula, dark)
    _draw_largest(drawing.add_axes((0.76, bottom, 0.18, top)), result, dark)


def _draw_all(axes: Axes, attributions: np.ndarray, formula: str, dark: bool) -> None:
    """A line from 0 for each token."""
    count = len(attributions)
    above, below = SIGNED[dark]
    colours = [above if one >= 0 else below for one in attributions]
    thick = min(6.0, max(0.5, 250 / count))
    axes.vlines(range(count), 0, attributions, color=colours, linewidth=thick)
    axes.axhline(0, color=theme(dark).ink, linewidth=0.6)
    axes.set_xlim(-0.5, max(count, 5) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_title(f"what each token adds, in all\n{formula}", parse_math=False)
    axes.set_xlabel("position")
    style(axes, dark)
    axes.title.set_fontsize(9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_largest(axes: Axes, result: Gradients, dark: bool) -> None:
    """The tokens with the largest attributions of either sign, each with its position."""
    order = result.largest[:LARGEST_SHOWN]
    values = result.attributions[order]
    above, below = SIGNED[dark]
    colours = [above if one >= 0 else below for one in values]
    drawn = axes.barh(range(len(order)), values, color=colours, height=0.7)
    texts = [written(one) for one in values]
    axes.bar_label(drawn, texts, padding=3, color=theme(dark).ink, fontsize=8)
    names = [f"{place} {label(result.pieces.shown[place])}" for place in order]
    axes.set_yticks(range(len(order)), names, parse_math=False)
    axes.set_ylim(max(len(order), 4) - 0.4, -0.6)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    room = 0.5 * max(high - low, 1e-12)
    axes.set_xlim(low - room * (low < 0), high + room * (high > 0 or low == 0))
    axes.axvline(0, color=theme(dark).ink, linewidth=0.8)
    axes.set_title("the largest")
    axes.set_xticks([])
    style(axes, dark)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
