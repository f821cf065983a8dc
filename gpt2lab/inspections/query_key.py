r"""Where one attention weight comes from.

A weight of an attention map is the end of a short calculation. Query $i$ and key $j$ are vectors of
$d$ numbers, and how well they fit is their product, a sum of $d$ products. Divided by $\sqrt d$ it
is the *score*:

$$s_{ij} = \frac{q_i \cdot k_j}{\sqrt d} = \frac{1}{\sqrt d} \sum_{c=1}^{d} q_{ic}\,k_{jc}.$$

(A model can be configured to divide by the number of its layer as well, or not to divide at all;
the factor shown is the one that this model uses.) The *mask* then takes away the keys behind the
query: their score becomes the lowest number there is. Softmax turns the row of scores into weights
that sum to 1: a numerator for each key, and one denominator for all of them,

$$a_{ij} = \frac{e^{s_{ij}}}{\sum_{j' \le i} e^{s_{ij'}}}.$$

So a weight says little about its own score: it depends on what else there is to look at.

The weight is not yet what the key contributes. What the head fetches from there is $a_{ij} v_j$,
and it reaches the stream through the head's own rows of the output projection, $W_O$:

$$\Big\lVert a_{ij}\, v_j\, W_O \Big\rVert$$

is how long the vector is that key $j$ adds at position $i$. Where a head rests on the first token,
the value there is often short: much weight, and almost nothing written (Kobayashi et al.,
*Attention is not only a weight*, 2020). The sum of these vectors over all keys and heads, and the
projection's bias, is exactly what the layer's attention adds to the stream.
"""

from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
import torch

from gpt2lab.examples import heads
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.query_key_figure import figure
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import preamble
from gpt2lab.softmax_formula import signed, subscript
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace, attention_weights, causal_mask

LARGEST_WEIGHT = -1
"""Instead of a key: the one with the largest weight, the first among equals."""
FARTHEST_POWER = 700.0
"""Powers of e beyond it do not fit into a float."""


@dataclass(frozen=True, eq=False)
class QueryKey:
    """One query and one key of a head, and beside them all keys that the query can see.

    layer, head, position, key: which pair; positions are counted from the start of the text.
    shown: (n,) the tokens up to the later of the two, as a person reads them.
    products: (head size,), float32, the numbers that sum to query · key.
    scaling: what that sum is multiplied with, which gives the score.
    scores: (n,), float32, of this query with every key, before the mask.
    weights: (n,), float32, attention weights: 0 for keys behind the query.
    fetched: (n, n_embd), float32, what a weight of 1 on a key would add to the stream: v · W_O.
    """

    layer: int
    head: int
    position: int
    key: int
    shown: tuple[str, ...]
    products: np.ndarray
    scaling: float
    scores: np.ndarray
    weights: np.ndarray
    fetched: np.ndarray

    @property
    def masked(self) -> bool:
        """Whether the key is behind the query, where no query looks."""
        return self.key > self.position

    @property
    def dot(self) -> float:
        """query · key."""
        return float(self.products.sum(dtype=np.float64))

    @property
    def log_total(self) -> float:
        """Logarithm of softmax' denominator: over the keys that the query sees."""
        seen = self.scores[: self.position + 1].astype(np.float64)
        return float(seen.max() + np.log(np.exp(seen - seen.max()).sum()))

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of `fetched`: (n,), float32."""
        return np.linalg.norm(self.fetched, axis=-1)

    @property
    def norms(self) -> np.ndarray:
        """Lengths of what each key adds to the stream: (n,), float32."""
        return self.weights * self.lengths

    @property
    def formula(self) -> tuple[str, ...]:
        """The calculation with its numbers, a line a step."""
        query, key = subscript(self.position), subscript(self.key)
        size, layer = len(self.products), self.layer + 1
        root = size**-0.5
        # What a model divides by depends on two settings of its configuration.
        divisor = {1 / layer: f"{layer}", 1.0: "1", root / layer: f"(√{size} · {layer})"}
        by = {**divisor, root: f"√{size}"}[self.scaling]
        score, weight = float(self.scores[self.key]), float(self.weights[self.key])
        lines = [
            f"q{query} · k{key} = sum of {size} products = {signed(self.dot)}",
            f"score = q{query} · k{key} / {by} = {signed(score)}",
        ]
        if self.masked:
            lines.append(
                f"mask: key {self.key} comes after query {self.position}, so its score becomes −∞"
            )
            lines.append("weight a = exp(−∞) / Σ = 0")
        else:
            lines.append(
                f"mask: key {self.key} does not come after query {self.position}, its score stays"
            )
            lines.append(
                f"weight a = exp({signed(score)}) / Σ = {_power(score)} / {_power(self.log_total)}"
                f" = {weight:.4g},   Σ: the sum of exp(score) over keys 0 to {self.position}"
            )
        length, norm = float(self.lengths[self.key]), float(self.norms[self.key])
        lines.append(
            f"written: ‖a · v{key} · W_O‖ = {weight:.4g} · {length:.4g} = {norm:.4g},"
            f"   {_percent(norm, self.norms)} of the lengths of all keys"
        )
        return tuple(lines)


def _power(exponent: float) -> str:
    """e to that power, as a number if a float can be that large or small."""
    if abs(exponent) < FARTHEST_POWER:
        return f"{exp(exponent):.4g}"
    return f"e^({signed(exponent)})"


def _percent(part: float, parts: np.ndarray) -> str:
    total = float(parts.sum())
    return f"{part / total if total else 0:.1%}"


@torch.no_grad()
def query_key(
    trace: Trace, layer: int = 0, head: int = 0, position: int = -1, key: int = LARGEST_WEIGHT
) -> QueryKey:
    """Follow one attention weight, by default the query's largest, from q and k to what it adds."""
    gpt2 = trace.gpt2
    layer = int(checked_number("layer", layer, 0, gpt2.n_layer - 1))
    head = int(checked_number("head", head, 0, gpt2.n_head - 1))
    position = trace.position(position)
    key = int(checked_number("key", key, LARGEST_WEIGHT, len(trace) - 1))
    seen = trace.prefix(max(position, key) + 1)
    attention = gpt2.model.transformer.h[layer].attn
    queries, keys, values = seen.queries_keys_values(layer)
    row = slice(position, position + 1)
    mask = causal_mask(len(seen), seen.hidden)[:, :, row]
    weights = attention_weights(attention, queries[:, :, row], keys, mask)[0, head, 0]
    if key == LARGEST_WEIGHT:
        key = int(weights.argmax())
    query, keys, values = queries[0, head, position], keys[0, head], values[0, head]
    # The head's own rows of the output projection, which all heads of a layer share.
    rows = slice(head * len(query), (head + 1) * len(query))
    fetched = values.float() @ attention.c_proj.weight[rows].float()
    return QueryKey(
        layer=layer,
        head=head,
        position=position,
        key=key,
        shown=describe(gpt2, seen.ids.tolist()).shown,
        products=(query * keys[key]).float().cpu().numpy(),
        scaling=float(attention.scaling),
        scores=(keys @ query * attention.scaling).float().cpu().numpy(),
        weights=weights.float().cpu().numpy(),
        fetched=fetched.cpu().numpy(),
    )


def table(result: QueryKey) -> Table:
    """One row per key that the query sees, and one for a masked key that is looked at."""
    places = [*range(result.position + 1), *([result.key] if result.masked else [])]
    dots, lengths, norms = result.scores / result.scaling, result.lengths, result.norms
    columns = (dots, result.scores, result.weights, lengths, norms)
    rows = tuple(
        (place, result.shown[place], *(float(one[place]) for one in columns)) for place in places
    )
    headers = (
        "key", "token", "q · k", "score", "weight", "‖v · W_O‖", "written: ‖weight · v · W_O‖",
    )  # fmt: skip
    return Table(headers, rows)


def answer(result: QueryKey) -> dict[str, Any]:
    """JSON of the endpoint: the pair, and the row of its query, an entry for each key."""
    return {
        "layer": result.layer,
        "head": result.head,
        "position": result.position,
        "key": result.key,
        "masked": result.masked,
        "products": result.products.tolist(),
        "dot": result.dot,
        "scaling": result.scaling,
        "log_total": result.log_total,
        "formula": list(result.formula),
        "keys": list(result.shown),
        "scores": result.scores.tolist(),
        "weights": result.weights.tolist(),
        "norms": result.norms.tolist(),
    }


def interactive(result: QueryKey) -> dict[str, Any]:
    """For the page: the calculation, and a row for each key; numbers to six digits."""

    def short(values: np.ndarray) -> list[float]:
        return [float(f"{one:.6g}") for one in values.tolist()]

    return {
        "layer": result.layer,
        "head": result.head,
        "position": result.position,
        "key": result.key,
        "shown": list(result.shown),
        "formula": list(result.formula),
        "products": short(result.products),
        "scores": short(result.scores),
        "weights": short(result.weights),
        "norms": short(result.norms),
    }


def snippet(
    trace: Trace, layer: int = 0, head: int = 0, position: int = -1, key: int = LARGEST_WEIGHT
) -> str:
    """Code that binds `products`, `scores`, `weights` and `norms`."""
    query = trace.position(position)
    length = max(query, int(key)) + 1
    size = trace.gpt2.n_embd // trace.gpt2.n_head
    own = slice(head * size, (head + 1) * size)
    chosen = "weights.argmax()" if key == LARGEST_WEIGHT else f"{int(key)}"
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
attention, ln_1 = model.transformer.h[{int(layer)}].attn, model.transformer.h[{int(layer)}].ln_1
with torch.no_grad():
    x = model(ids, output_hidden_states=True).hidden_states[{int(layer)}][0, :{length}]
    q, k, v = (part[:, {own.start}:{own.stop}] for part in attention.c_attn(ln_1(x)).chunk(3, -1))
    scores = k @ q[{query}] * attention.scaling  # 1 / √{size}, unless the configuration differs
    behind = torch.arange({length}) > {query}
    weights = scores.masked_fill(behind, -torch.inf).softmax(-1)
    products = q[{query}] * k[{chosen}]
    norms = (weights[:, None] * v @ attention.c_proj.weight[{own.start}:{own.stop}]).norm(dim=-1)
print("q · k", products.sum().item(), "of", products)
tokens = tokenizer.convert_ids_to_tokens(ids[0])
print(*zip(tokens, scores.tolist(), weights.tolist(), norms.tolist()), sep="\\n")
"""


INSPECTION = Inspection(
    name="query_key",
    title="One pair",
    group="Heads",
    idea=__doc__ or "",
    compute=query_key,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("products", "scores", "weights", "norms"),
    controls=(
        Control("layer", "layer", "counted from 0, the one nearest to the input"),
        Control("head", "head", "counted from 0"),
        Control("position", "position", "of the query; -1 is the end of the text", -1),
        Control(
            "key",
            "key",
            "position of the key; -1: the one with the largest weight",
            LARGEST_WEIGHT,
            low=LARGEST_WEIGHT,
        ),
    ),
    examples=heads,
    interactive=interactive,
)
