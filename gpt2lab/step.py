"""One token of a generation, with every number behind its choice.

A `Step` says which token was chosen and how likely it was: under the raw logits, which are what the
model thinks, and after the logits processors, which are what the decoding made of it. Both are
softmax over the whole vocabulary, so the probability of the tokens that are not listed is what is
missing to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, cat

from gpt2lab.models import Gpt2
from gpt2lab.tokens import decode
from gpt2lab.trace import Trace

ALTERNATIVES = 10
"""How many of the most probable tokens every step lists, before and after the processors."""


@dataclass(frozen=True)
class Alternative:
    """A token that could have been chosen: softmax over the whole vocabulary, before and after."""

    id: int
    raw_probability: float
    probability: float


@dataclass(frozen=True, eq=False)
class Step:
    """One chosen token.

    index: 0 for the first new token.
    sequence: which of `num_return_sequences` it belongs to.
    logprob: natural logarithm of its probability under the raw logits.
    probability: its probability after all logits processors.
    rank: 1 if it has the largest raw logit.
    alternatives: the most probable tokens before the processors and the most probable possible ones
        after them, best raw one first.
    finish_reason: None, or on the last step "length", "eos" (the model ended the text) or "stop".
    trace: the text that led to this token; its last position's logits are this step's logits.
    """

    index: int
    sequence: int
    id: int
    logprob: float
    probability: float
    rank: int
    alternatives: tuple[Alternative, ...]
    finish_reason: str | None
    trace: Trace


@dataclass(frozen=True)
class Continuation:
    """What was written in one sequence; `ids` and `logprobs` have one entry per new token."""

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    finish_reason: str | None

    @classmethod
    def of(cls, gpt2: Gpt2, steps: Sequence[Step]) -> "Continuation":
        """Gather the steps of one sequence."""
        ids = tuple(step.id for step in steps)
        logprobs = tuple(step.logprob for step in steps)
        return cls(ids, decode(gpt2, ids), logprobs, steps[-1].finish_reason if steps else None)


def describe_step(
    index: int,
    sequence: int,
    chosen: int,
    logits: Tensor,
    scores: Tensor,
    finish_reason: str | None,
    trace: Trace,
) -> Step:
    """Read all numbers of a step off its logits and final scores, (vocab_size,) each."""
    logprobs, probabilities = logits.log_softmax(-1), scores.softmax(-1)
    raw = logits.topk(ALTERNATIVES).indices
    final = probabilities.topk(ALTERNATIVES)
    # Where the stages leave fewer, the rest of the ten are arbitrary tokens of probability 0.
    listed = cat([raw, final.indices[final.values > 0]]).unique()
    listed = listed[logits[listed].argsort(descending=True, stable=True)]
    alternatives = tuple(
        Alternative(*values)
        for values in zip(
            listed.tolist(),
            logprobs[listed].exp().tolist(),
            probabilities[listed].tolist(),
            strict=True,
        )
    )
    return Step(
        index=index,
        sequence=sequence,
        id=chosen,
        logprob=float(logprobs[chosen]),
        probability=float(probabilities[chosen]),
        rank=int((logits > logits[chosen]).sum()) + 1,
        alternatives=alternatives,
        finish_reason=finish_reason,
        trace=trace,
    )
