"""All heads of a model at once: a small picture of each, and a few numbers that tell them apart.

Each number is a mean over queries, of what a query sees of the keys up to its own:

    entropy     how spread out the weights are, in bits; 0 if all weight is on one key
    distance    how many tokens back the head looks: Σ weight · (query − key)
    first       the weight on the first token, where a head rests when it finds nothing to fetch
    previous    the weight on the token just before the query
    itself      the weight on the query's own token
    induction   the weight on the tokens that followed the query's token when it came before

The mean of `first` runs over all queries but query 0, which sees nothing else; it is always that of
the weights as they are. The others run over the queries with a choice, those that see two keys or
more: all but query 0 as well and, where the first key is hidden, all but 0 and 1. Induction has
fewer: only the queries whose token has come before and was followed by something. A key counts for
induction if the token before the key is the query's, and if it is not the query itself; the weights
of several such keys add up. Where there is no such query there is no number: NaN.

Maps of 1,024 tokens and 144 heads have 604 MB. So the weights are computed some queries at a time
and no key ahead of them, which costs half as much, and only the pictures and the numbers stay.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import isqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from gpt2lab.first_key import without_first
from gpt2lab.trace import Trace, attention_weights, causal_mask

LARGEST_SIDE = 48
MOST_PIXELS = 400_000
"""In all pictures together: those of a model with very many heads are smaller."""
QUERIES_AT_ONCE = 64
LN_2 = float(np.log(2))


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number for each head: (n_layer, n_head) each, float64; NaN where no query has one."""

    entropy_bits: np.ndarray
    distance: np.ndarray
    first: np.ndarray
    previous: np.ndarray
    itself: np.ndarray
    induction: np.ndarray


@dataclass(frozen=True, eq=False)
class HeadSummary(Numbers):
    """What every head does.

    length: tokens of the text. hide_first: whether the first key is hidden, and each row of
        weights divided by what is left.
    block: how many tokens of the text a pixel's side stands for.
    thumbnails: (n_layer, n_head, side, side), float32. A pixel is the weight that the queries of
        its block give to all keys of its block together, a mean over queries and a sum over keys:
        so each row of pixels sums to 1 as a row of the map does, and with `block` 1 it is the map.
    """

    length: int
    hide_first: bool
    block: int
    thumbnails: np.ndarray


@torch.no_grad()
def head_summary(trace: Trace, hide_first: bool = False) -> HeadSummary:
    """Look at every head of every layer, one layer after the other."""
    gpt2, length = trace.gpt2, len(trace)
    most = max(1, min(LARGEST_SIDE, isqrt(MOST_PIXELS // (gpt2.n_layer * gpt2.n_head))))
    block = -(-length // most)
    text = _Text.of(trace, block)
    layers = [_layer(trace, layer, text, hide_first) for layer in range(gpt2.n_layer)]
    numbers = {
        one.name: np.stack([getattr(layer, one.name) for layer, _ in layers])
        for one in fields(Numbers)
    }
    return HeadSummary(
        **numbers,
        length=length,
        hide_first=hide_first,
        block=block,
        thumbnails=np.stack([pictures for _, pictures in layers]),
    )


@dataclass(frozen=True, eq=False)
class _Text:
    """What is the same for all layers: (n, n) each, query × key.

    mask: what is added to the scores. distance: query − key. induction: 1 for the keys that count.
    """

    block: int
    mask: Tensor
    distance: Tensor
    induction: Tensor

    @classmethod
    def of(cls, trace: Trace, block: int) -> "_Text":
        device = trace.hidden.device
        places = torch.arange(len(trace), device=device)
        ids = trace.ids.to(device)
        mask = causal_mask(len(trace), trace.hidden)
        return cls(block, mask, (places[:, None] - places).float(), induction_keys(ids).float())


def induction_keys(ids: Tensor) -> Tensor:
    """Whether the key follows an earlier place of the query's token: (query, key), bool."""
    before = pad(ids, (1, 0), value=-1)[:-1]
    return (ids[:, None] == before).tril(-1)


def _layer(trace: Trace, layer: int, text: _Text, hide_first: bool) -> tuple[Numbers, np.ndarray]:
    """Means over the queries, (n_head,) each, and the pictures, (n_head, side, side)."""
    found = [
        _of_queries(start, weights, text, hide_first)
        for start, weights in _rows(trace, layer, text)
    ]
    # One tensor for each of the numbers, (n_head, n); the last one is (n_head, n, side).
    *numbers, pixels = (torch.cat(parts, dim=1).cpu() for parts in zip(*found, strict=True))
    places = torch.arange(len(trace))
    over = {"first": places >= 1, "induction": (text.induction > 0).any(-1).cpu()}
    choice = places >= (2 if hide_first else 1)
    means = {
        one.name: values[:, over.get(one.name, choice)].double().mean(-1).numpy()
        for one, values in zip(fields(Numbers), numbers, strict=True)
    }
    blocks = pixels.split(text.block, dim=1)
    pictures = torch.stack([queries.mean(1) for queries in blocks], dim=1)
    return Numbers(**means), pictures.numpy()


def _rows(trace: Trace, layer: int, text: _Text) -> Iterator[tuple[int, Tensor]]:
    """The first of some queries, and their weights: (n_head, queries, keys up to the last)."""
    heads = trace.heads(layer)
    for start in range(0, len(trace), QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, len(trace))
        query, key = heads.query[:, :, start:stop], heads.key[:, :, :stop]
        mask = text.mask[:, :, start:stop, :stop]
        yield start, attention_weights(heads.module, query, key, mask)[0].float()


def _of_queries(start: int, weights: Tensor, text: _Text, hide_first: bool) -> tuple[Tensor, ...]:
    """The numbers of each query, (n_head, queries), and its row of pixels."""
    queries, keys = weights.shape[1:]
    first = weights[:, :, 0].clone()
    if hide_first:
        weights = without_first(weights)
    places = torch.arange(start, start + queries, device=weights.device).expand(len(weights), -1)
    at = (slice(start, start + queries), slice(0, keys))
    side = -(-len(text.distance) // text.block)
    filled = pad(weights, (0, side * text.block - keys))
    return (
        torch.special.entr(weights).sum(-1) / LN_2,
        (weights * text.distance[at]).sum(-1),
        first,
        _on(weights, (places - 1).clamp(min=0)),
        _on(weights, places),
        (weights * text.induction[at]).sum(-1),
        filled.unflatten(-1, (side, text.block)).sum(-1),
    )


def _on(weights: Tensor, keys: Tensor) -> Tensor:
    """Each query's weight on one key: (n_head, queries)."""
    return weights.gather(-1, keys[..., None])[..., 0]
