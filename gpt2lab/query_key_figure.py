"""How one attention weight comes about: the products on the left, the query's row on the right.

the calculation, a line a step
products q_c · k_c, the largest first    |   score of every key
                                         |   weight of every key
                                         |   what every key adds: the length of weight · v · W_O
"""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gpt2lab.figures import SIGNED, label, new_figure, style, theme, tint, token_ticks
from gpt2lab.softmax_formula import signed

if TYPE_CHECKING:
    from gpt2lab.inspections.query_key import QueryKey

ALL_LABELS = 40
"""Up to so many keys, every one has its label."""
CHOSEN = "#d97706"
LOWER = {"left": 0.05, "right": 0.985, "bottom": 0.17, "top": 0.69, "wspace": 0.16}
"""Where everything but the calculation stands, as shares of the figure."""


def figure(result: "QueryKey", dark: bool = False) -> Figure:
    """The calculation in words, its products, and the row of all keys."""
    drawing = new_figure(12.6, 7.4, dark)
    # To find the places of so many labels takes matplotlib longer than to draw them.
    drawing.set_layout_engine(None)
    grid = drawing.add_gridspec(1, 2, width_ratios=(1, 1.5), **LOWER)
    rows = grid[0, 1].subgridspec(3, 1, hspace=0.4)
    _write(drawing.add_axes((0.03, 0.745, 0.95, 0.21)), result, dark)
    _draw_products(drawing.add_subplot(grid[0, 0]), result, dark)
    below = drawing.add_subplot(rows[2])
    panels = [drawing.add_subplot(rows[row], sharex=below) for row in (0, 1)] + [below]
    titles = (
        "score of each key" + (", before the mask" if result.masked else ""),
        "attention weight: softmax of the scores",
        "what each key adds to the stream: ‖weight · v · W_O‖",
    )
    values = (result.scores, result.weights, result.norms)
    for axes, title, of_keys in zip(panels, titles, values, strict=True):
        _draw_row(axes, title, of_keys, result, dark)
    for axes in panels[:2]:
        axes.tick_params(labelbottom=False)
    token_ticks(below, "x", result.shown, ALL_LABELS if len(result.shown) <= ALL_LABELS else 24)
    below.tick_params(axis="x", labelsize=8)
    below.set_xlabel("key", color=theme(dark).ink)
    return drawing


def _write(axes: Axes, result: "QueryKey", dark: bool) -> None:
    axes.set_axis_off()
    query, key = (label(result.shown[place]) for place in (result.position, result.key))
    title = (
        f"layer {result.layer}, head {result.head}: query {result.position}, {query}, "
        f"and key {result.key}, {key}"
    )
    colours = theme(dark)
    axes.set_title(title, loc="left", color=colours.ink, fontsize=11, parse_math=False)
    for number, line in enumerate(result.formula):
        place = 0.93 - 0.19 * number
        axes.text(0.01, place, line, color=colours.ink, fontsize=9.5, va="top", parse_math=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _draw_products(axes: Axes, result: "QueryKey", dark: bool) -> None:
    """A bar per dimension, the largest product on top; the line below is what adds up."""
    products = np.sort(result.products)[::-1]
    places = np.arange(len(products))
    colours = [SIGNED[dark][int(one < 0)] for one in products]
    axes.barh(places, products, color=colours, height=0.8)
    axes.axvline(0, color=theme(dark).ink, linewidth=0.8)
    axes.set_ylim(len(products) - 0.4, -0.6)
    up, down = products[products > 0].sum(), -products[products < 0].sum()
    axes.set_title(f"{len(products)} products: {up:.3f} − {down:.3f} = {signed(result.dot)}")
    axes.set_xlabel("query × key, a number per dimension")
    axes.set_ylabel("dimension")
    order = np.argsort(-result.products, kind="stable")
    every = max(1, -(-len(products) // 16))
    axes.set_yticks(places[::every], [f"{one}" for one in order[::every]])
    style(axes, dark)
    axes.tick_params(axis="y", labelsize=7, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_row(axes: Axes, title: str, values: np.ndarray, result: "QueryKey", dark: bool) -> None:
    """A bar per key; the key that is looked at has another colour, masked keys are faint."""
    count = len(values)
    places = np.arange(count)
    accent = theme(dark).accent
    colours = [accent if one <= result.position else tint(accent, 0.3, dark) for one in places]
    colours[result.key] = CHOSEN
    if count <= 200:
        axes.bar(places, values, color=colours, width=0.75)
    else:
        axes.vlines(places, 0, values, color=colours, linewidth=max(0.5, 400 / count))
        # Among a thousand lines one more colour would be lost.
        axes.plot(result.key, values[result.key], "o", color=CHOSEN, markersize=5)
    axes.axhline(0, color=theme(dark).ink, linewidth=0.6)
    axes.set_xlim(-0.7, count - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(y=0.1)
    if values.min() >= 0:
        axes.set_ylim(0, max(1.1 * float(values.max()), 1e-12))
    axes.set_title(f"{title} · key {result.key}: {_short(values[result.key])}", fontsize=10)
    style(axes, dark)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _short(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
