r"""Who looks at whom.

In every layer each position asks a question of the positions before it. From its state, a head
computes a *query* $q$; from every earlier state, and from its own, a *key* $k$ and a *value* $v$.
How well query and key fit says how much of each value is fetched:

$$\text{weights} = \operatorname{softmax}\!\left(\frac{q \cdot k^\top}{\sqrt{d}}\right).$$

The map has one row for each token that looks (the query) and one column for each token that is
looked at (the key). Each row sums to 1. The upper right is empty because no token sees a later one.
Many heads put most of their weight on the very first token: that is where a head rests when it
finds nothing to fetch.

By default transformers uses a fast attention (SDPA) that never forms these weights and returns an
empty tuple for `output_attentions=True`; the code below asks for the `eager` one, which does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gpt2lab.examples import heads
from gpt2lab.figures import COLORMAP, new_figure, style, theme, token_ticks
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace

ALL_LABELS = 32
"""Up to so many tokens, every one gets its label; beyond, they are spread evenly."""


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """Attention weights of one head.

    tokens: (n,) vocabulary strings; shown: (n,) the same as a person reads them.
    weights: (query, key), float32, rows sum to 1, 0 for keys behind the query.
    """

    layer: int
    head: int
    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    weights: np.ndarray


def attention(trace: Trace, layer: int = 0, head: int = 0) -> AttentionMap:
    """Attention weights of one layer's head; both are counted from 0."""
    maps = trace.attention(layer)
    head = int(checked_number("head", head, 0, len(maps) - 1))
    described = describe(trace.gpt2, trace.ids.tolist())
    weights = maps[head].float().cpu().numpy()
    return AttentionMap(int(layer), head, described.tokens, described.shown, weights)


def figure(result: AttentionMap, dark: bool = False) -> Figure:
    """The map, queries downwards, keys to the right."""
    size = min(9.0, max(4.5, 0.3 * len(result.shown) + 2.5))
    drawing = new_figure(size + 1, size, dark)
    axes = drawing.subplots()
    ahead = np.triu(np.ones_like(result.weights, dtype=bool), 1)
    drawn = axes.imshow(
        np.ma.array(result.weights, mask=ahead),
        cmap=COLORMAP,
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set_title(f"layer {result.layer}, head {result.head}")
    axes.set_xlabel("key: the token that is looked at")
    axes.set_ylabel("query: the token that looks")
    most = ALL_LABELS if len(result.shown) <= ALL_LABELS else 16
    token_ticks(axes, "x", result.shown, most)
    token_ticks(axes, "y", result.shown, most)
    style(axes, dark)
    scale = drawing.colorbar(drawn, ax=axes, shrink=0.7, label="attention weight")
    scale.ax.yaxis.label.set_color(theme(dark).ink)
    scale.ax.tick_params(colors=theme(dark).ink)
    scale.outline.set_edgecolor(theme(dark).faint)
    return drawing


def table(result: AttentionMap) -> Table:
    """For each query the key with the largest weight, and the weight of the first token."""
    strongest = result.weights.argmax(-1)
    rows = tuple(
        (
            query,
            result.shown[query],
            int(key),
            result.shown[key],
            float(result.weights[query, key]),
            float(result.weights[query, 0]),
        )
        for query, key in enumerate(strongest)
    )
    headers = ("position", "query", "looks most at", "key", "weight", "weight of first token")
    return Table(headers, rows)


def answer(result: AttentionMap) -> dict[str, Any]:
    """JSON of the endpoint."""
    return {"tokens": list(result.tokens), "weights": result.weights.tolist()}


def snippet(trace: Trace, layer: int = 0, head: int = 0) -> str:
    """Code that binds `weights`, (query, key)."""
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
with torch.no_grad():
    attentions = model(ids, output_attentions=True).attentions
weights = attentions[{int(layer)}][0, {int(head)}]  # (query, key)
for query, row in zip(tokenizer.convert_ids_to_tokens(ids[0]), weights):
    print(f"{{query:>15}}", " ".join(f"{{weight:.3f}}" for weight in row))
"""


INSPECTION = Inspection(
    name="attention",
    title="Attention",
    group="Inside",
    idea=__doc__ or "",
    compute=attention,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("weights",),
    controls=(
        Control("layer", "layer", "counted from 0, the one nearest to the input"),
        Control("head", "head", "counted from 0"),
    ),
    examples=heads,
)
