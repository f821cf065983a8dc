r"""Which tokens of the text made the model say this?

The embeddings $x_i$ of the tokens go in, a number $f(x)$ comes out: the logit of a token, or its
log-probability. The *gradient* $\nabla_{x_i} f$ says how $f$ changes when $x_i$ is nudged. Times
the input it estimates what the token adds, compared with a *baseline* $b$ that stands for "no
token": all zeros, or the embedding of the end-of-text token at every position.

$$\text{gradient} \times \text{input:} \quad (x_i - b_i) \cdot \nabla_{x_i} f(x).$$

That takes the slope at the end of the way for the slope of the whole way. But the model is not
linear, and softmax is flat where it is sure of itself. *Integrated gradients* average the slope
over the straight way from the baseline to the text:

$$a_i = (x_i - b_i) \cdot \int_0^1 \nabla_{x_i} f\big(b + t\,(x - b)\big)\, dt, \qquad
\sum_i a_i = f(x) - f(b).$$

This *completeness* follows from the fundamental theorem of calculus, so the sum tells how good the
computation is. Here the gap has to be below 1 % of $f(x) - f(b)$, or else it says so. Gradient ×
input has no such property: its gap says how far from linear the model is on the way.

Only the rows of `wte` vary. The position embeddings are added as always, so the baseline still
knows how long the text is and where each token stands. Another baseline asks another question and
gives other answers; and on the way to it lie vectors that are no token's embedding at all.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpt2lab.examples import Example, prompts
from gpt2lab.gradients import (
    BASELINES,
    END_OF_TEXT,
    FIRST_STEPS,
    INTEGRATED,
    LOG_PROBABILITY,
    LOGIT,
    NOISE,
    OUTPUTS,
    TIMES_INPUT,
    TOLERANCE,
    ZERO,
    Output,
    attempts,
    baseline_of,
    embeddings_of,
    gradient_times_input,
    integrated_gradients,
    is_complete,
    step_work,
)
from gpt2lab.gradients_figure import figure, written
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.inspections.tokens import TokenPieces, id_pieces
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace
from gpt2lab.work import largest, most_tokens, unasked

TEXTS_OWN = -1
"""Instead of an id: the token that follows in the text, at its end the most probable one."""
LARGEST_ID = 50256
MOST_STEPS = 512
"""Points on the way, in all attempts together."""
QUICK_STEPS = 3 * FIRST_STEPS
"""Two attempts: nearly always enough."""
IF_QUICK = "integrated gradients if quick"
METHODS = (IF_QUICK, INTEGRATED, TIMES_INPUT)


@dataclass(frozen=True, eq=False)
class Gradients:
    """What each token of a text adds to one number that the model computes behind it.

    pieces: the n tokens, from the first to the one at `position`.
    position: whose next token is explained, counted from the start of the text.
    id, token: the token that is explained, and its vocabulary string.
    output: "logit" or "log-probability": what is explained about it.
    method: "integrated gradients" or "gradient × input".
    baseline: "zero" or "end-of-text token".
    value, baseline_value: the output for the text and for the baseline.
    attributions: (n,), float64, in units of the output.
    steps: gradients that were averaged.
    """

    pieces: TokenPieces
    position: int
    id: int
    token: str
    output: str
    method: str
    baseline: str
    value: float
    baseline_value: float
    attributions: np.ndarray
    steps: int

    @property
    def difference(self) -> float:
        """What the output gained on the way from the baseline to the text."""
        return self.value - self.baseline_value

    @property
    def total(self) -> float:
        """Sum of the attributions."""
        return float(self.attributions.sum())

    @property
    def gap(self) -> float:
        """By how much the sum misses the difference, in units of the output."""
        return self.total - self.difference

    @property
    def complete(self) -> bool:
        """Whether that is less than 1 % of the difference."""
        return is_complete(self.total, self.difference)

    @property
    def facts(self) -> str:
        """What the attributions sum to, what they should, and how far that is apart."""
        gap = f"{abs(self.gap / self.difference):.2%}" if self.difference else "0 %"
        verdict = f"{gap} apart"
        if self.method == INTEGRATED:
            verdict += ", complete" if self.complete else ", NOT complete: read with care"
        less = written(self.baseline_value)
        less = f"({less})" if self.baseline_value < 0 else less
        return (
            f"sum {written(self.total)}; text − baseline = {written(self.value)} − {less} = "
            f"{written(self.difference)}: {verdict}"
        )


def gradients(
    trace: Trace,
    position: int = -1,
    token: int = TEXTS_OWN,
    output: str = LOGIT,
    method: str = IF_QUICK,
    baseline: str = ZERO,
) -> Gradients:
    """What each token up to `position` adds to the output for `token`, an id, behind it.

    By default it is the token that follows in the text, at the end of it the most probable one.
    """
    gpt2 = trace.gpt2
    asked = _asked(trace, position, token, output, method, baseline)
    number = Output(gpt2, asked.id, output)
    text = embeddings_of(gpt2, asked.ids)
    nothing = baseline_of(gpt2, baseline, text)
    baseline_value = number.value(nothing)
    if asked.steps:
        value = number.value(text)
        gained = value - baseline_value
        attributions, steps = integrated_gradients(number, text, nothing, gained, asked.steps)
    else:
        value, gradient = number.value_and_gradient(text)
        attributions, steps = gradient_times_input(gradient, text, nothing), 1
    return Gradients(
        pieces=id_pieces(gpt2, asked.ids),
        position=len(asked.ids) - 1,
        id=asked.id,
        token=describe(gpt2, [asked.id]).tokens[0],
        output=output,
        method=INTEGRATED if asked.steps else TIMES_INPUT,
        baseline=baseline,
        value=value,
        baseline_value=baseline_value,
        attributions=attributions.numpy(),
        steps=steps,
    )


class _Asked(NamedTuple):
    """What is asked for: of these ids, the last one's next token `id`.

    steps: how many points integrated gradients may take; 0: the method is gradient × input.
    """

    ids: list[int]
    id: int
    steps: int


def _asked(
    trace: Trace, position: int, token: int, output: str, method: str, baseline: str
) -> _Asked:
    """The same, checked and with the defaults filled in."""
    gpt2 = trace.gpt2
    position = trace.position(position)
    id = int(checked_number("token", token, TEXTS_OWN, gpt2.vocab_size - 1))
    for name, value, choices in (
        ("output", output, OUTPUTS),
        ("method", method, METHODS),
        ("baseline", baseline, BASELINES),
    ):
        if not isinstance(value, str) or value not in choices:
            raise Refusal(f"{name} is {quoted(value)}, but must be one of {', '.join(choices)}.")
    if baseline == END_OF_TEXT and gpt2.tokenizer.eos_token_id is None:
        raise Refusal(f"{gpt2.name} has no end-of-text token; please choose baseline '{ZERO}'.")
    if id == TEXTS_OWN:
        at_end = position + 1 == len(trace)
        id = int(trace.logits(position).argmax() if at_end else trace.ids[position + 1])
    ids = trace.ids[: position + 1].tolist()
    return _Asked(ids, id, _most_steps(gpt2, method, len(ids)))


def _most_steps(gpt2: Gpt2, method: str, length: int) -> int:
    """How many points integrated gradients may take; 0: the method is gradient × input."""
    one = step_work(gpt2, length)
    if method == IF_QUICK:
        method = INTEGRATED if QUICK_STEPS * one <= unasked(gpt2) else TIMES_INPUT
    if method == TIMES_INPUT:
        return 0
    steps = int(min(MOST_STEPS, largest(gpt2) / one))
    if steps < FIRST_STEPS:
        most = most_tokens(gpt2, 2 * gpt2.n_layer * FIRST_STEPS, largest(gpt2))
        raise Refusal(
            f"Integrated gradients of {length:,} tokens would take minutes with {gpt2.name}; "
            f"please choose '{TIMES_INPUT}', or a position before {most:,}."
        )
    return steps


def table(result: Gradients) -> Table:
    """One row per token, with its share of the difference; then the sum and what it should be."""
    # A text that is its own baseline gains nothing, and its attributions are zero as well.
    share = result.difference or 1.0
    rows: list[tuple[str | float | int, ...]] = [
        (position, shown, id, float(value), float(value) / share)
        for position, (shown, id, value) in enumerate(
            zip(result.pieces.shown, result.pieces.ids, result.attributions, strict=True)
        )
    ]
    rows.append(("", "sum of all", "", result.total, result.total / share))
    rows.append(("", f"{result.output}: text − baseline", "", result.difference, 1.0))
    return Table(("position", "token", "id", "attribution", "share"), tuple(rows))


def answer(result: Gradients) -> dict[str, Any]:
    """JSON of the endpoint: one attribution per token, and what the completeness check says."""
    return {
        "position": result.position,
        "token": result.token,
        "id": result.id,
        "output": result.output,
        "method": result.method,
        "baseline": result.baseline,
        "tokens": list(result.pieces.tokens),
        "attributions": result.attributions.tolist(),
        "value": result.value,
        "baseline_value": result.baseline_value,
        "sum": result.total,
        "gap": result.gap,
        "complete": result.complete,
        "steps": result.steps,
    }


def snippet(
    trace: Trace,
    position: int = -1,
    token: int = TEXTS_OWN,
    output: str = LOGIT,
    method: str = IF_QUICK,
    baseline: str = ZERO,
) -> str:
    """Code that binds `attributions` and `difference`, in the same attempts as here."""
    asked = _asked(trace, position, token, output, method, baseline)
    gpt2, id = trace.gpt2, asked.id
    nothing = "torch.zeros_like(x)"
    if baseline == END_OF_TEXT:
        nothing = "model.transformer.wte.weight[tokenizer.eos_token_id].detach().expand_as(x)"
    of = ".log_softmax(-1)" if output == LOG_PROBABILITY else ""
    start = f"""{preamble(gpt2, asked.ids)}
from numpy.polynomial.legendre import leggauss
x = model.transformer.wte(ids)[0].detach()  # the positions' embeddings stay as they are
baseline = {nothing}
def f(x): return model(inputs_embeds=x[None]).logits[0, -1].float(){of}[{id}]
difference = (f(x) - f(baseline)).item()
def slope(t):
    way = (baseline + t * (x - baseline)).requires_grad_()
    return torch.autograd.grad(f(way), way)[0].double()
"""
    path = """attributions = ((x - baseline).double() * slope(1.0)).sum(-1)
"""
    if asked.steps:
        path = f"""for steps in {attempts(asked.steps)}:  # points, until the sum is right
    mean = sum(w / 2 * slope((t + 1) / 2) for t, w in zip(*(a.tolist() for a in leggauss(steps))))
    attributions = ((x - baseline).double() * mean).sum(-1)
    if abs(attributions.sum() - difference) <= max({TOLERANCE} * abs(difference), {NOISE}): break
"""
    else:
        start = start.replace("from numpy.polynomial.legendre import leggauss\n", "")
    shown = "*zip(tokenizer.convert_ids_to_tokens(ids[0]), attributions.tolist())"
    sums = "('sum', attributions.sum().item(), 'f(x) - f(baseline)', difference)"
    return f"{start}{path}print({shown}, {sums}, sep='\\n')\n"


def examples(gpt2: Gpt2) -> tuple[Example, ...]:
    """Texts in which some tokens decide."""
    return tuple(Example(one.shows, one.text, {}) for one in prompts(gpt2))


INSPECTION = Inspection(
    name="gradients",
    title="Which input mattered?",
    group="Inside",
    idea=__doc__ or "",
    compute=gradients,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("attributions", "difference"),
    controls=(
        Control("position", "position", "whose next token; -1 is the end of the text", -1),
        Control(
            "token",
            "number",
            "id of the token to explain; -1: the one that follows, else the most probable",
            TEXTS_OWN,
            low=TEXTS_OWN,
            high=LARGEST_ID,
        ),
        Control("output", "choice", "which number about the token", LOGIT, choices=OUTPUTS),
        Control("method", "choice", "slope at the end, or all the way", IF_QUICK, choices=METHODS),
        Control("baseline", "choice", "what stands for no token", ZERO, choices=BASELINES),
    ),
    examples=examples,
)
