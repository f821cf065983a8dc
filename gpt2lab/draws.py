"""Sampling inside `model.generate` without the random generator that a whole process shares.

`generate` draws from torch's global generator, which anybody may move on. A logits processor that
comes last can draw instead: it forbids all tokens but the one drawn, and greedy decoding, which
draws nothing, has to take that one. With the same seed these are the same ids.
"""

import torch
from torch import Tensor
from transformers import LogitsProcessor


class Draw(LogitsProcessor):
    """Draws the next token as sampling does, and leaves greedy decoding no other to choose.

    seen: the scores, (rows, vocab_size), of each step, before the draw.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.random = torch.Generator(device=device).manual_seed(seed)
        self.seen: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores that are -inf but for the token drawn."""
        self.seen.append(scores)
        drawn = torch.multinomial(scores.softmax(-1), 1, generator=self.random)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)
