"""A text in the colours of how well it was predicted, its surprise along the way, and its ranks."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gpt2lab.chips import MOST_CHIPS, Head, strip, window
from gpt2lab.figures import bars, style, theme, tint
from gpt2lab.inspections.tokens import chip
from gpt2lab.scales import CLASS, ENTROPY, LOGPROB, SURPRISE, Scale
from gpt2lab.scoring import Numbers

if TYPE_CHECKING:
    from gpt2lab.inspections.score import Score

SCALES: dict[str, tuple[Scale, Callable[[Numbers], np.ndarray]]] = {
    "log-probability": (LOGPROB, lambda found: found.logprobs),
    "rank": (CLASS, lambda found: np.where(found.ranks > 0, found.ranks, np.nan)),
    "entropy": (ENTROPY, lambda found: found.entropy_bits),
    "surprise": (SURPRISE, lambda found: found.surprise_bits),
}
"""What the chips can be coloured by."""
HISTOGRAM = ("1", "2–10", "11–100", "101–1,000", "over 1,000")
PANELS = 2.2
"""Inches below the chips."""


def figure(result: "Score", dark: bool = False) -> Figure:
    """The text as coloured chips; below them the surprise along the text and the ranks."""
    scale, numbers_of = SCALES[result.colour]
    groups = window(result.pieces.groups, result.position, MOST_CHIPS)
    shown = range(groups[0].start, groups[-1].stop)
    values = numbers_of(result).tolist()
    shares, below = tuple(map(scale.share, values)), tuple(map(scale.text, values))
    parts = [slice(group.start, group.stop) for group in groups]
    chips = [
        chip(result.pieces, group, below[part], shares[part])
        for group, part in zip(groups, parts, strict=True)
    ]
    legend = f"left: position of the row's first token · below: {scale.below}"
    if any(len(group) > 1 for group in groups):
        legend += " · joined: bytes, in hex, of the character above"
    if shown.start == 0:
        legend += " · grey: follows nothing"
    if len(result.ids) > result.window:
        legend += f" · window {result.window:,}, stride {result.stride:,}"
    head = Head(title=scale.title, note="", facts=_facts(result), filled=None)
    drawing = strip(chips, head, legend, dark, ticks=scale.ticks)
    if len(result.ids) > 1:
        _add_panels(drawing, result, shown, dark)
    return drawing


def _facts(result: "Score") -> str:
    count = len(result.ids)
    facts = [f"{count:,} token" + ("" if count == 1 else "s")]
    if count > 1:
        written = ",.1f" if result.perplexity < 1e6 else ".3g"
        facts.append(f"perplexity {result.perplexity:{written}}")
        facts.append(f"loss {result.loss:.3f} nats")
        facts.append(f"{result.bits_per_byte:.3f} bits per byte")
    return " · ".join(facts)


def _add_panels(drawing: Figure, result: "Score", shown: range, dark: bool) -> None:
    """Make room below the chips and draw the two panels there."""
    width, above = drawing.get_size_inches()
    height = above + PANELS
    drawing.set_size_inches(width, height)
    drawing.axes[0].set_position((0, PANELS / height, 1, above / height))
    bottom, top = 0.5 / height, (PANELS - 0.85) / height
    _draw_surprise(drawing.add_axes((0.07, bottom, 0.5, top)), result, shown, dark)
    _draw_ranks(drawing.add_axes((0.7, bottom, 0.28, top)), result, dark)


def _draw_surprise(axes: Axes, result: "Score", shown: range, dark: bool) -> None:
    """A line from 0 for each token; the part that the chips show is shaded."""
    colours = theme(dark)
    count = len(result.ids)
    if len(shown) < count:
        axes.axvspan(shown.start - 0.5, shown.stop - 0.5, color=tint(colours.accent, 0.2, dark))
    positions = np.arange(1, count)
    thick = min(6.0, max(0.5, 250 / count))
    axes.vlines(positions, 0, result.surprise_bits[1:], color=colours.accent, linewidth=thick)
    axes.axhline(0, color=colours.ink, linewidth=0.6)
    axes.set_xlim(-0.5, count - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_title("surprise of each token, in bits")
    chips = f"; shaded: {shown.start:,} to {shown.stop - 1:,}, the chips above"
    axes.set_xlabel("position" + (chips if len(shown) < count else ""))
    style(axes, dark)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_ranks(axes: Axes, result: "Score", dark: bool) -> None:
    bars(axes, HISTOGRAM, result.histogram, dark)
    for text, count in zip(axes.texts, result.histogram, strict=True):
        text.set_text(f"{count:,}")
    axes.set_title("tokens by rank", fontsize=10)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)
