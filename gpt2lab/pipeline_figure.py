"""What a pipeline and generate wrote, drawn: tokens below one another, then the returned values."""

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gpt2lab.figures import drawable, label, new_figure, theme, tint

if TYPE_CHECKING:
    from gpt2lab.inspections.pipeline import PipelineOrGenerate

LONGEST_LINE = 92
"""Characters of a returned value that the figure shows; the answer has all."""


def figure(result: "PipelineOrGenerate", dark: bool = False) -> Figure:
    """The new tokens of each call below one another, then what the calls return."""
    drawing = new_figure(9.0, 5.2, dark)
    above, below = drawing.subplots(2, 1, height_ratios=(1.0, 1.6))
    _draw_tokens(above, result, dark)
    _draw_returned(below, result, dark)
    return drawing


def _draw_tokens(axes: Axes, result: "PipelineOrGenerate", dark: bool) -> None:
    colours = theme(dark)
    runs = result.runs
    expected = runs[0][1]
    columns = max(5, *(len(ids) for _, ids in runs))
    for row, (_, ids) in enumerate(runs):
        for column, id in enumerate(ids):
            equal = column < len(expected) and id == expected[column]
            colour = tint(colours.accent, 0.25, dark) if equal else tint(colours.ink, 0.12, dark)
            axes.add_patch(Rectangle((column + 0.03, row + 0.1), 0.94, 0.8, facecolor=colour))
            text = label(result.shown[id])
            most = 90 // columns - 2
            axes.text(
                column + 0.5,
                row + 0.5,
                text if len(text) <= most else text[: most - 1] + "…",
                ha="center",
                va="center",
                color=colours.ink,
                fontsize=9,
                parse_math=False,
            )
    axes.set_xlim(0, columns)
    axes.set_ylim(len(runs), 0)
    axes.set_xticks([])
    axes.set_yticks([row + 0.5 for row in range(len(runs))], [name for name, _ in runs])
    axes.tick_params(colors=colours.ink, labelsize=9, length=0)
    axes.set_facecolor(colours.paper)
    axes.spines[:].set_visible(False)
    lines = result.verdict.replace(". Leave", ".\nLeave")
    legend = "new tokens; coloured: as model.generate wrote at this step"
    axes.set_title(lines, loc="left", fontsize=9.5, color=colours.ink, parse_math=False)
    axes.set_xlabel(legend, fontsize=8, color=colours.ink)


def _draw_returned(axes: Axes, result: "PipelineOrGenerate", dark: bool) -> None:
    colours = theme(dark)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    lines = result.returned
    axes.set_ylim(len(lines), 0)
    for row, (call, value) in enumerate(lines):
        for y, text, strength in ((0.3, call, 0.7), (0.68, f"→ {_shortened(value)}", 1.0)):
            axes.text(
                0.0,
                row + y,
                text,
                va="center",
                fontsize=8.5,
                color=tint(colours.ink, strength, dark),
                parse_math=False,
            )


def _shortened(value: str) -> str:
    """A value as the figure can draw it: without its middle if it is long."""
    text = "".join(one if drawable(one) else f"‹U+{ord(one):04X}›" for one in value)
    if len(text) <= LONGEST_LINE:
        return text
    half = LONGEST_LINE // 2 - 2
    return f"{text[:half]} … {text[-half:]}"
