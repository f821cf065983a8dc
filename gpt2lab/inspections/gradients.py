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

Each point on the way costs a pass through the model and one back. So for a long text *automatic*
means gradient × input, without the baseline's value, which would cost one more pass. Integrated
gradients of a long text begin with 4 points instead of 16, and the sum shows whether they suffice.

Only the rows of `wte` vary. The position embeddings are added as always, so the baseline still
knows how long the text is and where each token stands. Another baseline asks another question and
gives other answers; and on the way to it lie vectors that are no token's embedding at all.
"""

from typing import Any, NamedTuple

from gpt2lab.backward import slope
from gpt2lab.examples import Example, revealing
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
    first_steps,
    gradient_times_input,
    integrated_gradients,
    step_work,
)
from gpt2lab.gradients_figure import figure
from gpt2lab.input_attribution import Gradients
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.inspections.tokens import id_pieces
from gpt2lab.models import Gpt2
from gpt2lab.one_token import TEXTS_OWN, token_behind, token_control
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace
from gpt2lab.work import block_work, largest, most_tokens, unasked

MOST_STEPS = 512
"""Points on the way, in all attempts together."""
QUICK_STEPS = 3 * FIRST_STEPS
"""Two attempts: nearly always enough."""
MORE = 2
"""Times as much work as elsewhere may be done: long products, which a processor does fastest."""
IF_QUICK = "automatic"
METHODS = (IF_QUICK, INTEGRATED, TIMES_INPUT)
FORMER = {"integrated gradients if quick": IF_QUICK}
"""Names that a method once had; requests and links may still use them."""


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
    baseline_value = None
    if asked.steps or gpt2.n_layer * block_work(gpt2, len(text)) <= MORE * unasked(gpt2):
        baseline_value = number.value(nothing)
    if asked.steps and baseline_value is not None:
        value = number.value(text)
        gained = value - baseline_value
        attributions, steps = integrated_gradients(number, text, nothing, gained, *asked[2:])
    else:
        value = number.of(trace.logits(position))
        behind = slope(trace.prefix(len(text)), asked.id, output == LOG_PROBABILITY)
        attributions, steps = gradient_times_input(behind, text, nothing), 1
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
    first: points of the first attempt.
    """

    ids: list[int]
    id: int
    steps: int
    first: int


def _asked(
    trace: Trace, position: int, token: int, output: str, method: str, baseline: str
) -> _Asked:
    """The same, checked and with the defaults filled in."""
    gpt2 = trace.gpt2
    position = trace.position(position)
    id = token_behind(trace, position, token)
    method = FORMER.get(method, method) if isinstance(method, str) else method
    for name, value, choices in (
        ("output", output, OUTPUTS),
        ("method", method, METHODS),
        ("baseline", baseline, BASELINES),
    ):
        if not isinstance(value, str) or value not in choices:
            raise Refusal(f"{name} is {quoted(value)}, but must be one of {', '.join(choices)}.")
    if baseline == END_OF_TEXT and gpt2.tokenizer.eos_token_id is None:
        raise Refusal(f"{gpt2.name} has no end-of-text token; please choose baseline '{ZERO}'.")
    ids = trace.ids[: position + 1].tolist()
    first = first_steps(gpt2, len(ids))
    return _Asked(ids, id, _most_steps(gpt2, method, len(ids), first), first)


def _most_steps(gpt2: Gpt2, method: str, length: int, first: int) -> int:
    """How many points integrated gradients may take; 0: the method is gradient × input."""
    one = step_work(gpt2, length)
    if method == IF_QUICK:
        method = INTEGRATED if QUICK_STEPS * one <= unasked(gpt2) else TIMES_INPUT
    if method == TIMES_INPUT:
        return 0
    steps = int(min(MOST_STEPS, MORE * largest(gpt2) / one))
    if steps < first:
        most = most_tokens(gpt2, 2 * gpt2.n_layer * first, MORE * largest(gpt2))
        raise Refusal(
            f"Integrated gradients of {length:,} tokens would take minutes with {gpt2.name}; "
            f"please choose '{TIMES_INPUT}', or a position before {most:,}."
        )
    return steps


def table(result: Gradients) -> Table:
    """One row per token, with its share of the difference; then the sum and what it should be."""
    # A text that is its own baseline gains nothing, and its attributions are zero as well.
    share = 1.0 if result.difference == 0 else result.difference
    rows: list[tuple[str | float | int, ...]] = [
        (position, shown, id, float(value), _share(float(value), share))
        for position, (shown, id, value) in enumerate(
            zip(result.pieces.shown, result.pieces.ids, result.attributions, strict=True)
        )
    ]
    rows.append(("", "sum of all", "", result.total, _share(result.total, share)))
    if result.difference is not None:
        rows.append(("", f"{result.output}: text − baseline", "", result.difference, 1.0))
    return Table(("position", "token", "id", "attribution", "share"), tuple(rows))


def _share(value: float, whole: float | None) -> float | str:
    return "" if whole is None else value / whole


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
        "formula": result.formula,
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
        tries = attempts(asked.steps, asked.first)
        path = f"""for steps in {tries}:  # points, until the sum is right
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
    return revealing(gpt2)


INSPECTION = Inspection(
    name="gradients",
    title="Which input mattered?",
    group="Causes",
    idea=__doc__ or "",
    compute=gradients,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("attributions", "difference"),
    controls=(
        Control("position", "position", "whose next token; -1 is the end of the text", -1),
        token_control("to explain"),
        Control("output", "choice", "which number about the token", LOGIT, choices=OUTPUTS),
        Control(
            "method",
            "choice",
            "slope all the way, or at its end; automatic: all the way if that is quick",
            IF_QUICK,
            choices=METHODS,
        ),
        Control("baseline", "choice", "what stands for no token", ZERO, choices=BASELINES),
    ),
    examples=examples,
)
