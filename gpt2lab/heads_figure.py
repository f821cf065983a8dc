"""A mosaic of attention maps: a row per layer, a column per head, the leading heads framed."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gpt2lab.figures import COLORMAP, new_figure, style, theme, tint

if TYPE_CHECKING:
    from gpt2lab.inspections.heads import Heads

PICTURE, GAP = 48, 4
"""Pixels of a head's picture, about, and between two: small maps are enlarged to that."""
INCHES = 0.66
LARGEST = 11.0
"""Inches of a picture, and of the mosaic at most, for models with very many heads."""
FRAME = "#dc2626"
TICKS = (0, 0.01, 0.1, 0.3, 0.6, 1)
LEADING_BY = {
    "entropy": "lowest entropy, in bits",
    "distance": "largest distance, in tokens",
    "first token": "most weight on the first token",
    "previous token": "most weight on the previous token",
    "induction": "most weight on the induction positions",
}


def figure(result: "Heads", dark: bool = False) -> Figure:
    """The mosaic, with the five leading heads framed and listed below it."""
    layers, heads, side, _ = result.thumbnails.shape
    inches = min(INCHES, LARGEST / max(layers, heads))
    width, height = max(inches * heads, 4.2), inches * layers
    drawing = new_figure(width + 1.6, height + 1.6, dark)
    axes = drawing.subplots()
    scale = max(1, PICTURE // side)
    step = side * scale + GAP
    mosaic = _mosaic(result.thumbnails, scale)
    norm = PowerNorm(0.5, 0, 1)
    axes.imshow(
        mosaic, cmap=COLORMAP, norm=norm, interpolation="nearest", interpolation_stage="data"
    )
    middle = (side * scale - 1) / 2
    axes.set_xticks(np.arange(heads) * step + middle, [f"{head}" for head in range(heads)])
    axes.set_yticks(np.arange(layers) * step + middle, [f"{layer}" for layer in range(layers)])
    axes.set_xlabel(_below(result))
    axes.set_ylabel("layer")
    axes.xaxis.tick_top()
    axes.set_title(_title(result), pad=6)
    style(axes, dark)
    axes.tick_params(length=0, labelsize=8 if inches > 0.35 else 6)
    axes.set_facecolor(tint(theme(dark).faint, 0.5, dark))
    for spine in axes.spines.values():
        spine.set_visible(False)
    for rank, (layer, head, _) in enumerate(result.leading, start=1):
        _frame(axes, head * step, layer * step, side * scale, rank)
    drawn = axes.images[0]
    bar = drawing.colorbar(drawn, ax=axes, shrink=0.6, pad=0.02, ticks=TICKS)
    bar.ax.set_yticklabels([f"{tick:.0%}" for tick in TICKS])
    bar.set_label("weight of a pixel's keys; colour by its square root", color=theme(dark).ink)
    bar.ax.tick_params(colors=theme(dark).ink, labelsize=8)
    bar.outline.set_edgecolor(theme(dark).faint)
    return drawing


def _mosaic(thumbnails: np.ndarray, scale: int) -> np.ndarray:
    """All pictures in one array, enlarged; NaN between them and ahead of each query."""
    layers, heads, side, _ = thumbnails.shape
    seen = np.where(np.tri(side, dtype=bool), thumbnails, np.nan)
    large = seen.repeat(scale, axis=2).repeat(scale, axis=3)
    framed = np.pad(large, ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=np.nan)
    size = side * scale + GAP
    whole = framed.transpose(0, 2, 1, 3).reshape(layers * size, heads * size)
    return whole[:-GAP, :-GAP]


def _frame(axes: Axes, x: float, y: float, size: int, rank: int) -> None:
    frame = Rectangle((x - 1.5, y - 1.5), size + 2, size + 2, fill=False, zorder=3)
    frame.set(edgecolor=FRAME, linewidth=1.8)
    axes.add_patch(frame)
    # In the corner that no weight is in.
    text = axes.text(x + size - 4, y + 4, f"{rank}", color="white", fontsize=7, weight="bold")
    text.set(ha="right", va="top", in_layout=False, zorder=4)
    text.set_bbox({"facecolor": FRAME, "edgecolor": "none", "pad": 1.5})


def _title(result: "Heads") -> str:
    size = "a pixel is one token" if result.block == 1 else f"a pixel is {result.block} tokens"
    hidden = ", first key hidden" if result.hide_first else ""
    tokens = "1 token" if result.length == 1 else f"{result.length:,} tokens"
    return f"{tokens}, queries downwards, keys to the right; {size}{hidden}\nhead"


def _below(result: "Heads") -> str:
    """The leading heads, each as layer.head with its number."""
    if result.sort == "layer":
        return ""
    if not result.leading:
        return f"{LEADING_BY[result.sort]}: this text has no such query"
    named = [f"{layer}.{head}: {_written(result, value)}" for layer, head, value in result.leading]
    return f"{LEADING_BY[result.sort]}, by layer.head\n{'   '.join(named)}"


def _written(result: "Heads", value: float) -> str:
    in_units = {"entropy": f"{value:.2f}", "distance": f"{value:.1f}"}
    return in_units.get(result.sort, f"{value:.0%}")
