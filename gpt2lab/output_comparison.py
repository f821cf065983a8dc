"""What one run of `generate` returned, held against itself and against a plain forward pass.

A run leaves logits, scores and transition scores, and a plain pass over the finished text leaves
logits too. Which of them are equal, and where a processor came between, follows from the numbers;
so does what is said about it in words.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpt2lab.outputs import Shape

OTHERS = 3
"""Tokens listed beside the chosen one: the largest other logits, and the largest removed one."""
EQUAL = 1e-4
"""Two correct ways to compute a logit in float32 differ by less."""
NEARLY_EQUAL = 1e-3
"""Two ways to add up 50,257 probabilities in float32 differ by less."""


@dataclass(frozen=True, eq=False)
class LogitsOrScores:
    """What one run returned; entry t is about step t, and under beam search about the best beam.

    prompt_length: how many tokens of the text the run began with.
    strategy: "greedy", "sample" or "beam".
    ids: (steps, 1 + OTHERS): the chosen token, then the others.
    tokens, shown: vocabulary strings and readable forms of these.
    listed_logits, listed_scores: (steps, 1 + OTHERS): their entries in the two outputs.
    logits, scores, plain: (steps,): the chosen token's entry in `outputs.logits`,
        `outputs.scores`, and the logits of a forward pass over the finished text.
    transition_scores, normalized: (steps,): from `compute_transition_scores`, without and with
        `normalize_logits`.
    log_softmax: (steps,): the chosen token's entry in the log softmax of the scores.
    forward_difference: (steps,): largest difference of a logit to the plain forward pass.
    removed: (steps,): how many entries of the scores are -inf.
    changed: (steps,): how many entries of the scores are not equal to the logits.
    removed_by: for each processor that removed tokens how many, (steps,).
    processors: names of the settings behind the processors, in their order.
    hidden_states, attentions: (steps,): how many tensors of which shape each step returns.
    """

    prompt_length: int
    strategy: str
    ids: np.ndarray
    tokens: tuple[tuple[str, ...], ...]
    shown: tuple[tuple[str, ...], ...]
    listed_logits: np.ndarray
    listed_scores: np.ndarray
    plain: np.ndarray
    transition_scores: np.ndarray
    normalized: np.ndarray
    log_softmax: np.ndarray
    forward_difference: np.ndarray
    removed: np.ndarray
    changed: np.ndarray
    removed_by: dict[str, np.ndarray]
    processors: tuple[str, ...]
    hidden_states: tuple[tuple[int, Shape], ...]
    attentions: tuple[tuple[int, Shape], ...]
    vocab_size: int

    @property
    def steps(self) -> int:
        """How many tokens were written."""
        return len(self.ids)

    @property
    def logits(self) -> np.ndarray:
        """The chosen token's logit at each step."""
        return self.listed_logits[:, 0]

    @property
    def scores(self) -> np.ndarray:
        """The chosen token's score at each step."""
        return self.listed_scores[:, 0]

    @property
    def verdict(self) -> str:
        """What holds in this run, in words that follow its numbers."""
        forward = float(self.forward_difference.max())
        equal = "equal" if forward < EQUAL else "do not equal"
        sentences = [
            f"The raw logits {equal} those of a plain forward pass "
            f"(largest difference {forward:.1e})."
        ]
        touched = self.changed > 0
        removed = _span(self.removed[self.removed > 0])
        names = ", ".join(self.processors)
        if not self.processors:
            sentences.append("No processor is at work, so the scores are the logits.")
        elif not touched.any():
            sentences.append(f"Here {names} changed nothing, so the scores are the logits.")
        else:
            where = "at every step" if touched.all() else f"at {touched.sum()} of {len(touched)}"
            sentences.append(f"The scores are not the logits {where}: {names} came between.")
        if removed:
            cut = ", ".join(
                f"{name} removed {_span(counts[counts > 0])}"
                for name, counts in self.removed_by.items()
            )
            sentences.append(f"−inf: {cut} of {self.vocab_size:,} tokens a step.")
        elif touched.any():
            sentences.append("No token was removed, so no score is −inf.")
        gap = float(np.abs(self.normalized - self.log_softmax).max())
        picked = float(np.abs(self.transition_scores - self.scores).max())
        is_score = "is the chosen token's score" if picked < EQUAL else "is not the score"
        is_log = "is its log softmax" if gap < NEARLY_EQUAL else "is not its log softmax"
        why = "" if gap < EQUAL else ", as transformers adds up the vocabulary in another order"
        sentences.append(
            f"The transition score {is_score}; normalized it {is_log} (within {gap:.0e}{why})."
        )
        return " ".join(sentences)


def _span(counts: np.ndarray) -> str:
    """One number if all are equal, else the smallest and the largest; "" if there is none."""
    if not len(counts):
        return ""
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def with_others(chosen: Tensor, logits: Tensor, scores: Tensor) -> Tensor:
    """Per step the chosen id and OTHERS: (steps, 1 + OTHERS)."""
    rows = []
    for id, logit, score in zip(chosen.tolist(), logits, scores, strict=True):
        others = [one for one in logit.topk(OTHERS + 1).indices.tolist() if one != id][:OTHERS]
        removed = logit.where(score.isneginf(), -torch.inf)
        best = int(removed.argmax())
        if removed[best].isfinite() and best not in others:
            others[-1] = best
        rows.append([id, *others])
    return torch.tensor(rows, device=logits.device)
