"""One token of a generation, with every number behind its choice.

A `Step` says which token was chosen and how likely it was: under the raw logits, which are what the
model thinks, and after the logits processors, which are what the decoding made of it. Both are
softmax over the whole vocabulary, so the probability of the tokens that are not listed is what is
missing to 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import log

from torch import Tensor, cat, special

from gpt2lab.beam_tree import BeamTree
from gpt2lab.decoding import Stage, final_scores
from gpt2lab.models import Gpt2
from gpt2lab.tokens import decode
from gpt2lab.trace import Trace

ALTERNATIVES = 10
"""How many of the most probable tokens every step lists, before and after the processors."""
POSITIONS_AT_ONCE = 64
"""Positions whose logits are computed together when a text is read: 64 x 50,257 are 13 MB."""


@dataclass(frozen=True)
class Alternative:
    """A token that could have been chosen: softmax over the whole vocabulary, before and after."""

    id: int
    raw_probability: float
    probability: float


@dataclass(frozen=True)
class Choice:
    """A token of a text, and the numbers that the model had for it where it stands.

    logprob: natural logarithm of its probability under the raw logits.
    probability: its probability after all logits processors.
    rank: 1 if it has the largest raw logit.
    entropy_bits: how open the choice was: the entropy of softmax(raw logits), in bits.
    alternatives: the most probable tokens before the processors and the most probable possible ones
        after them, best raw one first.
    """

    id: int
    logprob: float
    probability: float
    rank: int
    entropy_bits: float
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, eq=False)
class Step:
    """One token of a generation, as it was chosen.

    index: 0 for the first new token.
    sequence: which of `num_return_sequences` it belongs to.
    choice: the token and its numbers; `id`, `logprob` … are at hand on the step itself too.
    finish_reason: None, or on the last step "length", "eos" (the model ended the text) or "stop".
    trace: the text that led to this token; its last position's logits are this step's logits.
    beams: under beam search the whole search, the same on every step; else None.
    """

    index: int
    sequence: int
    choice: Choice
    finish_reason: str | None
    trace: Trace
    beams: BeamTree | None = field(default=None, repr=False)

    @property
    def id(self) -> int:
        """The token that was chosen."""
        return self.choice.id

    @property
    def logprob(self) -> float:
        """Its log-probability under the raw logits, in nats."""
        return self.choice.logprob

    @property
    def probability(self) -> float:
        """Its probability after all logits processors."""
        return self.choice.probability

    @property
    def rank(self) -> int:
        """1 if it has the largest raw logit."""
        return self.choice.rank

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """The tokens that could have been chosen instead."""
        return self.choice.alternatives


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


def describe(chosen: int, logits: Tensor, scores: Tensor) -> Choice:
    """Read a token's numbers off the logits and the final scores, (vocab_size,) each."""
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
    return Choice(
        id=chosen,
        logprob=float(logprobs[chosen]),
        probability=float(probabilities[chosen]),
        rank=int((logits > logits[chosen]).sum()) + 1,
        entropy_bits=float(special.entr(logprobs.exp()).sum()) / log(2),
        alternatives=alternatives,
    )


def describe_text(trace: Trace, start: int, stages: Sequence[Stage] = ()) -> Iterator[Choice]:
    """The numbers of a text's tokens from position `start` (1 or more), read off its trace.

    Without stages they are the model's own: what it thought of each token before it came.
    """
    ids = trace.ids[None].to(trace.hidden.device)
    for first in range(start, len(trace), POSITIONS_AT_ONCE):
        last = min(first + POSITIONS_AT_ONCE, len(trace))
        for position, logits in enumerate(trace.all_logits(first - 1, last - 1), first):
            scores = final_scores(stages, ids[:, :position], logits[None])[0]
            yield describe(int(trace.ids[position]), logits, scores)
