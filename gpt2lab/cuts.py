"""Where decoding cuts the distribution off.

Four of transformers' logits processors drop tokens by their probability. They are applied one after
the other, so each of them sees only what those before it have left. What a cut keeps is found by
running the processor itself: once in its turn, and once alone, on the whole distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gpt2lab.decoding import Decoding, Stage, processed

CUTS = ("top_k", "top_p", "min_p", "typical_p")


@dataclass(frozen=True)
class Cut:
    """What one processor drops.

    kept: how many tokens are left after it and those before it; kept_mass: their probability
    before all cuts; alone: how many it keeps on its own; ranked: whether the kept ones are the most
    probable ones, so that the cut is one place in the ranking.
    """

    name: str
    value: float
    kept: int
    kept_mass: float
    alone: int
    ranked: bool


def made_cuts(
    stages: Sequence[Stage], decoding: Decoding, ids: torch.Tensor, scores: torch.Tensor
) -> tuple[Cut, ...]:
    """Run the cuts among a decoding's stages; ids: (1, n), scores: (1, vocab_size) before them."""
    whole = scores.double().softmax(-1)
    cuts = []
    for stage, (name, left) in zip(stages, processed(stages, ids, scores), strict=True):
        kept = left.isfinite()
        cuts.append(
            Cut(
                name=name,
                value=getattr(decoding, name),
                kept=int(kept.sum()),
                kept_mass=min(1.0, float(whole[kept].sum())),
                alone=int(stage.processor(ids, scores.clone()).isfinite().sum()),
                ranked=name != "typical_p",
            )
        )
    return tuple(cuts)
