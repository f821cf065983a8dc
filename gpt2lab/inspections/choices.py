r"""Which of several endings would the model choose?

A text can go on in many ways, and a model finds some of them likelier than others. That is how
much of what is said about language models has been measured: give a question and some answers, or
two sentences of which one is wrong, and look which one the model prefers. Nothing is written; every
ending $e$ is scored behind the same context $c$, token by token:

$$\log p(e \mid c) = \sum_i \log p(e_i \mid c,\, e_1 \dots e_{i-1}).$$

The bars answer the question: if it had to be one of these $k$ endings, how probable would each be?
That is the softmax of the sums,

$$P(e_j) = \frac{p(e_j \mid c)}{\sum_{m=1}^{k} p(e_m \mid c)} .$$

A sum of logarithms only falls, so a longer ending is less probable for its length alone. Tests with
answers of very different lengths therefore also compare the *mean* per token, and the two may
disagree: the dot marks the ending that is best by the mean. Neither says that an ending is true. An
ending is preferred because such texts were common, or because its words are.

Context and endings are cut into tokens each for itself, and their ids put together, so that all
endings stand behind the very same tokens. This is why an ending begins with a blank: ` is` is what
follows a word in GPT-2's vocabulary. If the tokenizer would cut the text and the ending, written
together, into other tokens, the ending is marked: the model has hardly ever read it in this way, so
its number is too low.

The context is read once; each ending is read behind its keys and values. An ending's first token
needs no reading at all, because what stands at the end of the context already predicts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpt2lab.chips import (
    FOOT,
    GAP,
    HEAD,
    LEFT,
    RIGHT,
    ROW,
    ROW_WITH_NAMES,
    SMALL_SIZE,
    WIDTH,
    Chip,
    Head,
    draw_chip,
    draw_scale,
    heading,
    wrapped,
    write,
)
from gpt2lab.choices import MOST_ENDINGS, Ending, checked_endings, scored
from gpt2lab.examples import Example
from gpt2lab.figures import COLORMAP, label, new_figure, theme
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.inspections.tokens import TokenPieces, chip, id_pieces
from gpt2lab.models import Gpt2
from gpt2lab.scales import LOGPROB
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace, trace_text

ENDINGS = " the end.\n a dog.\n 42."
MOST_CHIPS = 48
"""Tokens of a long ending that are drawn; the table has all."""
LAST_SHOWN = 4
"""Tokens of the context that the heading names."""
BAR, LINE, FACTS = 0.2, 0.42, 3.5
"""Inches: height of a bar, of its line, and what is kept free at its right for numbers."""


@dataclass(frozen=True, eq=False)
class Choices:
    """Endings of one context; the arrays have one entry per ending, in the order given.

    context: (n,) token ids of the text before; shown: the last few as a person reads them.
    endings: each with its tokens and their log-probabilities.
    pieces: their tokens, as a person reads them.
    """

    context: tuple[int, ...]
    shown: tuple[str, ...]
    endings: tuple[Ending, ...]
    pieces: tuple[TokenPieces, ...]

    @property
    def logprobs(self) -> np.ndarray:
        """Log-probability of each whole ending, float64, in nats."""
        return np.array([one.logprob for one in self.endings])

    @property
    def mean_logprobs(self) -> np.ndarray:
        """Log-probability per token of each ending, float64, in nats."""
        return np.array([one.mean_logprob for one in self.endings])

    @property
    def token_logprobs(self) -> np.ndarray:
        """Log-probabilities of all endings' tokens, one ending behind the other."""
        return np.concatenate([one.logprobs for one in self.endings])

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax over the endings' log-probabilities; sums to 1."""
        return torch.from_numpy(self.logprobs).softmax(0).numpy()


def choices(trace: Trace, endings: str | Sequence[str] = ENDINGS) -> Choices:
    """Score up to eight endings of the traced text: a list, or a text with one in each line."""
    found = scored(trace, endings)
    ids = trace.ids.tolist()
    return Choices(
        context=tuple(ids),
        shown=describe(trace.gpt2, ids[-LAST_SHOWN:]).shown,
        endings=found,
        pieces=tuple(id_pieces(trace.gpt2, list(one.ids)) for one in found),
    )


def context_choices(gpt2: Gpt2, context: str, endings: str | Sequence[str] = ENDINGS) -> Choices:
    """The same for a context that is a text; an empty one is the beginning-of-text token."""
    return choices(trace_text(gpt2, context), endings)


def figure(result: Choices, dark: bool = False) -> Figure:
    """A bar for each ending, and below it its tokens, coloured by their log-probabilities."""
    rows = [wrapped(_chips(result, number)) for number in range(len(result.endings))]
    heights = [sum(map(_height, of_one)) + LINE for of_one in rows]
    height = HEAD + sum(heights) + FOOT
    drawing = new_figure(WIDTH, height, dark)
    drawing.set_layout_engine("none")
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    before = "… " if len(result.context) > len(result.shown) else ""
    shown = " ".join(map(label, result.shown))
    count = f"{len(result.context):,} token" + ("" if len(result.context) == 1 else "s")
    facts = f"behind {count}: {before}{shown}"
    heading(axes, Head("How probable each ending is", "", facts, None), dark)
    draw_scale(axes, LOGPROB.ticks, height, dark, COLORMAP)
    top = HEAD
    for number, (of_one, room) in enumerate(zip(rows, heights, strict=True)):
        _draw_bar(axes, result, number, top, dark)
        bottom = top + LINE
        for row in of_one:
            bottom += _height(row)
            left = LEFT
            for one in row:
                draw_chip(axes, one, left, bottom - ROW + 0.06, False, dark, COLORMAP)
                left += sum(one.widths) + GAP
        top += room
    legend = (
        "bars: softmax over these endings · below each token: its log-probability in nats · "
        "●: best by the mean per token"
    )
    write(axes, LEFT, height - FOOT / 2 - 0.02, legend, SMALL_SIZE + 0.5, dark, 0.7)
    return drawing


def _chips(result: Choices, number: int) -> list[Chip]:
    """Chips of an ending's tokens, of a long one the first."""
    pieces, values = result.pieces[number], result.endings[number].logprobs.tolist()
    below, shares = list(map(LOGPROB.text, values)), list(map(LOGPROB.share, values))
    return [
        chip(pieces, group, tuple(below[at] for at in group), tuple(shares[at] for at in group))
        for group in pieces.groups
        if group.start < MOST_CHIPS
    ]


def _height(row: Sequence[Chip]) -> float:
    return ROW_WITH_NAMES if any(one.name for one in row) else ROW


def _draw_bar(axes: Axes, result: Choices, number: int, top: float, dark: bool) -> None:
    """An ending's number, its bar, and its three values."""
    colours, ending = theme(dark), result.endings[number]
    middle, share = top + 0.26, float(result.probabilities[number])
    end = LEFT + share * (RIGHT - LEFT - FACTS)
    axes.barh(middle, end - LEFT, height=BAR, left=LEFT, color=colours.accent)
    best = "● " if number == int(result.mean_logprobs.argmax()) else ""
    write(axes, LEFT - 0.14, middle, f"{best}{number + 1}", 8, dark, 0.8, "right")
    percent = f"{share:.1%}" if share >= 0.001 else "<0.1%"
    write(axes, end + 0.08, middle, percent, 9.5, dark)
    facts = [f"log p {_minus(ending.logprob)}", f"mean {_minus(ending.mean_logprob)}"]
    if len(ending.ids) > MOST_CHIPS:
        facts.append(f"the first {MOST_CHIPS} of {len(ending.ids):,} tokens")
    if ending.joined_alike is False:
        facts.append("other tokens if joined")
    write(axes, RIGHT, middle, " · ".join(facts), 8, dark, 0.8, "right")


def _minus(value: float) -> str:
    return f"{value:,.2f}".replace("-", "−")


def table(result: Choices) -> Table:
    """A row per ending."""
    rows = tuple(
        (
            number,
            " ".join(pieces.shown),
            len(ending.ids),
            float(result.probabilities[number - 1]),
            ending.logprob,
            ending.mean_logprob,
            " ".join(f"{value:.4f}" for value in ending.logprobs),
            "" if ending.joined_alike is None else ending.joined_alike,
        )
        for number, (ending, pieces) in enumerate(
            zip(result.endings, result.pieces, strict=True), start=1
        )
    )
    headers = (
        "ending", "tokens", "count", "probability", "log-probability (nats)", "mean per token",
        "of each token", "same tokens if joined",
    )  # fmt: skip
    return Table(headers, rows)


def answer(result: Choices) -> dict[str, Any]:
    """JSON of the endpoint: an entry per ending, in the order given."""
    endings = [
        {
            "text": ending.text,
            "ids": list(ending.ids),
            "tokens": list(pieces.tokens),
            "logprobs": ending.logprobs.tolist(),
            "logprob": ending.logprob,
            "mean_logprob": ending.mean_logprob,
            "probability": probability,
            "joined_alike": ending.joined_alike,
        }
        for ending, pieces, probability in zip(
            result.endings, result.pieces, result.probabilities.tolist(), strict=True
        )
    ]
    return {"context_ids": list(result.context), "endings": endings}


def snippet(trace: Trace, endings: str | Sequence[str] = ENDINGS) -> str:
    """Code that binds `token_logprobs`, `logprobs`, `mean_logprobs` and `probabilities`."""
    texts = checked_endings(endings)
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
endings = {texts!r}
scores = []
with torch.no_grad():
    for text in endings:
        ending = tokenizer(text, return_tensors='pt').input_ids
        both = torch.cat([ids, ending], dim=1)[:, :-1]  # the last token is only predicted
        log_p = model(both).logits[0, ids.shape[1] - 1:].double().log_softmax(-1)
        scores.append(log_p.gather(-1, ending.T)[:, 0])
token_logprobs = torch.cat(scores)
logprobs = torch.stack([one.sum() for one in scores])
mean_logprobs = torch.stack([one.mean() for one in scores])
probabilities = logprobs.softmax(0)
print(*zip(endings, probabilities.tolist(), logprobs.tolist(), mean_logprobs.tolist()), sep="\\n")
"""


def examples(gpt2: Gpt2) -> tuple[Example, ...]:
    """Contexts that leave a choice in which something is to be seen."""
    return (
        Example("agreement", "The keys to the cabinet", {"endings": " are\n is"}),
        Example(
            "who gets it",
            "When Mary and John went to the store, John gave a drink to",
            {"endings": " Mary\n John\n the store"},
        ),
        Example(
            "a bracket to close",
            "def area(width, height):\n    return (width * height",
            {"endings": ")\n]\n }"},
        ),
        Example(
            "long and short answers",
            "Once upon a time, there was a little girl who lived in",
            {"endings": " a house.\n a small house in the forest, near the river.\n a xylophone."},
        ),
        Example("a broken word", "She was very un", {"endings": "happy\nfair\n happy"}),
    )


INSPECTION = Inspection(
    name="choices",
    title="Which ending?",
    group="Prediction",
    idea=__doc__ or "",
    compute=choices,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("token_logprobs", "mean_logprobs", "probabilities"),
    controls=(
        Control(
            "endings",
            "text",
            f"one in each line, at most {MOST_ENDINGS}; most begin with a blank",
            ENDINGS,
            lines=4,
            accepts=str | list[str],
        ),
    ),
    of_text=context_choices,
    examples=examples,
)
