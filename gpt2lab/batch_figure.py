"""The picture of a batch: its three matrices, each row's error, and what was written behind it."""

from textwrap import wrap

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from gpt2lab.batch_comparison import BatchComparison
from gpt2lab.figures import COLORMAP, new_figure, style, theme, tint
from gpt2lab.matrices import (
    HEAD,
    LEFT,
    LINE,
    WIDTH,
    Cell,
    canvas,
    draw_matrix,
    matrix_height,
    window,
    write_line,
    write_lines,
)

TALL, LOW = 0.36, 0.21
"""Inches of a cell with a token in it, and of one with a number."""
VERDICT, SMALLEST_ERROR = 0.62, 1e-7
PANEL = 0.75
"""Inches of the panel of errors beside its bars."""
SENTENCE, SAYS, HOLDS = 100, 36, 80
"""Characters of a line of the verdict, of what is often said, and of what holds."""


def figure(result: BatchComparison, dark: bool = False) -> Figure:
    """Matrices on top, then errors, texts, and what is often said about padding."""
    rows = result.rows
    panel = PANEL + 0.24 * max(rows, 3)
    matrices = matrix_height(rows, TALL) + 2 * matrix_height(rows, LOW)
    outputs = HEAD + LINE * rows
    claims = [(wrap(says, SAYS), wrap(holds, HOLDS)) for says, holds in result.claims]
    height = VERDICT + matrices + 0.3 + panel + outputs + _height(claims)
    drawing = new_figure(WIDTH, height, dark)
    axes = canvas(drawing, height)
    write_lines(axes, 0.15, 0.22, wrap(result.verdict, SENTENCE), dark, 10.5)
    y = VERDICT
    for title, cells, size in _matrices(result, dark):
        draw_matrix(axes, y, title, cells, size, dark)
        y += matrix_height(rows, size)
    y += 0.3
    write_line(axes, LEFT, y + 0.1, "largest logit error of each row · dotted: rounding", dark, 9.0)
    _errors(drawing, result, y, panel, height, dark)
    _configurations(axes, result, y, dark)
    y = _outputs(axes, result, y + panel, dark)
    _claims(axes, claims, y, dark)
    return drawing


def _matrices(result: BatchComparison, dark: bool) -> list[tuple[str, list[list[Cell]], float]]:
    """Title, cells and height of a cell of the three matrices."""
    colours = theme(dark)
    columns = window(result.input_ids.shape[1])
    left_out = result.input_ids.shape[1] - sum(column is not None for column in columns)
    between = f" · ⋯: {left_out:,} of {result.input_ids.shape[1]:,} columns" if left_out else ""
    cut = f" · {result.cut:,} tokens before row 0 are left out" if result.cut else ""
    grey = tint(colours.ink, 0.07, dark)
    accent = tint(colours.accent, 0.3, dark)
    scale = colormaps[COLORMAP]
    highest = max(int(result.position_ids.max()), 1)

    def cells(kind: str) -> list[list[Cell]]:
        drawn = []
        for row in range(result.rows):
            line = []
            for column in columns:
                if column is None:
                    line.append(Cell("⋯", tint(colours.ink, 0.0, dark)))
                    continue
                padding = bool(result.pads[row, column])
                id = int(result.input_ids[row, column])
                one = int(result.attention_mask[row, column])
                place = int(result.position_ids[row, column])
                if kind == "ids":
                    colour = grey if padding else accent
                    line.append(Cell(result.tokens[id], colour, str(id), padding))
                elif kind == "mask":
                    line.append(Cell(str(one), accent if one else grey, padding=padding))
                else:
                    shade = tint(to_hex(scale(place / highest)), 0.4 if padding else 1, dark)
                    line.append(Cell(str(place), shade, padding=padding))
            drawn.append(line)
        return drawn

    mask = "1: read, 0: hidden" if result.use_mask else "none is given, so all is read"
    return [
        (
            f"input_ids · hatched: padding · framed: generate goes on behind it{between}{cut}",
            cells("ids"),
            TALL,
        ),
        (f"attention_mask · {mask}", cells("mask"), LOW),
        ("position_ids", cells("positions"), LOW),
    ]


def _errors(
    drawing: Figure, result: BatchComparison, top: float, panel: float, height: float, dark: bool
) -> None:
    """Each row's error as a bar on a logarithmic scale."""
    colours = theme(dark)
    inches = panel - PANEL
    axes = drawing.add_axes(
        (LEFT / WIDTH, 1 - (top + 0.28 + inches) / height, 3.9 / WIDTH, inches / height)
    )
    values = np.maximum(result.max_logit_error.astype(float), SMALLEST_ERROR)
    places = np.arange(result.rows)
    wrong = set(result.wrong)
    shades = [
        colours.accent if row in wrong else tint(colours.accent, 0.45, dark) for row in places
    ]
    axes.barh(
        places, values - SMALLEST_ERROR / 10, left=SMALLEST_ERROR / 10, color=shades, height=0.7
    )
    axes.set_xscale("log")
    axes.set_xlim(SMALLEST_ERROR / 10, 1e6)
    axes.set_ylim(max(result.rows, 3) - 0.4, -0.6)
    axes.set_yticks(places, [str(row) for row in places])
    axes.axvline(result.tolerance, color=colours.ink, linewidth=0.8, linestyle=":")
    for row, error in enumerate(result.max_logit_error.tolist()):
        # Behind the bar, and not across the dotted line.
        place = 1.6 * max(values[row], result.tolerance)
        axes.text(place, row, f"{error:.2g}", color=colours.ink, fontsize=8, va="center")
    axes.set_xticks([1e-6, 1e-3, 1, 1e3], ["1e-6", "1e-3", "1", "1,000"])
    axes.minorticks_off()
    style(axes, dark)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _configurations(axes: Axes, result: BatchComparison, top: float, dark: bool) -> None:
    """All sides and masks at a glance: the largest error of the rows under each."""
    x = (4.9, 7.1, 8.05)
    write_line(axes, x[0], top + 0.1, "largest error of the rows, for each way", dark, 9.0)
    for place, side in zip(x[1:], ("left", "right"), strict=True):
        write_line(axes, place, top + 0.36, side, dark)
    ways = (
        ("generate with the mask", True, True),
        ("model(ids, mask), no positions", True, False),
        ("no mask", False, True),
    )
    for number, (name, mask, counted) in enumerate(ways):
        y = top + 0.36 + LINE * (number + 1) * 1.1
        write_line(axes, x[0], y, name, dark)
        for place, side in zip(x[1:], ("left", "right"), strict=True):
            error = result.error(side, mask, counted)
            right = error is not None and error <= result.tolerance
            sign = "–" if error is None else f"{'✓' if right else '✗'} {error:.2g}"
            chosen = (side, mask, counted) == (result.padding_side, result.use_mask, True)
            write_line(axes, place, y, f"{sign}{' ◂' if chosen else ''}", dark)
    below = "◂: the batch above"
    if any(one.error is None for one in result.configurations):
        below += " · –: not computed for so large a batch"
    write_line(axes, x[0], top + 0.36 + LINE * 4.4, below, dark, 7.5)


def _outputs(axes: Axes, result: BatchComparison, top: float, dark: bool) -> float:
    """What was written behind each row; returns where the next part begins."""
    same = " · = as the text alone, ≠ otherwise than alone" if result.same else ""
    note = "" if result.output_ids.shape[1] else ": nothing, for the context is full"
    title = f"written behind each row ({result.strategy}){note}{same}"
    write_line(axes, LEFT, top + HEAD / 2, title, dark, 9.0)
    for row in range(result.rows):
        y = top + HEAD + LINE * (row + 0.5)
        write_line(axes, LEFT - 0.2, y, str(row), dark, 8.0)
        write_line(axes, LEFT, y, f"{agreement(result, row)}{written(result, row)}", dark)
    return top + HEAD + LINE * result.rows


def agreement(result: BatchComparison, row: int) -> str:
    """Whether greedy decoding would have continued the text alone with the same tokens."""
    if result.same is None:
        return ""
    same, count = result.same[row], result.counts[row]
    return "= " if same == count else f"≠ from token {same + 1}: "


def written(result: BatchComparison, row: int) -> str:
    """What was written, as a person reads it, but with blanks as they are."""
    return result.shown[row].replace("␣", " ").strip(" ")


Claims = list[tuple[list[str], list[str]]]
"""The lines of what is often said, and of what holds."""


def _height(claims: Claims) -> float:
    lines = sum(max(len(says), len(holds)) for says, holds in claims)
    return HEAD + lines * LINE + len(claims) * 0.06 + 0.1


def _claims(axes: Axes, claims: Claims, top: float, dark: bool) -> None:
    """What is often said on the left, what holds on the right."""
    write_line(axes, LEFT, top + HEAD / 2, "often said", dark, 9.0)
    write_line(axes, 3.15, top + HEAD / 2, "what holds, with the numbers of this batch", dark, 9.0)
    y = top + HEAD + LINE / 2
    for says, holds in claims:
        write_lines(axes, LEFT, y, says, dark)
        write_lines(axes, 3.15, y, holds, dark)
        y += max(len(says), len(holds)) * LINE + 0.06
