"""What the KV cache saves and what it costs, drawn against the length of the text."""

from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpt2lab.cache_times import KvCache
from gpt2lab.figures import new_figure, style, theme


def figure(result: KvCache, dark: bool = False) -> Figure:
    """Milliseconds for one token, and the size of the cache, against the length of the text."""
    drawing = new_figure(9.0, 4.6, dark)
    left, right = drawing.subplots(1, 2, width_ratios=(1.5, 1))
    colours = theme(dark)
    drawing.suptitle(
        "\n".join([*wrap(result.verdict, 125), result.facts]),
        x=0.01, ha="left", fontsize=9, color=colours.ink, parse_math=False,
    )  # fmt: skip
    lines = ((result.seconds_without, "without cache", "s--"), (result.seconds_with, "with", "o-"))
    for (seconds, name, mark), colour in zip(lines, (colours.ink, colours.accent), strict=True):
        left.plot(result.lengths, seconds * 1e3, mark, color=colour, markersize=5, label=name)
    left.set_title("milliseconds for one more token")
    left.set_ylim(bottom=0)
    right.plot(result.lengths, np.array(result.cache_bytes) / 2**20, "o-", color=colours.accent)
    right.set_title("size of the cache, MiB")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        _length_axis(axes, result, dark)
    legend = left.legend(frameon=False, fontsize=9, labelcolor=colours.ink, loc="upper left")
    legend.set_zorder(5)
    return drawing


def _length_axis(axes: Axes, result: KvCache, dark: bool) -> None:
    axes.set_xlim(0, result.lengths[-1] * 1.05)
    places = [one for one in result.lengths if one * 10 >= result.lengths[-1]]
    axes.set_xticks(places, [f"{one:,}" for one in places])
    axes.set_xlabel("tokens in the text")
    style(axes, dark)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
