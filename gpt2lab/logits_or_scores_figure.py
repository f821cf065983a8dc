"""Logits and scores drawn: at each step a line from what the model said to what became of it."""

from math import isfinite
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure

from gpt2lab.figures import label, new_figure, style, theme
from gpt2lab.output_comparison import LogitsOrScores


def figure(result: LogitsOrScores, dark: bool = False) -> Figure:
    """Per step two columns, logits and scores; a line goes from a token's one to its other."""
    colours = theme(dark)
    drawing = new_figure(9.0, 5.0, dark)
    axes = drawing.subplots()
    finite = np.concatenate([result.listed_logits.ravel(), result.listed_scores.ravel()])
    finite = finite[np.isfinite(finite)]
    low, high = float(finite.min()), float(finite.max())
    room = max(high - low, 1.0)
    floor = low - 0.16 * room
    for step, (ids, logits, scores) in enumerate(
        zip(result.ids, result.listed_logits, result.listed_scores, strict=True)
    ):
        left, right = step - 0.22, step + 0.22
        axes.axvspan(step - 0.36, step + 0.36, color=colours.faint, alpha=0.25, linewidth=0)
        for place in reversed(range(len(ids))):
            chosen = place == 0
            kept = isfinite(scores[place])
            ends = [logits[place], scores[place] if kept else floor]
            colour = colours.accent if chosen else colours.ink
            strength = 1.0 if chosen else 0.45
            axes.plot(
                [left, right], ends, color=colour, alpha=strength, linewidth=1.8 if chosen else 0.8,
                linestyle="-" if kept else ":",
            )  # fmt: skip
            axes.plot(left, ends[0], "o", color=colour, alpha=strength, markersize=5)
            axes.plot(right, ends[1], "o" if kept else "x", color=colour, alpha=strength,
                      markersize=5)  # fmt: skip
    axes.axhline(low - 0.08 * room, color=colours.faint, linewidth=0.8)
    axes.set_ylim(floor - 0.06 * room, high + 0.06 * room)
    axes.set_xlim(-0.5, max(result.steps, 4) - 0.5)
    names = [f"{step}\n{label(row[0])}" for step, row in enumerate(result.shown)]
    slanted = result.steps > 8
    axes.set_xticks(
        range(result.steps), names, parse_math=False, rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
    )  # fmt: skip
    ticks = [tick for tick in axes.get_yticks() if low - 0.05 * room <= tick <= high + 0.06 * room]
    axes.set_yticks([floor, *ticks], ["−inf", *(f"{tick:g}" for tick in ticks)])
    axes.set_ylabel("left: outputs.logits · right: outputs.scores")
    axes.set_xlabel(
        "step and chosen token (thick line) · thin: others with the largest logits · "
        "× the largest one removed"
    )
    lines = "\n".join(wrap(result.verdict, 118))
    axes.set_title(lines, loc="left", fontsize=9, color=colours.ink, parse_math=False)
    style(axes, dark)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return drawing
