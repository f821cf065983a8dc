"""What a model says without some of its parts: heads and MLPs switched off.

An attention head fetches a vector; those of all heads of a layer lie side by side, and the *output
projection* `attn.c_proj` turns them into what the layer adds to the stream. A head is switched off
by zeroing its part of that input, at every position; an MLP by zeroing the whole input of its own
output projection `mlp.c_proj`. What is zeroed never lies behind the projection, whose bias belongs
to no head and stays.

The weights are everybody's, so nothing about the model changes. Instead the ablated model is a
second tree of modules with the very same leaves: new blocks around the old weights, in which a
projection that loses something stands behind a mask. It is made in a millisecond, has no weights of
its own, computes with transformers' own code, and nobody else ever sees it.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gpt2lab.figures import label
from gpt2lab.models import Gpt2
from gpt2lab.progress import counted
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.softmax_formula import signed
from gpt2lab.tokens import readable
from gpt2lab.trace import Trace, causal_mask

MLP = "mlp"
WRITTEN = re.compile(r"([0-9]{1,4})\.([0-9]{1,4}|mlp)", re.IGNORECASE)
"""How a part is written: layer.head, or layer.mlp."""
TOKENS_AT_ONCE = 2048
"""Tokens in all rows of a batch; attention takes (rows, n_head, n, n) numbers."""

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Part(NamedTuple):
    """A head of a layer; with head None it is the layer's MLP. Both are counted from 0."""

    layer: int
    head: int | None

    @property
    def name(self) -> str:
        """As a person writes it: "5.1", "3.mlp"."""
        return f"{self.layer}.{MLP if self.head is None else self.head}"


def checked_parts(gpt2: Gpt2, heads: object) -> tuple[Part, ...]:
    """The parts that are meant, each once, in the order of the model; raise `Refusal` if unclear.

    `heads` is a text such as "5.1, 4.5, 3.mlp", or a list of pairs such as [[5, 1], [3, "mlp"]].
    """
    pieces: Iterable[Any]
    if isinstance(heads, str):
        pieces = map(_pair, heads.replace(",", " ").split())
    else:
        pieces = heads if isinstance(heads, list | tuple) else [None]
    parts = {_part(gpt2, piece) for piece in pieces}
    if None in parts:
        raise Refusal(
            f"heads is {quoted(heads)}, but must be names such as 0.1 (layer 0, head 1) or 0.mlp, "
            f"with commas between them, layers from 0 to {gpt2.n_layer - 1} and heads from 0 to "
            f"{gpt2.n_head - 1}."
        )
    return tuple(part for part in every_part(gpt2) if part in parts)


def _pair(written: str) -> tuple[int, int | str] | None:
    """Layer and head as they are written, or None if they are not."""
    found = WRITTEN.fullmatch(written)
    if not found:
        return None
    layer, head = found.groups()
    return int(layer), int(head) if head.isdigit() else head


def _part(gpt2: Gpt2, pair: Any) -> Part | None:
    """The part that a pair (layer, head) means; None if there is none."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    layer, head = pair
    try:
        layer = int(checked_number("layer", layer, 0, gpt2.n_layer - 1))
        if isinstance(head, str) and head.lower() == MLP:
            return Part(layer, None)
        return Part(layer, int(checked_number("head", head, 0, gpt2.n_head - 1)))
    except Refusal:
        return None


def every_part(gpt2: Gpt2) -> tuple[Part, ...]:
    """All parts of the model: layer by layer its heads, then its MLP."""
    return tuple(
        Part(layer, head) for layer in range(gpt2.n_layer) for head in (*range(gpt2.n_head), None)
    )


def without(gpt2: Gpt2, parts: Sequence[Part]) -> Gpt2:
    """The model with these parts switched off: the same weights in another tree of modules."""
    return _without(gpt2, [parts])


def _without(gpt2: Gpt2, rows: Sequence[Sequence[Part]]) -> Gpt2:
    """The model in which each row of a batch has its own parts switched off."""
    transformer = gpt2.model.transformer
    blocks = nn.ModuleList(_block(gpt2, layer, rows) for layer in range(gpt2.n_layer))
    return replace(gpt2, model=rebuilt(gpt2.model, transformer=rebuilt(transformer, h=blocks)))


def _block(gpt2: Gpt2, layer: int, rows: Sequence[Sequence[Part]]) -> nn.Module:
    """A block around the old leaves, with masks before its two output projections."""
    block = gpt2.model.transformer.h[layer]
    attention, mlp = block.attn, block.mlp
    heads = [[part.head for part in row if part.layer == layer] for row in rows]
    off = torch.tensor([[one in row for one in range(gpt2.n_head)] for row in heads])
    if off.any():
        columns = off.repeat_interleave(gpt2.n_embd // gpt2.n_head, dim=-1)
        attention = rebuilt(attention, c_proj=_Masked(attention.c_proj, columns))
    mlps = torch.tensor([[None in row] for row in heads])
    if mlps.any():
        mlp = rebuilt(mlp, c_proj=_Masked(mlp.c_proj, mlps))
    # Also the others are rebuilt, since transformers hangs its recorders on blocks and attentions.
    return rebuilt(block, attn=rebuilt(attention), mlp=mlp)


class _Masked(nn.Module):
    """A projection before which numbers are zeroed: those where `off`, (rows, columns), is true."""

    def __init__(self, projection: nn.Module, off: Tensor) -> None:
        super().__init__()
        self.projection = projection
        self.off = off[:, None]

    def forward(self, fetched: Tensor) -> Tensor:
        return self.projection(fetched.masked_fill(self.off.to(fetched.device), 0.0))


def rebuilt(module: AnyModule, **children: nn.Module) -> AnyModule:
    """A new module with the same weights and settings, and some other children."""
    copied = copy(module)
    copied._modules = {**module._modules, **children}
    # Recorders that transformers has hung on the original stay there; it will hang on new ones.
    copied._forward_hooks = OrderedDict()
    copied._forward_hooks_with_kwargs = OrderedDict()
    copied._forward_hooks_always_called = OrderedDict()
    copied.__dict__.pop("_output_capturing_hooks_installed", None)
    return copied


@torch.no_grad()
def ablated(trace: Trace, parts: Sequence[Part]) -> Trace:
    """Trace of the same text with these parts switched off.

    Before the first layer that loses something nothing changes, so that part of the stream is kept.
    """
    if not parts:
        return trace
    model = without(trace.gpt2, parts)
    first = min(part.layer for part in parts)
    states = [trace.hidden[layer][None] for layer in range(first + 1)]
    mask = causal_mask(len(trace), trace.hidden)
    for block in model.model.transformer.h[first:]:
        states.append(block(states[-1], attention_mask=mask))
    states[-1] = model.model.transformer.ln_f(states[-1])
    return Trace(model, trace.ids, torch.cat(states))


@torch.no_grad()
def one_by_one(trace: Trace, id: int) -> Tensor:
    """Log-probability of token `id` behind the text when each part alone is switched off.

    (n_layer, n_head + 1), float64, in nats; the last column are the MLPs. The parts of a layer are
    the rows of a batch that begins at that layer.
    """
    gpt2, length = trace.gpt2, len(trace)
    at_once = max(1, TOKENS_AT_ONCE // length)
    mask = causal_mask(length, trace.hidden)
    found = []
    parts = every_part(gpt2)
    for layer in counted(range(gpt2.n_layer), "layers"):
        of_layer = [part for part in parts if part.layer == layer]
        for start in range(0, len(of_layer), at_once):
            rows = of_layer[start : start + at_once]
            transformer = _without(gpt2, [[part] for part in rows]).model.transformer
            states = trace.hidden[layer].expand(len(rows), -1, -1)
            for block in transformer.h[layer:]:
                states = block(states, attention_mask=mask)
            logits = gpt2.model.lm_head(transformer.ln_f(states[:, -1]))
            found.append(logits.cpu().double().log_softmax(-1)[:, id])
    return torch.cat(found).unflatten(0, (gpt2.n_layer, -1))


def blocks_one_by_one(gpt2: Gpt2) -> int:
    """How many passes through a block `one_by_one` takes."""
    return (gpt2.n_head + 1) * gpt2.n_layer * (gpt2.n_layer + 1) // 2


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities of logits, in float64."""
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


@dataclass(frozen=True)
class Written:
    """A token of a continuation; `probability` is that under the raw logits."""

    id: int
    token: str
    probability: float


@dataclass(frozen=True, eq=False)
class Ablation:
    """The next token, and what follows, with and without some parts of the model.

    position: whose next token it is, counted from the start of the text.
    shown: the token at that position, as a person reads it.
    off: names of the parts that are switched off, such as "5.1" and "3.mlp".
    id, token: the token that the sweep is about, and its vocabulary string.
    logits_before, logits: (vocab_size,), float32, of the whole model, and with the parts off.
    kl_bits: divergence of the distribution after from the one before.
    tokens: vocabulary strings of the ids that are listed.
    how: the settings that the continuations are written with, in a few words.
    written_before, written: the continuations, token by token; empty if nothing is off.
    changes: (n_layer, n_head + 1), float64, in nats: by how much the token's log-probability
        changes when one part alone is off, in the last column the MLP; None without the sweep.
    """

    position: int
    shown: str
    off: tuple[str, ...]
    id: int
    token: str
    logits_before: np.ndarray
    logits: np.ndarray
    kl_bits: float
    tokens: dict[int, str]
    how: str
    written_before: tuple[Written, ...]
    written: tuple[Written, ...]
    changes: np.ndarray | None

    @property
    def logprobs_before(self) -> np.ndarray:
        """Log-probabilities of all tokens in the whole model: (vocab_size,), float64, in nats."""
        return log_softmax(self.logits_before)

    @property
    def logprobs(self) -> np.ndarray:
        """The same with the parts switched off."""
        return log_softmax(self.logits)

    @property
    def change(self) -> float:
        """By how much the chosen token's log-probability changes, in nats."""
        return float(self.logprobs[self.id] - self.logprobs_before[self.id])

    @property
    def formula(self) -> str:
        """The divergence and the change with their numbers; that token's term stands apart."""
        before, after = float(self.logprobs_before[self.id]), float(self.logprobs[self.id])
        name = label(readable(self.token))
        if not self.off:
            return f"log p({name}) = {signed(before)} nats"
        p, q = np.exp(before), np.exp(after)
        own = float(p * (before - after) / np.log(2))
        rest = self.kl_bits - own
        divergence = (
            f"D(p‖q) = {p:.3g} · log₂({p:.3g} / {q:.3g}) for {name} {'−' if rest < 0 else '+'} "
            f"{abs(rest):.3f} for all others = {self.kl_bits:.3f} bits"
        )
        less = f"({signed(before)})" if before < 0 else signed(before)
        change = f"log q − log p = {signed(after)} − {less} = {signed(self.change)} nats"
        return f"{divergence}\n{change}"

    @property
    def first_difference(self) -> int | None:
        """The first step at which the continuations have different tokens; None if none has."""
        longest = max(len(self.written_before), len(self.written))
        for step in range(longest):
            one, other = (each[step : step + 1] for each in (self.written_before, self.written))
            if [token.id for token in one] != [token.id for token in other]:
                return step
        return None
