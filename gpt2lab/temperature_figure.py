"""Four panels about one distribution: two against the temperature, two against the rank.

    probability of the top tokens against T       probability of every token against its rank
    entropy against T                             what the first so many have together

A token's name stands at the end of its line, moved up or down where names would overlap. The ranks
have a logarithmic axis, since the first ten tokens matter as much as the next fifty thousand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gpt2lab.cuts import Cut
from gpt2lab.figures import COLORMAP, new_figure, style, theme

GAP = 0.062
"""Smallest distance of two names, as a share of the panel's height."""
LOWEST = 1e-12
"""Where the axis of probabilities ends at the latest."""
CUT_STYLES = {"top_k": ("#d97706", "--"), "top_p": ("#0d9488", "-."), "min_p": ("#db2777", ":")}


@dataclass(frozen=True, eq=False)
class Line:
    """One token's probability at every temperature; `strong` lines are thicker."""

    name: str
    values: np.ndarray
    strong: bool


def draw(
    temperatures: Sequence[float],
    lines: Sequence[Line],
    entropy_bits: np.ndarray,
    now: float | None,
    unused: str,
    ranked: np.ndarray,
    cuts: Sequence[Cut],
    dark: bool,
) -> Figure:
    """The figure; `now` is the current temperature, `unused` says why there is none."""
    drawing = new_figure(12.6, 6.6, dark)
    grid = drawing.subplots(
        2, 2, sharex="col", gridspec_kw={"height_ratios": (2, 1), "width_ratios": (1, 1)}
    )
    _draw_sweep(grid[0, 0], temperatures, lines, dark)
    _draw_entropy(grid[1, 0], temperatures, entropy_bits, dark)
    _draw_ranked(grid[0, 1], ranked, dark)
    _draw_cumulative(grid[1, 1], ranked, dark)
    low, high = temperatures[0], temperatures[-1]
    for axes in grid[:, 0]:
        axes.set_xlim(low, high)
        if now is not None and low <= now <= high:
            axes.axvline(now, color=theme(dark).ink, linewidth=1, linestyle="--")
    grid[1, 0].set_xticks([low, 0.5, 1.0, 1.5, high])
    shown = 1.0 if now is None else now
    titles = (
        f"probability of the top tokens at every temperature\n{_now(now, unused, low, high)}",
        f"all {len(ranked):,} tokens by rank at T = {shown:g}\n{_cuts(cuts)}",
    )
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10.5)
    for cut in cuts:
        if cut.ranked:
            _mark(grid[:, 1], cut, dark)
    if any(cut.ranked for cut in cuts):
        grid[0, 1].legend(
            loc="upper right", fontsize=9, labelcolor=theme(dark).ink, framealpha=0.85,
            facecolor=theme(dark).paper, edgecolor=theme(dark).faint,
        )  # fmt: skip
    return drawing


def _now(now: float | None, unused: str, low: float, high: float) -> str:
    if now is None:
        return unused
    if low <= now <= high:
        return f"dashed: now, T = {now:g}"
    return f"now T = {now:g}, {'left' if now < low else 'right'} of this picture"


def _cuts(cuts: Sequence[Cut]) -> str:
    if not cuts:
        return "nothing is cut off"
    last = cuts[-1]
    tokens = "1 token" if last.kept == 1 else f"{last.kept:,} tokens"
    unranked = "" if all(cut.ranked for cut in cuts) else f" ({last.name} has no line)"
    return f"in the end {tokens}, {last.kept_mass:.1%} of the probability{unranked}"


def _draw_sweep(
    axes: Axes, temperatures: Sequence[float], lines: Sequence[Line], dark: bool
) -> None:
    shades = np.linspace(0.3, 1, len(lines)) if dark else np.linspace(0, 0.85, len(lines))
    colours = mpl.colormaps[COLORMAP](shades[::-1] if dark else shades)
    for line, colour in zip(lines, colours, strict=True):
        axes.plot(temperatures, line.values, color=colour, linewidth=3 if line.strong else 1.6)
    top = 1.05 * max(float(line.values.max()) for line in lines)
    axes.set_ylim(0, top)
    axes.set_ylabel("probability")
    ends = np.array([line.values[-1] for line in lines]) / top
    for line, colour, end, place in zip(lines, colours, ends, _spread(ends), strict=True):
        axes.annotate(
            line.name,
            (1, end),
            (1.045, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=theme(dark).ink,
            parse_math=False,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "relpos": (0, 0.5),
                "shrinkA": 2,
                "shrinkB": 0,
            },
        )
    _finish(axes, dark)


def _spread(places: np.ndarray) -> np.ndarray:
    """The places, moved up to be `GAP` apart at least, and down again where that leads above 1.

    Among equals the first is the highest.

    >>> _spread(np.array([0.5, 0.0, 0.0])).round(3).tolist()
    [0.5, 0.062, 0.0]
    >>> _spread(np.array([0.99, 0.99, 0.0])).round(3).tolist()
    [1.0, 0.938, 0.0]
    """
    spread = places.astype(np.float64)
    order = np.argsort(-spread, kind="stable")
    lowest, highest = 0.0, 1.0
    for one in order[::-1]:
        spread[one] = max(spread[one], lowest)
        lowest = spread[one] + GAP
    for one in order:
        spread[one] = min(spread[one], highest)
        highest = spread[one] - GAP
    return spread


def _draw_entropy(
    axes: Axes, temperatures: Sequence[float], entropy_bits: np.ndarray, dark: bool
) -> None:
    axes.plot(temperatures, entropy_bits, color=theme(dark).accent, linewidth=1.8)
    axes.set_ylim(0, None)
    axes.set_ylabel("entropy (bits)")
    axes.set_xlabel("temperature T")
    _finish(axes, dark)


def _drawn_ranks(count: int) -> np.ndarray:
    """Ranks from 1 to `count`, all of the first and ever fewer: the axis is logarithmic."""
    return np.unique(np.geomspace(1, count, 500).round().astype(int))


def _draw_ranked(axes: Axes, ranked: np.ndarray, dark: bool) -> None:
    ranks = _drawn_ranks(len(ranked))
    ranks = ranks[ranked[ranks - 1] > LOWEST]
    axes.loglog(ranks, ranked[ranks - 1], color=theme(dark).accent, linewidth=1.8)
    axes.set_ylabel("probability (log scale)")
    axes.set_xlim(0.8, len(ranked) * 1.2)
    _finish(axes, dark)


def _draw_cumulative(axes: Axes, ranked: np.ndarray, dark: bool) -> None:
    ranks = _drawn_ranks(len(ranked))
    axes.plot(
        ranks, ranked.cumsum(dtype=np.float64)[ranks - 1], color=theme(dark).accent, linewidth=1.8
    )
    axes.set_ylim(0, 1.03)
    axes.set_ylabel("together")
    axes.set_xlabel("rank (log scale)")
    powers = 10 ** np.arange(len(str(len(ranked))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(powers, [f"{power:,}" for power in powers])
    _finish(axes, dark)


def _mark(panels: Sequence[Axes], cut: Cut, dark: bool) -> None:
    """A line behind the last token that is kept."""
    colour, dashes = CUT_STYLES[cut.name]
    alone = "" if cut.alone == cut.kept else f" (alone {cut.alone:,})"
    text = f"{cut.name} {cut.value:g}: {cut.kept:,} kept{alone}, {cut.kept_mass:.1%}"
    for axes in panels:
        axes.axvline(cut.kept + 0.5, color=colour, linestyle=dashes, linewidth=1.8, label=text)


def _finish(axes: Axes, dark: bool) -> None:
    style(axes, dark)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
