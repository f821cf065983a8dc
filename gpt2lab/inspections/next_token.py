r"""Which token comes next, and what the decoding settings make of it.

Behind every position GPT-2 computes one number for each of the 50,257 tokens of its vocabulary, the
*logits*: the last hidden state $x$ multiplied with the rows of the output matrix $E$, which in
GPT-2 are the token embeddings. Softmax turns them into probabilities; the temperature $T$ divides
them before that:

$$p(\text{token } i) = \frac{e^{z_i / T}}{\sum_j e^{z_j / T}}, \qquad z = x \cdot E^\top .$$

The first lines of the picture are this formula with its numbers, where the index of $x$ is the
position and that of $E$ the token's id. The sum is written as a power of $e$, since with logits
below $-30$ it would be too small to be read.

Decoding does not draw from the logits directly. Each setting that is active adds one stage, a
*logits processor*, which changes the scores of the stage before it: temperature divides them, a
repetition penalty lowers some, and top_k, top_p, min_p and typical_p set the scores of all tokens
that they drop to $-\infty$, so that only the kept ones share the probability. The stages appear
here in the order in which transformers applies them. What was *kept* are the tokens with a finite
score; the *kept mass* is the probability that they had together before the stage; the *entropy*,
in bits, says how undecided the model is after the stage: 0 if only one token is left, and 15.6 if
all 50,257 were equally likely. The last bar of each panel is all tokens that are not listed, so the
bars sum to 1.

To follow one token, write it under *token*, with the blank before it if it begins a word: `" the"`
and `"the"` are two tokens. Its vocabulary string, `Ġthe`, does as well.

Beam search adds up log-probabilities, so under it the first stage turns the logits into those
(`log_softmax`), which changes no probability, and the others work on them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gpt2lab.decoding import Decoding
from gpt2lab.figures import label
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.one_token import one_token
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.snippets import preamble
from gpt2lab.softmax_formula import formula, signed
from gpt2lab.stage_panels import SCALES, Panel, small_multiples
from gpt2lab.stages import CHOSEN, Stages, behind, calls, class_names, following, scores_of
from gpt2lab.tokens import describe, readable
from gpt2lab.trace import Trace

MOST_SHOWN = 50
SEARCHED = "▸ "
"""Before the token that was searched for."""


@dataclass(frozen=True, eq=False)
class NextToken(Stages):
    """The scores of every token of the vocabulary at every stage, and which ones to list.

    show: how many of the most probable tokens the figure, the table and the answer list.
    scale: of the figure, "linear" or "log".
    temperature: what the scores are divided by; 1 where temperature is no stage.
    chosen: the token that follows in the text, always listed; None at the text's end.
    searched: the token that was searched for, always listed; None if there is none.
    tokens: vocabulary strings of the ids that are listed at any stage.
    """

    show: int
    scale: str
    temperature: float
    chosen: int | None
    searched: int | None
    tokens: dict[int, str]

    @property
    def explained(self) -> int:
        """The token in the formula: the searched one, else the chosen, else the most probable."""
        if self.searched is not None:
            return self.searched
        return self.top(-1, 1)[0] if self.chosen is None else self.chosen

    @property
    def formula(self) -> str:
        """How the token's probability comes about, with the numbers of this record."""
        id = self.explained
        return formula(self, id, label(readable(self.tokens[id])), self.temperature)


def next_token(
    trace: Trace,
    position: int = -1,
    show: int = 10,
    token: str = "",
    scale: str = "linear",
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> NextToken:
    """Scores for the token behind `position`, at every stage of `decoding`.

    `token` is one to search for: its text, or its vocabulary string. `prompt_length` says how many
    of the traced tokens were the prompt of the generation; without it, all up to `position` were.
    It matters for min_new_tokens alone.
    """
    show = int(checked_number("show", show, 1, MOST_SHOWN))
    if not isinstance(scale, str) or scale not in SCALES:
        raise Refusal(f"scale is {quoted(scale)}, but must be one of {', '.join(SCALES)}.")
    position = trace.position(position)
    searched = one_token(trace.gpt2, "token", token)
    decoding = decoding or Decoding()
    found = scores_of(trace, position, behind(trace, position, decoding, prompt_length))
    chosen = following(trace, position)
    always = {id for id in (chosen, searched) if id is not None}
    listed = sorted(always.union(*(found.top(stage, show) for stage in range(len(found.stages)))))
    return NextToken(
        position=position,
        stages=found.stages,
        scores=found.scores,
        show=show,
        scale=scale,
        temperature=decoding.temperature if "temperature" in found.stages else 1.0,
        chosen=chosen,
        searched=searched,
        tokens=dict(zip(listed, describe(trace.gpt2, listed).tokens, strict=True)),
    )


def figure(result: NextToken, dark: bool = False) -> Figure:
    """One panel of bars per stage, the same tokens in each, so that one sees them come and go."""
    ids = _shown_ids(result)
    labels = [f"{_marks(result, id)}{label(readable(result.tokens[id]))}  {id}" for id in ids]
    others = result.scores.shape[1] - len(ids)
    panels = []
    for stage, name in enumerate(result.stages):
        probabilities, finite = result.probabilities(stage), np.isfinite(result.scores[stage])
        values = [float(probabilities[id]) if finite[id] else None for id in ids]
        rest = _others(result, stage, ids) if np.delete(finite, ids).any() else None
        lines = [name, _facts(result, stage), *_followed(result, stage)]
        panels.append(Panel(tuple(lines), (*values, rest)))
    searched = None if result.searched is None else ids.index(result.searched)
    labels = [*labels, f"all other tokens ({others:,})"]
    return small_multiples(panels, labels, result.formula, result.scale, dark, searched)


def _facts(result: NextToken, stage: int) -> str:
    return (
        f"{result.kept(stage):,} kept · mass {result.kept_mass(stage):.3g} · "
        f"entropy {result.entropy_bits(stage):.2f} bits"
    )


def _followed(result: NextToken, stage: int) -> list[str]:
    """A line about the searched token at a stage, if there is one."""
    if result.searched is None:
        return []
    shown = f"{SEARCHED}{label(readable(result.tokens[result.searched]))}"
    rank = result.rank(stage, result.searched)
    score = signed(result.scores[stage][result.searched])
    return [f"{shown}: " + ("dropped" if rank is None else f"rank {rank:,} · score {score}")]


def table(result: NextToken) -> Table:
    """The most probable tokens of the last stage, then those of the logits: a row each.

    While a token is searched for, the score and the rank after every stage have columns as well.
    """
    stages = range(len(result.stages))
    probabilities = [result.probabilities(stage) for stage in stages]
    ids = _shown_ids(result)
    headers = ["token", "id", "rank", "logit", *(f"p after {name}" for name in result.stages)]
    rows: list[list[str | float | int | bool]] = [
        [
            f"{_marks(result, id)}{readable(result.tokens[id])}",
            id,
            result.rank(0, id) or "",
            float(result.scores[0][id]),
            *(float(stage[id]) for stage in probabilities),
        ]
        for id in ids
    ]
    rows.append(["all other tokens", *("",) * 3, *(_others(result, one, ids) for one in stages)])
    if result.searched is not None:
        for stage, name in enumerate(result.stages[1:], start=1):
            headers += [f"score after {name}", f"rank after {name}"]
            for row, id in zip(rows, ids, strict=False):
                rank = result.rank(stage, id)
                score = float(result.scores[stage][id])
                row += ["dropped", "dropped"] if rank is None else [score, rank]
            rows[-1] += ["", ""]
    return Table(tuple(headers), tuple(map(tuple, rows)))


def answer(result: NextToken) -> dict[str, Any]:
    """JSON of the endpoint: per stage how many tokens are kept, the entropy and the top tokens.

    `chosen` is the token that follows in the text, `searched` the one that was searched for: null
    if there is none. A dropped one has the probability 0, and neither logit nor rank. `others` are
    all tokens that the stage lists nowhere, so its probabilities sum to 1.
    """
    stages = [_stage(result, stage) for stage in range(len(result.stages))]
    return {"position": result.position, "formula": result.formula, "stages": stages}


def _stage(result: NextToken, stage: int) -> dict[str, Any]:
    top = result.top(stage, result.show)
    always = {"chosen": result.chosen, "searched": result.searched}
    listed = {*top, *(id for id in always.values() if id is not None)}
    records = _records(result, stage, listed)
    return {
        "name": result.stages[stage],
        "kept": result.kept(stage),
        "kept_mass": result.kept_mass(stage),
        "entropy_bits": result.entropy_bits(stage),
        "top": [records[id] for id in top],
        **{name: None if id is None else records[id] for name, id in always.items()},
        "others": {
            "count": result.scores.shape[1] - len(listed),
            "probability": _others(result, stage, listed),
        },
    }


def _records(result: NextToken, stage: int, ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    probabilities = result.probabilities(stage)
    ranks = {id: result.rank(stage, id) for id in ids}
    return {
        id: {
            "id": id,
            "token": result.tokens[id],
            "logit": None if rank is None else float(result.scores[stage][id]),
            "probability": float(probabilities[id]),
            "rank": rank,
        }
        for id, rank in ranks.items()
    }


def snippet(
    trace: Trace,
    position: int = -1,
    show: int = 10,
    token: str = "",
    scale: str = "linear",
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> str:
    """Code that binds `scores`, (n_stages, vocab_size), and prints the top of the last stage."""
    position = trace.position(position)
    decoding = decoding or Decoding()
    stages = behind(trace, position, decoding, prompt_length)
    made = calls(trace, position, decoding, prompt_length, stages)
    processors = "".join(f"\n    {call}," for call in made) + ("\n" if made else "")
    ids = trace.ids[: position + 1].tolist()
    searched = one_token(trace.gpt2, "token", token)
    follow = ""
    if searched is not None:
        shown = label(describe(trace.gpt2, [searched]).shown[0])
        follow = f"""for stage in scores:  # the token {shown!r}
    rank = (stage > stage[{searched}]).sum() + 1
    print(f"{{stage[{searched}]:.4f}}  {{stage.softmax(-1)[{searched}]:.4g}}  rank {{rank}}")
"""
    return f"""{preamble(trace.gpt2, ids, imports=class_names(stages))}
with torch.no_grad():
    scores = [model(ids).logits[:, -1]]
for processor in [{processors}]:
    scores.append(processor(ids, scores[-1].clone()))
scores = torch.cat(scores)  # (stages, vocabulary)
for p, i in zip(*scores[-1].softmax(-1).topk({int(show)})):
    print(f"{{p:.4f}}  {{i:5}}  {{tokenizer.decode(i)!r}}")
{follow}"""


def _shown_ids(result: NextToken) -> list[int]:
    """Top tokens of the logits and of the last stage, the one that follows, the searched one."""
    first, last = result.top(0, result.show), result.top(-1, result.show)
    always = [id for id in (result.chosen, result.searched) if id is not None]
    return [*dict.fromkeys([*first, *last, *always])]


def _others(result: NextToken, stage: int, ids: Iterable[int]) -> float:
    """Probability of all tokens but `ids` at a stage."""
    return float(np.delete(result.probabilities(stage), list(ids)).sum(dtype=np.float64))


def _marks(result: NextToken, id: int) -> str:
    return CHOSEN * (id == result.chosen) + SEARCHED * (id == result.searched)


INSPECTION = Inspection(
    name="next_token",
    title="Next token",
    group="Prediction",
    idea=__doc__ or "",
    compute=next_token,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("scores",),
    controls=(
        Control("position", "position", "whose next token; -1 is the end of the text", -1),
        Control("show", "number", "how many tokens to list", 10, low=1, high=MOST_SHOWN),
        Control("token", "text", 'one token to follow through the stages, such as " the"', ""),
        Control("scale", "choice", "of the bars", "linear", choices=SCALES),
    ),
    uses_decoding=True,
)
