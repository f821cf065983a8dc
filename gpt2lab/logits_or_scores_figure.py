"""Logits and scores drawn: lines from what the model said to what became of it, and the numbers.

Above, each step has two columns, and a line goes from a token's logit to its score. Below stand the
numbers of the chosen token, each with a sign that says whether it is what its line asks about.
"""

from collections.abc import Iterable
from math import isfinite
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gpt2lab.figures import label, new_figure, style, theme, tint
from gpt2lab.output_comparison import EQUAL, NEARLY_EQUAL, LogitsOrScores
from gpt2lab.outputs import Shape

COLUMN, CELL = 0.72, 0.94
"""Widths of a step and of a number, of the 1 from one step to the next."""
MANY = 8
"""From more steps on their columns are narrow."""
LEGEND = (
    "thick: the chosen token, whose numbers stand below · thin: others with the largest logits · "
    "×: the largest logit of a removed token"
)
ABOUT_NUMBERS = (
    f"= is equal (within {EQUAL:g}, a log softmax {NEARLY_EQUAL:g}) · ≠ is not · "
    "cells of one colour in a step: the same number"
)


def figure(result: LogitsOrScores, dark: bool = False) -> Figure:
    """The two columns of each step, and below them what each output says of the chosen token."""
    lines, counts = numbers(result), differing(result)
    drawing = new_figure(9.0, 5.4 + 0.2 * (len(lines) + len(counts)), dark)
    above, below = drawing.subplots(2, 1, height_ratios=(3.6, 0.2 * (len(lines) + len(counts) + 4)))
    drawing.suptitle(
        "\n".join(wrap(result.verdict, 130)),
        x=0.01, ha="left", fontsize=9, color=theme(dark).ink, parse_math=False,
    )  # fmt: skip
    _draw_lines(above, result, dark)
    _draw_numbers(below, result, dark)
    for axes in (above, below):
        axes.set_xlim(-0.5, max(result.steps, 4) - 0.5)
    return drawing


def numbers(result: LogitsOrScores) -> tuple[tuple[str, np.ndarray, np.ndarray | None, float], ...]:
    """What is said of the chosen token at each step, and what it should equal, within how much."""
    z, s = result.logits, result.scores
    return (
        ("outputs.logits (z)", z, None, EQUAL),
        ("plain forward pass: z?", result.plain, z, EQUAL),
        ("outputs.scores (s): z?", s, z, EQUAL),
        ("transition score: s?", result.transition_scores, s, EQUAL),
        ("normalized: log softmax(s)?", result.normalized, result.log_softmax, NEARLY_EQUAL),
    )


def differing(result: LogitsOrScores) -> tuple[tuple[str, np.ndarray], ...]:
    """How many of the scores are not the logits at each step, and how many -inf, by whom."""
    by = tuple((f"−inf by {name}", counts) for name, counts in result.removed_by.items())
    return (
        (f"of {result.vocab_size:,} scores not z", result.changed),
        *(by or (("−inf", result.removed),)),
    )


def _draw_lines(axes: Axes, result: LogitsOrScores, dark: bool) -> None:
    colours = theme(dark)
    finite = np.concatenate([result.listed_logits.ravel(), result.listed_scores.ravel()])
    finite = finite[np.isfinite(finite)]
    low, high = float(finite.min()), float(finite.max())
    room = max(high - low, 1.0)
    floor = low - 0.16 * room
    for step, (ids, logits, scores) in enumerate(
        zip(result.ids, result.listed_logits, result.listed_scores, strict=True)
    ):
        left, right = step - 0.22, step + 0.22
        half = COLUMN / 2
        axes.axvspan(step - half, step + half, color=colours.faint, alpha=0.25, linewidth=0)
        for place in reversed(range(len(ids))):
            chosen, kept = place == 0, isfinite(scores[place])
            ends = (logits[place], scores[place] if kept else floor)
            look: dict[str, Any] = {
                "color": colours.accent if chosen else colours.ink,
                "alpha": 1.0 if chosen else 0.45,
                "markersize": 5,
            }
            axes.plot(
                (left, right), ends, "o-" if kept else "o:", linewidth=1.8 if chosen else 0.8,
                markevery=[0, 1] if kept else [0], **look,
            )  # fmt: skip
            if not kept:
                axes.plot(right, floor, "x", **look)
    axes.axhline(low - 0.08 * room, color=colours.faint, linewidth=0.8)
    axes.set_ylim(floor - 0.06 * room, high + 0.06 * room)
    names = [f"{step}\n{label(row[0])}" for step, row in enumerate(result.shown)]
    slanted = result.steps > MANY
    axes.set_xticks(
        range(result.steps), names, parse_math=False, rotation=30 if slanted else 0,
        ha="right" if slanted else "center",
    )  # fmt: skip
    ticks = [tick for tick in axes.get_yticks() if low - 0.05 * room <= tick <= high + 0.06 * room]
    axes.set_yticks([floor, *ticks], ["−inf", *(f"{tick:g}" for tick in ticks)])
    axes.set_ylabel("left: outputs.logits · right: outputs.scores")
    style(axes, dark)
    axes.set_title(LEGEND, fontsize=8, color=colours.ink)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_numbers(axes: Axes, result: LogitsOrScores, dark: bool) -> None:
    """A line of cells for each output, then the shapes, which are told in words."""
    colours = theme(dark)
    of_logits, of_scores = tint(colours.accent, 0.25, dark), tint(colours.ink, 0.16, dark)
    size = 7 if result.steps > MANY else 8.5
    names: list[str] = []
    for name, values, expected, within in numbers(result):
        for step, value in enumerate(values):
            sign = ""
            if expected is not None:
                sign = "= " if _equal(value, expected[step], within) else "≠ "
            _write(axes, step, len(names), f"{sign}{value:.2f}", size, dark)
            for other, colour in ((result.logits, of_logits), (result.scores, of_scores)):
                if _equal(value, other[step], within):
                    corner = (step - CELL / 2, len(names) + 0.06)
                    axes.add_patch(Rectangle(corner, CELL, 0.88, facecolor=colour))
                    break
        names.append(name)
    for name, counts in differing(result):
        for step, count in enumerate(counts):
            _write(axes, step, len(names), f"{count:,}", size, dark)
        names.append(name)
    for name, text in shapes(result):
        _write(axes, -CELL / 2, len(names), text, 8.5, dark, "left")
        names.append(name)
    axes.set_ylim(len(names), 0)
    axes.set_xticks([])
    axes.set_yticks([row + 0.5 for row in range(len(names))], names)
    axes.set_xlabel(ABOUT_NUMBERS)
    style(axes, dark)
    axes.xaxis.label.set_fontsize(8)
    axes.tick_params(length=0, labelsize=8.5)
    axes.spines[:].set_visible(False)


def _equal(value: float, other: float, within: float) -> bool:
    return bool(value == other or abs(value - other) < within)


def _write(
    axes: Axes, x: float, row: int, text: str, size: float, dark: bool, side: str = "center"
) -> None:
    axes.text(
        x, row + 0.5, text, ha=side, va="center_baseline", fontsize=size, color=theme(dark).ink
    )


def shapes(result: LogitsOrScores) -> tuple[tuple[str, str], tuple[str, str]]:
    """The shapes of the inner states, in words: of the first step, and of those after it."""
    return (
        ("hidden_states", _told(result.hidden_states, "a row for each token", "the newest token")),
        ("attentions", _told(result.attentions, "each token to each", "the newest to each")),
    )


def _told(steps: Iterable[tuple[int, Shape]], first: str, after: str) -> str:
    (count, shape), *others = steps
    told = f"step 0: {count} × {shape}, {first}"
    if not others:
        return told
    (count, shape), (_, last) = others[0], others[-1]
    until = "" if shape == last else f" to {last}"
    return f"{told} · then {count} × {shape}{until}, {after}"
