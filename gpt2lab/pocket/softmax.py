"""A softmax over 50,257 tokens that looks at a fifth of them: device 1 of the lesson in train.py.

The loss at a position is ``log(sum of exp(score)) - score of the token that came``. The sum runs
over the whole vocabulary. Most of it comes from the frequent tokens, which are always counted;
the thousands of rare ones are estimated as a poll estimates an election: a few are drawn, and
each stands for ``others / drawn`` of its kind, which in a score is ``+ log(others / drawn)``.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Candidates:
    """The tokens that are scored in one step."""

    tokens: Tensor
    """(candidates,): the frequent ones, then the rare ones that occur, then the drawn ones."""
    shift: Tensor
    """(candidates,): what is added to each score, 0 or log(others / drawn)."""
    frequent: int
    """How many of them are the frequent ones: tokens 0 ... frequent - 1."""
    rare: Tensor
    """(rare,): the rare ones that occur, ascending."""


def choose_candidates(
    targets: Tensor, vocabulary: int, frequent: int, drawn: int, dice: torch.Generator
) -> Candidates:
    """Tokens are numbered by falling frequency, so the frequent ones come first."""
    rare = targets[targets >= frequent].unique()
    other = torch.ones(vocabulary, dtype=torch.bool)
    other[:frequent] = False
    other[rare] = False
    others = other.nonzero()[:, 0]
    sample = others[torch.randperm(len(others), generator=dice)[:drawn]]
    tokens = torch.cat([torch.arange(frequent), rare, sample])
    shift = torch.zeros(len(tokens))
    shift[frequent + len(rare) :] = math.log(len(others) / len(sample))
    return Candidates(tokens, shift, frequent, rare)


def sampled_softmax(
    hidden: Tensor, table: Tensor, candidates: Candidates, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """The weighted mean surprise, and the surprise at every position.

    ``hidden`` is (..., n_embd), ``targets`` and ``weights`` are (...), ``table`` is the embedding.
    """
    frequent = candidates.frequent
    rows = torch.cat([table[:frequent], table[candidates.tokens[frequent:]]])
    flat = targets.reshape(-1)
    column = torch.where(
        flat < frequent, flat, frequent + torch.searchsorted(candidates.rare, flat)
    )
    hidden = hidden.float().reshape(-1, hidden.shape[-1])
    mean, surprise = SampledSoftmax.apply(
        hidden, rows, candidates.shift, column, weights.reshape(-1)
    )
    return mean, surprise.view(targets.shape)


class SampledSoftmax(torch.autograd.Function):
    """Mean surprise over the candidates, with its gradient worked out on the way forward.

    Written by hand because the table of scores, 8,192 positions x 11,000 candidates, is too large
    to keep: in slices, each slice's scores become its gradient while they are still at hand.
    The gradient of -log softmax(z)[target] is softmax(z) minus one at the target.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, rows: Tensor, shift: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and single surprises; both gradients are put away for ``backward``."""
        hidden16, rows16 = hidden.bfloat16(), rows.bfloat16()
        grad_hidden, grad_rows = torch.empty_like(hidden16), torch.zeros_like(rows)
        surprise = torch.empty(len(hidden))
        weights = weights / weights.sum()
        slice_size = 256
        scores = torch.empty(slice_size, len(rows))
        for start in range(0, len(hidden), slice_size):
            cut = slice(start, start + slice_size)
            scores.copy_(hidden16[cut] @ rows16.T).add_(shift)
            at_target = scores.gather(1, targets[cut, None])
            top = scores.amax(1, keepdim=True)
            total = scores.sub_(top).exp_().sum(1, keepdim=True)
            surprise[cut] = (total.log() + top - at_target)[:, 0]
            weight = weights[cut, None]
            scores.mul_(weight / total).scatter_add_(1, targets[cut, None], -weight)
            grad16 = scores.bfloat16()
            grad_hidden[cut] = grad16 @ rows16
            grad_rows += grad16.T @ hidden16[cut]
        ctx.save_for_backward(grad_hidden.float(), grad_rows)
        ctx.mark_non_differentiable(surprise)
        return (surprise * weights).sum(), surprise

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients found on the way forward, scaled by what comes after the mean."""
        grad_hidden, grad_rows = ctx.saved_tensors
        return grad * grad_hidden, grad * grad_rows, None, None, None
