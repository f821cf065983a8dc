"""The picture of an ablation: the next token, each part alone, and the two continuations.

Left, the most probable tokens of the whole model and of what is left of it, a pair of bars each.
Right, a map with a cell for each head and each MLP: what switching it off alone does to one token.
Below, the two continuations, step under step, from the first difference on in colour.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from gpt2lab.ablation import Ablation, Written
from gpt2lab.figures import label, new_figure, style, theme, tint
from gpt2lab.head_map import draw_head_map, head_ticks
from gpt2lab.tokens import readable

NARROWEST = 8.8
"""Inches."""
BARS = 8
"""Most probable tokens before, and after, that have bars."""
CELLS = 10
"""Steps of the continuations in one line."""
LONGEST = 9
"""Characters of a token that fit into a cell."""


def draw(result: Ablation, dark: bool) -> Figure:
    """The whole picture; what there is nothing of takes no room."""
    swept = result.changes
    columns = 0.0 if swept is None else max(3.0, 0.43 * (swept.shape[1] + 2))
    lines = -(-max(len(result.written_before), len(result.written)) // CELLS)
    rows = 0 if swept is None else min(0.3 * len(swept) + 1.0, 9.0)
    bars = (0.29 if result.off else 0.26) * len(_listed(result)) + 0.9
    upper, lower = max(2.8, bars, rows), 0.75 * lines + 0.45
    width = max(NARROWEST, 4.8 + columns)
    drawing = new_figure(width, upper + (lower if lines else 0) + 0.8, dark)
    drawing.suptitle(_title(result), color=theme(dark).ink, fontsize=10, parse_math=False)
    grid = drawing.add_gridspec(
        2 if lines else 1,
        1 if swept is None else 2,
        height_ratios=[upper, lower] if lines else None,
        width_ratios=None if swept is None else [4.4, columns],
    )
    _draw_tokens(drawing.add_subplot(grid[0, 0]), result, dark)
    if swept is not None:
        _draw_sweep(drawing, drawing.add_subplot(grid[0, 1]), result, swept, dark)
    if lines:
        _draw_continuations(drawing.add_subplot(grid[1, :]), result, lines, dark)
    return drawing


def _title(result: Ablation) -> str:
    names = list(result.off)
    named = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    place = f"behind position {result.position}, {label(result.shown)}"
    what = f"switched off: {named}; {place}" if names else f"nothing is switched off, {place}"
    return f"{what}\n{result.formula}"


def _listed(result: Ablation) -> list[int]:
    """The tokens that have bars: the most probable ones before, those after, and the chosen one."""
    both = (result.logits_before, result.logits)
    best = [np.argsort(-one, kind="stable")[:BARS].tolist() for one in both]
    return list(dict.fromkeys([*best[0], *best[1], result.id]))


def _draw_tokens(axes: Axes, result: Ablation, dark: bool) -> None:
    """A pair of bars for each of the most probable tokens; one bar if nothing is off."""
    colours = theme(dark)
    before, after = np.exp(result.logprobs_before), np.exp(result.logprobs)
    ids = _listed(result)
    places = np.arange(len(ids))
    grey: str | tuple[float, float, float] = tint(colours.ink, 0.45, dark)
    kinds = [("whole model", before, grey, -0.2 if result.off else 0.0)]
    if result.off:
        kinds.append(("with these off", after, colours.accent, 0.2))
    height = 0.4 if result.off else 0.7
    for name, values, colour, shift in kinds:
        drawn = axes.barh(places + shift, values[ids], height, color=colour, label=name)
        texts = [f"{one:.3g}" for one in values[ids]]
        axes.bar_label(drawn, texts, padding=3, color=colours.ink, fontsize=7)
    names = [f"{label(readable(result.tokens[id]))}  {id}" for id in ids]
    axes.set_yticks(places, names, parse_math=False)
    # Below the last pair there is room for the legend.
    axes.set_ylim(len(ids) + (0.8 if result.off else -0.4), -0.6)
    axes.set_xlim(0, max(before[ids].max(), after[ids].max()) * 1.25)
    axes.set_title("the most probable next tokens")
    unswept = "; there is no sweep: it is off, or would take long" if result.changes is None else ""
    axes.set_xlabel(f"probability{unswept}")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    style(axes, dark)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if result.off:
        axes.legend(
            loc="lower right",
            ncols=2, fontsize=8, labelcolor=colours.ink, facecolor=colours.paper,
            edgecolor=colours.faint,
        )  # fmt: skip


def _draw_sweep(
    drawing: Figure, axes: Axes, result: Ablation, changes: np.ndarray, dark: bool
) -> None:
    """The map, with an empty column between the heads and the MLPs; what is off is outlined."""
    layers, heads = changes.shape[0], changes.shape[1] - 1
    gap = np.full((layers, 1), np.nan)
    cells = np.hstack([changes[:, :-1], gap, changes[:, -1:]])
    # MLPs may matter so much more than any head that all heads would look alike.
    limit = float(np.abs(changes[:, :-1]).max())
    draw_head_map(drawing, axes, cells, limit, dark)
    for name in result.off:
        layer, head = name.split(".")
        column = int(head) if head.isdigit() else heads + 1
        axes.add_patch(_outline(int(layer), column, dark))
    numbered = head_ticks(heads)
    axes.set_xticks([*numbered, heads + 1], [*map(str, numbered), "MLP"])
    axes.set_xlabel("head; blue: without it the token is less probable")
    axes.set_title(
        f"change of log p({label(readable(result.token))}), each alone off", parse_math=False
    )
    style(axes, dark)


def _outline(layer: int, column: int, dark: bool) -> Rectangle:
    return Rectangle(
        (column - 0.5, layer - 0.5), 1, 1, fill=False, edgecolor=theme(dark).ink, linewidth=1.4
    )


def _draw_continuations(axes: Axes, result: Ablation, lines: int, dark: bool) -> None:
    """Two rows of cells in each line: the whole model above, what is left of it below."""
    colours = theme(dark)
    axes.set_axis_off()
    axes.set_xlim(-1.15, CELLS)
    axes.set_ylim(lines, -0.35)
    different = result.first_difference
    where = "never differ" if different is None else f"first differ at step {different}"
    title = f"what follows, {result.how}; below each token its probability; the two {where}"
    axes.text(-1.15, -0.3, title, color=colours.ink, fontsize=9, va="top", in_layout=False)
    both = (("whole model", result.written_before), ("with these off", result.written))
    for line in range(lines):
        for row, (name, written) in enumerate(both):
            y = line + 0.18 + 0.42 * row
            axes.text(-1.15, y, name, color=colours.ink, fontsize=8, va="center", in_layout=False)
            for step in range(line * CELLS, min((line + 1) * CELLS, len(written))):
                changed = different is not None and step >= different
                _draw_cell(axes, step % CELLS, y, written[step], changed and row == 1, dark)


def _draw_cell(
    axes: Axes, column: int, y: float, written: Written, changed: bool, dark: bool
) -> None:
    colours = theme(dark)
    fill = tint(colours.accent, 0.3, dark) if changed else tint(colours.ink, 0.09, dark)
    axes.add_patch(Rectangle((column + 0.03, y - 0.13), 0.94, 0.2, facecolor=fill, linewidth=0))
    text = label(readable(written.token))
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    for at, size, words in ((y - 0.03, 8, text), (y + 0.13, 6.5, f"{written.probability:.2g}")):
        axes.text(
            column + 0.5, at, words, color=colours.ink, fontsize=size, ha="center", va="center",
            parse_math=False, in_layout=False,
        )  # fmt: skip
