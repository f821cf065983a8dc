"""A logit as a sum: what each part of the model has added to it.

The parts are the two embeddings, every attention head, the biases of the attentions' output
projections, every MLP, and the bias of the last normalization. Added up they are the logit.
"""

from dataclasses import dataclass

import numpy as np

from gpt2lab.figures import label
from gpt2lab.head_map import short
from gpt2lab.tokens import readable

ALONE = "the token alone"
BEST_OTHER = "against the best other token"
MEAN = "against the mean of all tokens"
DIFFERENCES = (ALONE, BEST_OTHER, MEAN)


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each part of the model adds to one logit, or to the difference of two.

    position: whose next token is explained, counted from the start of the text.
    shown: the token at that position, as a person reads it.
    id, token: the token whose logit is explained, and its vocabulary string.
    difference: one of `DIFFERENCES`.
    other_id, other: the token that it is compared with, if it is a single one.
    logit: the number explained, from the model's own logits.
    token_embedding, position_embedding, ln_f_bias: contributions, in units of the logit.
    heads: (n_layer, n_head), float64, contributions of the attention heads.
    attention_biases: (n_layer,), float64, those of the biases of `attn.c_proj`.
    mlps: (n_layer,), float64, those of the MLPs.
    """

    position: int
    shown: str
    id: int
    token: str
    difference: str
    other_id: int | None
    other: str | None
    logit: float
    token_embedding: float
    position_embedding: float
    heads: np.ndarray
    attention_biases: np.ndarray
    mlps: np.ndarray
    ln_f_bias: float

    @property
    def groups(self) -> dict[str, float]:
        """Contributions of the six kinds of parts; they sum to the logit within `LARGEST_GAP`."""
        return {
            "token embedding": self.token_embedding,
            "position embedding": self.position_embedding,
            "attention heads": float(self.heads.sum()),
            "attention biases": float(self.attention_biases.sum()),
            "MLPs": float(self.mlps.sum()),
            "ln_f bias": self.ln_f_bias,
        }

    @property
    def total(self) -> float:
        """Sum of all parts: the logit, computed the other way round."""
        return sum(self.groups.values())

    @property
    def explained(self) -> str:
        """What the number is, in a word."""
        return "logit" if self.difference == ALONE else "difference"

    @property
    def formula(self) -> str:
        """The sum with the numbers of this text."""
        terms = [
            f"{'−' if value < 0 else '+'} {name} {short(abs(value))}"
            for name, value in self.groups.items()
        ]
        return f"{self.explained} {short(self.logit)} = {' '.join(terms).removeprefix('+ ')}"

    @property
    def title(self) -> str:
        """Which logit it is, and where."""
        place = f"behind position {self.position}, {label(self.shown)}"
        token = f"{label(readable(self.token))} (id {self.id})"
        if self.other is not None:
            return f"logit of {token} less that of {label(readable(self.other))}, {place}"
        less = " less the mean of all logits" if self.difference == MEAN else ""
        return f"logit of {token}{less}, {place}"
