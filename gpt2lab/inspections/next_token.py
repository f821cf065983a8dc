r"""Which token comes next, and what the decoding settings make of it.

Behind every position GPT-2 computes one number for each of the 50,257 tokens of its vocabulary, the
*logits*: the last hidden state $x$ multiplied with the token embeddings $E$. Softmax turns them
into probabilities,

$$p(\text{token } i) = \frac{e^{z_i}}{\sum_j e^{z_j}}, \qquad z = x \cdot E^\top .$$

Decoding does not draw from them directly. Each setting that is active adds one stage, a *logits
processor*, which changes the scores of the stage before it: temperature divides them, a repetition
penalty lowers some, and top_k, top_p, min_p and typical_p set the scores of all tokens that they
drop to $-\infty$, so that only the kept ones share the probability. The stages appear here in the
order in which transformers applies them. What was *kept* are the tokens with a finite score; the
*entropy*, in bits, says how undecided the model is after the stage: 0 if only one token is left,
and 15.6 if all 50,257 were equally likely.

Beam search adds up log-probabilities, so under it the first stage turns the logits into those
(`log_softmax`), which changes no probability, and the others work on them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from gpt2lab.decoding import Decoding, Stage, processed
from gpt2lab.figures import bars, label, new_figure, theme
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe, readable
from gpt2lab.trace import Trace

MOST_SHOWN = 50


@dataclass(frozen=True, eq=False)
class NextToken:
    """The scores of every token of the vocabulary at every stage.

    position: whose next token it is, counted from the start of the text.
    stages: (n_stages,) names; the first is "logits", the last holds what is drawn from.
    scores: (n_stages, vocab_size), float32; -inf for a token that was dropped.
    show: how many of the most probable tokens the figure, the table and the answer list.
    chosen: the token that follows in the text, always listed; None at the text's end.
    tokens: vocabulary strings of the ids that are listed at any stage.
    """

    position: int
    stages: tuple[str, ...]
    scores: np.ndarray
    show: int
    chosen: int | None
    tokens: dict[int, str]

    def probabilities(self, stage: int) -> np.ndarray:
        """Softmax over the whole vocabulary: (vocab_size,), sums to 1."""
        return torch.from_numpy(self.scores[stage]).softmax(-1).numpy()

    def kept(self, stage: int) -> int:
        """Number of tokens whose score is finite."""
        return int(np.isfinite(self.scores[stage]).sum())

    def entropy_bits(self, stage: int) -> float:
        """Shannon entropy of the stage's probabilities, in bits."""
        return float(torch.special.entr(torch.from_numpy(self.probabilities(stage))).sum() / LN_2)

    def order(self, stage: int) -> np.ndarray:
        """Ids from the highest score to the lowest, the lower id first among equals."""
        return _order(self.scores[stage])


CHOSEN = "✓ "
"""Before the token that really follows in the text."""

LN_2 = float(np.log(2))


def next_token(
    trace: Trace,
    position: int = -1,
    show: int = 10,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> NextToken:
    """Scores for the token behind `position`, at every stage of `decoding`.

    `prompt_length` says how many of the traced tokens were the prompt of the generation; without
    it, all up to `position` were. It matters for min_new_tokens alone.
    """
    show = int(checked_number("show", show, 1, MOST_SHOWN))
    position = trace.position(position)
    ids = trace.ids[: position + 1]
    logits = trace.logits(position)[None]
    stages = _stages(trace, position, decoding or Decoding(), prompt_length)
    every = [("logits", logits), *processed(stages, ids[None].to(logits.device), logits)]
    scores = torch.cat([scores for _, scores in every]).cpu().numpy()
    chosen = int(trace.ids[position + 1]) if position + 1 < len(trace) else None
    listed = np.unique([_order(row)[:show] for row in scores]).tolist()
    if chosen is not None and chosen not in listed:
        listed.append(chosen)
    return NextToken(
        position=position,
        stages=tuple(name for name, _ in every),
        scores=scores,
        show=show,
        chosen=chosen,
        tokens=dict(zip(listed, describe(trace.gpt2, listed).tokens, strict=True)),
    )


def _order(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")


def figure(result: NextToken, dark: bool = False) -> Figure:
    """One panel of bars per stage, the same tokens in each, so that one sees them come and go."""
    ids = _shown_ids(result)
    names = [
        f"{CHOSEN * (id == result.chosen)}{label(text)}  {id}"
        for text, id in zip(_texts(result, ids), ids, strict=True)
    ]
    columns = min(3, len(result.stages))
    rows = -(-len(result.stages) // columns)
    height = 0.24 * len(names) + 0.8
    drawing = new_figure(3.9 * columns + 1.2, height * rows, dark)
    panels = drawing.subplots(rows, columns, squeeze=False, sharey=True).flat
    for stage, panel in enumerate(panels):
        if stage >= len(result.stages):
            panel.set_visible(False)
            continue
        probabilities = result.probabilities(stage)
        bars(panel, names, [float(probabilities[id]) for id in ids], dark)
        panel.set_title(
            f"{result.stages[stage]}: {result.kept(stage):,} kept, "
            f"{result.entropy_bits(stage):.2f} bits",
            color=theme(dark).ink,
        )
        panel.set_xlabel(
            f"probability (all other tokens together: {_others(result, stage, ids):.3g})"
        )
    return drawing


def table(result: NextToken) -> Table:
    """The most probable tokens of the last stage, then those of the logits: a row each."""
    last = len(result.stages) - 1
    probabilities = [result.probabilities(stage) for stage in range(last + 1)]
    ids = _shown_ids(result)
    ranks = _ranks(result, 0)
    rows: tuple[tuple[str | float | int, ...], ...] = tuple(
        (
            f"{CHOSEN * (id == result.chosen)}{text}",
            id,
            int(ranks[id]),
            float(result.scores[0][id]),
            *(float(stage[id]) for stage in probabilities),
        )
        for text, id in zip(_texts(result, ids), ids, strict=True)
    )
    others = tuple(_others(result, stage, ids) for stage in range(last + 1))
    headers = ("token", "id", "rank", "logit", *(f"p after {name}" for name in result.stages))
    return Table(headers, (*rows, ("all other tokens", "", "", "", *others)))


def answer(result: NextToken) -> dict[str, Any]:
    """JSON of the endpoint: per stage how many tokens are kept, the entropy and the top tokens."""
    stages = []
    for stage, name in enumerate(result.stages):
        order, probabilities = result.order(stage), result.probabilities(stage)
        ids = [int(id) for id in order[: result.show] if np.isfinite(result.scores[stage][id])]
        top = [
            {
                "id": id,
                "token": result.tokens[id],
                "logit": float(result.scores[stage][id]),
                "probability": float(probabilities[id]),
                "rank": rank,
            }
            for rank, id in enumerate(ids, start=1)
        ]
        stages.append(
            {
                "name": name,
                "kept": result.kept(stage),
                "entropy_bits": result.entropy_bits(stage),
                "top": top,
            }
        )
    return {"position": result.position, "stages": stages}


def snippet(
    trace: Trace,
    position: int = -1,
    show: int = 10,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> str:
    """Code that binds `scores`, (n_stages, vocab_size), and prints the top of the last stage."""
    position = trace.position(position)
    prompt = trace.prefix(position + 1)
    decoding = decoding or Decoding()
    stages = _stages(trace, position, decoding, prompt_length)
    written = position + 1 - (prompt_length or position + 1)
    length = f"ids.shape[1] - {written}" if written > 0 else "ids.shape[1]"
    eos = repr(trace.gpt2.model.generation_config.eos_token_id)
    classes = [type(processor).__name__ for _, processor in stages]
    calls = [
        f"{name}({_arguments(stage.name, decoding, length, eos)})"
        for name, stage in zip(classes, stages, strict=True)
    ]
    processors = "".join(f"\n    {call}," for call in calls) + ("\n" if calls else "")
    return f"""{preamble(trace.gpt2, prompt.ids.tolist(), imports=classes)}
with torch.no_grad():
    scores = [model(ids).logits[:, -1]]
for processor in [{processors}]:
    scores.append(processor(ids, scores[-1].clone()))
scores = torch.cat(scores)  # (stages, vocabulary)
for p, i in zip(*scores[-1].softmax(-1).topk({int(show)})):
    print(f"{{p:.4f}}  {{i:5}}  {{tokenizer.decode(i)!r}}")
"""


def _stages(
    trace: Trace, position: int, decoding: Decoding, prompt_length: int | None
) -> list[Stage]:
    length = min(prompt_length or position + 1, position + 1)
    return decoding.stages_from_logits(trace.gpt2, trace.ids[:length].tolist())


def _arguments(stage: str, decoding: Decoding, prompt_length: str, eos: str) -> str:
    """Constructor arguments of the logits processor behind a stage, as code."""
    if stage == "log_softmax":
        return ""
    if stage == "min_length":
        return f"{prompt_length} + {decoding.min_new_tokens}, {eos}"
    if stage == "min_new_tokens":
        return f"{prompt_length}, {decoding.min_new_tokens}, {eos}"
    return repr(getattr(decoding, stage))


def _shown_ids(result: NextToken) -> list[int]:
    """Top tokens of the logits, those of the last stage, and the one that really follows."""
    first, last = (result.order(stage)[: result.show] for stage in (0, len(result.stages) - 1))
    kept = [id for id in last if np.isfinite(result.scores[-1][id])]
    chosen = [] if result.chosen is None else [result.chosen]
    return [int(id) for id in dict.fromkeys([*first, *kept, *chosen])]


def _others(result: NextToken, stage: int, ids: list[int]) -> float:
    """Probability of all tokens but `ids` at a stage."""
    return float(np.delete(result.probabilities(stage), ids).sum(dtype=np.float64))


def _texts(result: NextToken, ids: list[int]) -> tuple[str, ...]:
    return tuple(readable(result.tokens[id]) for id in ids)


def _ranks(result: NextToken, stage: int) -> np.ndarray:
    """Rank of every id, (vocab_size,), 1 for the highest score."""
    order = result.order(stage)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


INSPECTION = Inspection(
    name="next_token",
    title="Next token",
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
    ),
    uses_decoding=True,
)
