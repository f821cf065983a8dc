"""Read states between the blocks as if the stream ended there: the logit lens on a window of text.

    state behind block - 1  ──ln_f──▶  · Eᵀ  ──▶  a logit for each token of the vocabulary
    last state, which transformers returns normalized  ──▶  · Eᵀ  ──▶  the model's own logits

All layers of a whole text would be billions of logits, so only the positions asked for are read,
one layer at a time, and of each distribution a few numbers are kept: its most probable tokens, how
open it is, how far from the output, and where a token that one follows stands in it.
"""

from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from gpt2lab.models import Gpt2
from gpt2lab.softmax_formula import signed, subscript
from gpt2lab.trace import Trace

SHOWN = 24
"""Positions that are read at once: 24 columns can be told apart, and take about a second."""
MOVE = SHOWN // 2
KEPT = 5
REMEMBERED = 16
"""Windows whose numbers are kept."""
LN_2 = float(np.log(2))


@dataclass(frozen=True, eq=False)
class Readings:
    """What is kept of the distribution behind each layer and position of a window.

    top_ids: (layer, position, 5), the most probable tokens; n_layer + 1 layers, the last one is
        the model's output.
    logits: (layer, position, 5), float32, of these tokens.
    log_totals: (layer, position), float64, natural logarithm of the sum of exp(logit) over the
        vocabulary, so that p = exp(logit - log_total).
    entropy_bits: (layer, position), float64.
    kl_to_final_bits: (layer, position), float64, divergence from the output at this position.
    followed_ids: (position,), the token that is followed through the layers.
    followed_logits: (layer, position), float32.
    followed_ranks: (layer, position), 1 + the number of tokens with a larger logit.
    """

    top_ids: np.ndarray
    logits: np.ndarray
    log_totals: np.ndarray
    entropy_bits: np.ndarray
    kl_to_final_bits: np.ndarray
    followed_ids: np.ndarray
    followed_logits: np.ndarray
    followed_ranks: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Of the most probable tokens: (layer, position, 5), float64."""
        return np.exp(self.logits - self.log_totals[..., None])

    @property
    def followed_probabilities(self) -> np.ndarray:
        """Of the followed token: (layer, position), float64."""
        return np.exp(self.followed_logits - self.log_totals)


def window(length: int, position: int) -> range:
    """The positions of a text that are shown around one of them.

    It moves on by half of itself, so that choosing a position in its middle leaves it in place.
    """
    start = (position - MOVE // 2) // MOVE * MOVE
    start = min(max(0, start), max(0, length - SHOWN))
    return range(start, min(start + SHOWN, length))


def readings(trace: Trace, positions: range, followed: int | None = None) -> Readings:
    """Read the states of `positions` in all layers; what was read before is not read again.

    Without `followed`, an id, each position's own most probable token of the output is followed.
    """
    # What stands behind the window does not matter for it.
    key = trace.gpt2, tuple(trace.ids[: positions.stop].tolist()), positions.start, followed
    known = _KNOWN.get(key)
    if known is None:
        known = _readings(trace, positions, followed)
        _KNOWN.add(key, known)
    return known


@torch.no_grad()
def _readings(trace: Trace, positions: range, followed: int | None) -> Readings:
    final = trace.all_logits(positions.start, positions.stop).cpu()
    ids = final.argmax(-1) if followed is None else torch.full((len(positions),), followed)
    log_final = final.double().log_softmax(-1)
    p_final = log_final.exp()
    parts: dict[str, list[Tensor]] = {}
    for layer in range(trace.gpt2.n_layer + 1):
        logits = final
        if layer < trace.gpt2.n_layer:
            states = trace.hidden[layer, positions.start : positions.stop]
            normalized = trace.gpt2.model.transformer.ln_f(states)
            logits = trace.gpt2.model.lm_head(normalized).float().cpu()
        log_p = logits.double().log_softmax(-1)
        top, of_followed = logits.topk(KEPT), logits.gather(-1, ids[:, None])
        found = {
            "top_ids": top.indices,
            "logits": top.values,
            "log_totals": top.values[:, 0].double() - log_p.amax(-1),
            "entropy_bits": -(log_p.exp() * log_p).sum(-1) / LN_2,
            "kl_to_final_bits": (p_final * (log_final - log_p)).sum(-1).clamp(min=0) / LN_2,
            "followed_logits": of_followed[:, 0],
            "followed_ranks": (logits > of_followed).sum(-1) + 1,
        }
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    stacked = {name: torch.stack(values).numpy() for name, values in parts.items()}
    for array in stacked.values():
        array.setflags(write=False)  # everybody who asks the same is given the same arrays
    return Readings(**stacked, followed_ids=ids.numpy())


Key = tuple[Gpt2, tuple[int, ...], int, int | None]


class _Known:
    """The last readings, so that looking at them in another colour computes nothing."""

    def __init__(self) -> None:
        self._readings: dict[Key, Readings] = {}
        self._lock = Lock()

    def get(self, key: Key) -> Readings | None:
        return self._readings.get(key)

    def add(self, key: Key, readings: Readings) -> None:
        with self._lock:
            self._readings[key] = readings
            if len(self._readings) > REMEMBERED:
                del self._readings[next(iter(self._readings))]


_KNOWN = _Known()


@dataclass(frozen=True)
class Followed:
    """One token in the distributions of all layers, at one position: what its formula needs.

    shown: the token as a person reads it.
    logits, log_totals, kl_to_final_bits, ranks: one entry per layer, the last one is the output.
    """

    id: int
    shown: str
    logits: tuple[float, ...]
    log_totals: tuple[float, ...]
    kl_to_final_bits: tuple[float, ...]
    ranks: tuple[int, ...]

    def probability(self, layer: int) -> float:
        """Of the token in that layer."""
        return float(np.exp(self.logits[layer] - self.log_totals[layer]))

    @property
    def layer(self) -> int:
        """The first layer in which the token stands as high as it ever does before the output."""
        return self.ranks.index(min(self.ranks[:-1]))

    @property
    def formula(self) -> str:
        """The lens and the divergence with the numbers of that layer, as lines of text."""
        layer, last = self.layer, len(self.ranks) - 1
        z, p, p_final = self.logits[layer], self.probability(layer), self.probability(last)
        return "\n".join(
            [
                f"layer {layer}, the first with {self.shown} on rank {self.ranks[layer]:,}:   "
                f"z({self.shown}) = ln_f(h{subscript(layer)}) · E[{self.id}] = {signed(z)}",
                f"p({self.shown}) = softmax(z) = exp({signed(z)}) / Σ = {p:.4g},   "
                f"Σ = exp({signed(self.log_totals[layer])})",
                f"D(p{subscript(last)} ‖ p{subscript(layer)}) = "
                f"{p_final:.4g} · log₂({p_final:.4g} / {p:.4g}) + …"
                f" = {self.kl_to_final_bits[layer]:.4g} bits",
            ]
        )
