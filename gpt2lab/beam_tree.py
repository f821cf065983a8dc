"""Beams as a tree: what a beam search kept at every step, what became of it, and what won.

Every beam goes back to one beam of the step before, its parent, and may have several children, or
none: then it is a dead end, and everything that led to it alone is given up with it. Read from left
to right the tree shows how late a search makes up its mind: often all beams of a step share a
parent a few steps back, and differ in their last words only.

A beam that reaches the end of its text (by `<|endoftext|>`, a stop string, or the length) stops
running and waits with its final score, while the others run on for as long as they could do better.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from gpt2lab.decoding import Decoding
from gpt2lab.figures import label, new_figure, style, theme, tint
from gpt2lab.inspection import Table
from gpt2lab.models import Gpt2
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import generated

STEPS_SHOWN = 20
"""Steps in a figure, if nothing else is said."""
MOST_SHOWN = 40
LONGEST_TOKEN = 8
"""Characters of a token that fit into a column."""
COLUMN, ROW = 0.74, 0.5
"""Inches."""
HALF = 0.34
"""Of a column: from the middle of a token to where its lines begin to bend."""


Colour = str | tuple[float, float, float]


@dataclass(frozen=True)
class Beam:
    """One continuation that the search held after a step: its last token, and where it comes from.

    id, shown: the token, and how a person reads it.
    parent: place of the beam that it extends among those of the step before; None at step 0.
    row: its number among the beams that run on, as `beam_indices` counts; None if it ended.
    logprob: log-probability of the token after the logits processors, in nats.
    score: the sum of the log-probabilities of all its tokens.
    ended: None, or why it is finished: "eos", "stop" or "length".
    final_score: of a finished one: score / number of tokens ** length_penalty.
    survived: whether a beam of the next step extends it.
    winner: whether it is on the way to the best hypothesis.
    """

    id: int
    shown: str
    parent: int | None
    row: int | None
    logprob: float
    score: float
    ended: str | None
    final_score: float | None
    survived: bool = False
    winner: bool = False


@dataclass(frozen=True)
class Hypothesis:
    """A finished text that the search returned.

    ids: its tokens, behind the prompt.
    path: for each of them, the place of the beam in its step.
    beam_indices: for each of them, the row of the beam that it extended, as transformers gives it.
    score: transformers' `sequences_scores`: total / number of tokens ** length_penalty.
    total: the sum of its tokens' log-probabilities after the processors.
    finish_reason: "eos", "stop" or "length".
    """

    ids: tuple[int, ...]
    path: tuple[int, ...]
    beam_indices: tuple[int, ...]
    score: float
    total: float
    finish_reason: str


@dataclass(frozen=True, eq=False)
class BeamTree:
    """A whole beam search.

    model, prompt, decoding: the name of the model, what it continued, and how.
    length_penalty: the exponent that makes a final score out of a sum.
    steps: for each step the beams that it left, those that run on and those that have just ended,
        highest score first.
    hypotheses: the `num_return_sequences` best finished texts, the winner first.
    """

    model: str
    prompt: tuple[int, ...]
    decoding: Decoding
    length_penalty: float
    steps: tuple[tuple[Beam, ...], ...]
    hypotheses: tuple[Hypothesis, ...]

    @property
    def returned(self) -> dict[tuple[int, int], int]:
        """Step and place at which each returned hypothesis ends, and its order from 0."""
        ends = [(len(one.path) - 1, one.path[-1]) for one in self.hypotheses]
        return {end: order for order, end in enumerate(ends)}

    def way(self, step: int, place: int) -> tuple[Beam, ...]:
        """The beams from step 0 to this one: their tokens are its text."""
        beams: list[Beam] = []
        at: int | None = place
        for earlier in reversed(self.steps[: step + 1]):
            if at is None:
                break
            beams.append(earlier[at])
            at = earlier[at].parent
        return tuple(reversed(beams))


def figure(tree: BeamTree, dark: bool = False, first: int = 0, last: int | None = None) -> Figure:
    """The steps from `first` to `last` (inclusive; 20 of them by default), a column each.

    The lines are the beams that run on, as `beam_indices` counts them; below them stand those that
    ended. The winner's way has the accent colour, and what nothing descends from is pale.
    """
    end = len(tree.steps) - 1
    first = int(checked_number("first", first, 0, end))
    last = min(first + STEPS_SHOWN - 1, end) if last is None else last
    last = int(checked_number("last", last, first, min(first + MOST_SHOWN - 1, end)))
    lines = [_lines(beams, tree.decoding.num_beams) for beams in tree.steps]
    lowest = max(
        tree.decoding.num_beams - 1, *(max(lines[step]) for step in range(first, last + 1))
    )
    width = COLUMN * (last - first + (2 if first else 3)) + 0.3
    drawing = new_figure(max(width, 6), ROW * (lowest + 1) + 1.2, dark)
    axes = drawing.subplots()
    for step in range(first, min(last + 1, end) + 1):
        for beam, line in zip(tree.steps[step], lines[step], strict=True):
            before = 0 if beam.parent is None else lines[step - 1][beam.parent]
            axes.add_patch(_edge((step - 1, before), (step, line), beam, dark))
    for step in range(first, last + 1):
        for place, (beam, line) in enumerate(zip(tree.steps[step], lines[step], strict=True)):
            order = tree.returned.get((step, place))
            _draw_beam(axes, step, line, beam, order, dark)
    if first == 0:
        _write(axes, -1, 0, "prompt", 8, theme(dark).ink, dark)
    _frame(axes, tree, first, last, lowest, dark)
    return drawing


def _lines(beams: Sequence[Beam], num_beams: int) -> list[int]:
    """The line on which each beam of a step is drawn: its row, or one below if it ended.

    Where the search ends and nothing runs on, those that ended have the upper lines.
    """
    ended = iter(range(num_beams if any(beam.row is not None for beam in beams) else 0, 1000))
    return [next(ended) if beam.row is None else beam.row for beam in beams]


def _strength(beam: Beam) -> float:
    return 1.0 if beam.survived or beam.ended else 0.45


def _edge(
    start: tuple[float, float], stop: tuple[float, float], beam: Beam, dark: bool
) -> PathPatch:
    """A curve that leaves and arrives level, behind the tokens' boxes."""
    (left, above), (right, below) = start, stop
    middle = (left + right) / 2
    bend = [(middle, above), (middle, below), (right - HALF, below)]
    curve = Path(
        [start, (left + HALF, above), *bend, stop],
        [Path.MOVETO, Path.LINETO, *[Path.CURVE4] * 3, Path.LINETO],
    )
    colours = theme(dark)
    colour = colours.accent if beam.winner else tint(colours.ink, 0.6 * _strength(beam), dark)
    width = 2.4 if beam.winner else 1.0
    return PathPatch(curve, fill=False, edgecolor=colour, linewidth=width, zorder=1 + beam.winner)


def _draw_beam(axes: Axes, step: int, line: int, beam: Beam, order: int | None, dark: bool) -> None:
    """The token in a box, and under it the score; of one that ended the final score and why."""
    colours = theme(dark)
    strength = _strength(beam)
    ink = tint(colours.ink, max(strength, 0.65), dark)
    shown = label(beam.shown)
    if len(shown) > LONGEST_TOKEN:
        shown = shown[: LONGEST_TOKEN - 1] + "…"
    box = {
        "boxstyle": "square,pad=0.22" if beam.ended else "round,pad=0.22",
        "facecolor": tint(colours.accent, 0.22, dark) if beam.winner else colours.paper,
        "edgecolor": colours.accent if beam.winner else tint(colours.ink, 0.4 * strength, dark),
        "linewidth": 1.6 if beam.ended else 0.8,
    }
    axes.text(
        step,
        line,
        shown,
        color=ink,
        fontsize=8,
        fontweight="bold" if beam.winner else "normal",
        ha="center",
        va="center",
        bbox=box,
        parse_math=False,
        zorder=4,
    )
    note = f"{beam.score:.2f}"
    if beam.final_score is not None:
        note = f"{beam.ended} {beam.final_score:.3f}"
        if order is not None:
            note = f"{order + 1}. {note}"
    _write(axes, step, line + 0.4, note, 6.5, ink, dark)


def _write(axes: Axes, x: float, y: float, text: str, size: float, ink: Colour, dark: bool) -> None:
    """Small text that no line runs through."""
    paper = {"boxstyle": "square,pad=0.1", "facecolor": theme(dark).paper, "linewidth": 0}
    axes.text(x, y, text, color=ink, fontsize=size, ha="center", va="center", bbox=paper, zorder=3)


def _frame(axes: Axes, tree: BeamTree, first: int, last: int, lowest: int, dark: bool) -> None:
    """Axes, and a title that says what is shown of how much, and how the winner got its score."""
    running = tree.decoding.num_beams
    axes.set_xlim(first - (1.5 if first == 0 else 0.75), last + 0.75)
    axes.set_ylim(lowest + 0.65, -0.4)
    axes.set_xticks(range(first, last + 1))
    axes.set_xlabel("step")
    lines = [f"beam {row}" for row in range(running)]
    axes.set_yticks(range(lowest + 1), [*lines, *["ended"] * (lowest + 1 - running)])
    if lowest >= running:
        axes.axhline(running - 0.4, color=theme(dark).faint, linewidth=0.8)
    best = tree.hypotheses[0]
    count = len(tree.steps)
    whole = last - first + 1 == count
    shown = f"all {count} steps" if whole else f"steps {first} to {last} of {count}"
    axes.set_title(
        f"{running} beams, {shown}; under each token the sum of the log-probabilities\n"
        f"the winner's score: {best.total:.2f} / {len(best.ids)} tokens"
        f"{_exponent(tree.length_penalty)} = {best.score:.4f}",
        loc="left",
        fontsize=10,
        color=theme(dark).ink,
    )
    style(axes, dark)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _exponent(length_penalty: float) -> str:
    return "" if length_penalty == 1 else f" ** {length_penalty:g}"


def table(tree: BeamTree) -> Table:
    """All beams of all steps; `place` is the order by score, which `parent` refers to."""
    returned = tree.returned
    rows: list[tuple[str | float | int | bool, ...]] = []
    for step, beams in enumerate(tree.steps):
        for place, beam in enumerate(beams):
            order = returned.get((step, place))
            rows.append(
                (
                    step,
                    place,
                    "" if beam.row is None else beam.row,
                    beam.shown,
                    beam.id,
                    "" if beam.parent is None else beam.parent,
                    beam.logprob,
                    beam.score,
                    beam.survived,
                    beam.winner,
                    beam.ended or "",
                    "" if beam.final_score is None else beam.final_score,
                    "" if order is None else order + 1,
                )
            )
    headers = (
        "step",
        "place",
        "beam",
        "token",
        "id",
        "parent's place",
        "log-probability",
        "score",
        "survived",
        "winner's way",
        "ended",
        "final score",
        "returned as",
    )
    return Table(headers, tuple(rows))


def snippet(gpt2: Gpt2, ids: Sequence[int], decoding: Decoding) -> str:
    """Code that binds `output` and `scores`, (num_return_sequences, n): a score for each token."""
    options = ("return_dict_in_generate=True", "output_scores=True")
    return f"""{generated(gpt2, ids, decoding, "output", options)}
scores = model.compute_transition_scores(output.sequences, output.scores, output.beam_indices)
columns = (output.sequences_scores, output.sequences, output.beam_indices, scores)
for score, sequence, beams, logprobs in zip(*columns):
    print(f"{{score:.4f}}", repr(tokenizer.decode(sequence[ids.shape[1]:])))
    tokens = tokenizer.convert_ids_to_tokens(sequence[ids.shape[1]:])
    for token, beam, logprob in zip(tokens, beams, logprobs):
        if beam >= 0:  # -1 fills up what has ended
            print("   from beam", int(beam), token, f"{{logprob:.4f}}")
"""
