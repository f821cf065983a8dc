"""One position's scores at every stage, from the logits to what is drawn from.

Decoding changes the logits step by step; `decoding.Stage` is one such step. A stage leaves every
token a score, or drops it by setting the score to -inf. Four numbers say what it did:

    kept        how many tokens have a finite score;
    kept mass   the probability that those tokens had *before* the stage, all together: 1 if the
                stage dropped nothing, 0.87 if it cut off 13 % of what could have been drawn;
    entropy     how undecided the model is after the stage, in bits;
    rank        of one token: 1 for the highest score, the lower id first among equals.

The probabilities are softmax over the whole vocabulary, never over a shortened list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gpt2lab.decoding import Decoding, Stage, processed
from gpt2lab.trace import Trace

LN_2 = float(np.log(2))
CHOSEN = "✓ "
"""Before the token that really follows in the text."""


@dataclass(frozen=True, eq=False)
class Stages:
    """The scores of every token of the vocabulary at every stage.

    position: whose next token it is, counted from the start of the text.
    stages: (n_stages,) names; the first is "logits", the last holds what is drawn from.
    scores: (n_stages, vocab_size), float32; -inf for a token that was dropped.
    """

    position: int
    stages: tuple[str, ...]
    scores: np.ndarray

    def probabilities(self, stage: int) -> np.ndarray:
        """Softmax over the whole vocabulary: (vocab_size,), sums to 1."""
        return torch.from_numpy(self.scores[stage]).softmax(-1).numpy()

    def kept(self, stage: int) -> int:
        """Number of tokens whose score is finite."""
        return int(np.isfinite(self.scores[stage]).sum())

    def kept_mass(self, stage: int) -> float:
        """Probability, before the stage, of the tokens that it keeps; 1 for the logits."""
        if stage == 0:
            return 1.0
        before = self.probabilities(stage - 1).astype(np.float64)
        # Float32 probabilities add up to 1 only nearly.
        return float(before[np.isfinite(self.scores[stage])].sum() / before.sum())

    def entropy_bits(self, stage: int) -> float:
        """Shannon entropy of the stage's probabilities, in bits."""
        return float(torch.special.entr(torch.from_numpy(self.probabilities(stage))).sum() / LN_2)

    def order(self, stage: int) -> np.ndarray:
        """Ids from the highest score to the lowest, the lower id first among equals."""
        return np.argsort(-self.scores[stage], kind="stable")

    def top(self, stage: int, count: int) -> list[int]:
        """The first ids of `order`, as many as `count`, without those that the stage dropped."""
        return highest(self.scores[stage], count)

    def rank(self, stage: int, id: int) -> int | None:
        """Place of one token in `order`, from 1 on; None if the stage dropped it."""
        scores = self.scores[stage]
        if not np.isfinite(scores[id]):
            return None
        return int(1 + (scores > scores[id]).sum() + (scores[:id] == scores[id]).sum())


def highest(scores: np.ndarray, count: int) -> list[int]:
    """Ids of the `count` highest finite scores, the lower id first among equals.

    Only these are sorted: of 50,257 scores that takes a tenth of the time.
    """
    ids = np.flatnonzero(np.isfinite(scores))
    if count < len(ids):
        lowest = np.partition(scores[ids], -count)[-count]
        ids = ids[scores[ids] >= lowest]
    in_order = ids[np.argsort(-scores[ids], kind="stable")]
    return [int(id) for id in in_order[:count]]


def following(trace: Trace, position: int) -> int | None:
    """The token that follows in the text behind a position, counted from the start; None at end."""
    return int(trace.ids[position + 1]) if position + 1 < len(trace) else None


def behind(
    trace: Trace, position: int, decoding: Decoding, prompt_length: int | None
) -> list[Stage]:
    """Stages that `generate` applies to the logits behind a position, counted from the start.

    `prompt_length` says how many of the traced tokens were the prompt; None: all up to there.
    """
    length = min(prompt_length or position + 1, position + 1)
    return decoding.stages_from_logits(trace.gpt2, trace.ids[:length].tolist())


def scores_of(trace: Trace, position: int, stages: Sequence[Stage]) -> Stages:
    """The logits behind a position, and the scores after each of `stages`."""
    ids, logits = trace.ids[: position + 1], trace.logits(position)[None]
    every = [("logits", logits), *processed(stages, ids[None].to(logits.device), logits)]
    scores = torch.cat([scores for _, scores in every]).cpu().numpy()
    return Stages(position, tuple(name for name, _ in every), scores)


def class_names(stages: Sequence[Stage]) -> list[str]:
    """Transformers' classes behind the stages, to be imported by a snippet."""
    return [type(stage.processor).__name__ for stage in stages]


def calls(
    trace: Trace,
    position: int,
    decoding: Decoding,
    prompt_length: int | None,
    stages: Sequence[Stage],
) -> list[str]:
    """Code that makes the processors of `stages`; it may use `ids`, (1, position + 1)."""
    written = position + 1 - (prompt_length or position + 1)
    length = f"ids.shape[1] - {written}" if written > 0 else "ids.shape[1]"
    eos = repr(trace.gpt2.model.generation_config.eos_token_id)
    return [
        f"{name}({_arguments(stage.name, decoding, length, eos)})"
        for name, stage in zip(class_names(stages), stages, strict=True)
    ]


def _arguments(stage: str, decoding: Decoding, prompt_length: str, eos: str) -> str:
    """Constructor arguments of the logits processor behind a stage, as code."""
    if stage == "log_softmax":
        return ""
    if stage == "min_length":
        return f"{prompt_length} + {decoding.min_new_tokens}, {eos}"
    if stage == "min_new_tokens":
        return f"{prompt_length}, {decoding.min_new_tokens}, {eos}"
    return repr(getattr(decoding, stage))
