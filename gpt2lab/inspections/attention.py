r"""Who looks at whom.

In every layer each position asks a question of the positions before it. From its state, a head
computes a *query* $q$; from every earlier state, and from its own, a *key* $k$ and a *value* $v$.
How well query and key fit says how much of each value is fetched:

$$\text{weights} = \operatorname{softmax}\!\left(\frac{q \cdot k^\top}{\sqrt{d}}\right).$$

The map has one row for each token that looks (the query) and one column for each token that is
looked at (the key). Each row sums to 1. The upper right is empty because no token sees a later one.

Many heads put most of their weight on the very first token: that is where a head rests when it
finds nothing to fetch. It can be hidden, to see what the rest of the weight does: each row is then
divided by what is left of it, and the weight that was hidden is listed, because a row of which
nearly all is hidden says little. The first row sees nothing but itself, so it is empty then.

An average over heads, or over all layers, shows what a text is like, not what the model does: no
part of the model ever computes it.

By default transformers uses a fast attention (SDPA) that never forms these weights and returns an
empty tuple for `output_attentions=True`; the code below asks for the `eager` one, which does.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt2lab.attention_figure import draw_attention
from gpt2lab.examples import heads
from gpt2lab.first_key import without_first
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace

ONE_HEAD, LAYER, ALL_LAYERS = AVERAGES = ("one head", "heads of the layer", "all layers")
LONGEST_WINDOW = 1024


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """Attention weights of one head, or their mean over several.

    average: whose mean it is, one of AVERAGES. layer, head: those that it does not average over.
    position: the query that is looked at, counted from the start of the text.
    tokens: (n,) vocabulary strings; shown: (n,) the same as a person reads them.
    weights: (query, key), float32, 0 for keys behind the query; rows sum to 1, except those of
        which hiding the first key has left nothing: they are 0.
    unhidden: (query, key), float32, the weights before the first key was hidden.
    removed: (query,), float32, what each row lost by hiding it: 0 if it is not hidden.
    log_scale: whether colours are those of the logarithm.
    last: how many tokens at the end of the text are drawn; 0 for all.
    model, ids: what was read, in a form that can be asked for again.
    """

    model: str
    ids: tuple[int, ...]
    layers: int
    heads: int
    layer: int
    head: int
    average: str
    hide_first: bool
    log_scale: bool
    last: int
    position: int
    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    weights: np.ndarray
    unhidden: np.ndarray
    removed: np.ndarray

    @property
    def first_drawn(self) -> int:
        """The first position that is drawn."""
        return max(0, len(self.ids) - self.last) if self.last else 0

    @property
    def title(self) -> str:
        """Which weights they are."""
        return {
            ONE_HEAD: f"layer {self.layer}, head {self.head}",
            LAYER: f"layer {self.layer}, mean of its {self.heads} heads",
            ALL_LAYERS: f"mean of all {self.layers} layers, {self.heads} heads each",
        }[self.average]


def attention(
    trace: Trace,
    layer: int = 0,
    head: int = 0,
    position: int = -1,
    average: str = ONE_HEAD,
    hide_first: bool = False,
    log_scale: bool = False,
    last: int = 0,
) -> AttentionMap:
    """Attention weights of one layer's head, both counted from 0, or an average of several.

    `hide_first` leaves the first key out. `position`, `log_scale` and `last` only say what is
    looked at and how it is drawn.
    """
    gpt2 = trace.gpt2
    layer = int(checked_number("layer", layer, 0, gpt2.n_layer - 1))
    head = int(checked_number("head", head, 0, gpt2.n_head - 1))
    if average not in AVERAGES:
        raise Refusal(f"average is {quoted(average)}, but must be one of {', '.join(AVERAGES)}.")
    for name, switch in (("hide_first", hide_first), ("log_scale", log_scale)):
        if not isinstance(switch, bool):
            raise Refusal(f"{name} is {quoted(switch)}, but must be true or false.")
    unhidden = _weights(trace, layer, head, average)
    weights = without_first(unhidden) if hide_first else unhidden
    removed = unhidden[:, 0].clone() if hide_first else torch.zeros(len(trace))
    described = describe(gpt2, trace.ids.tolist())
    return AttentionMap(
        model=gpt2.name,
        ids=described.ids,
        layers=gpt2.n_layer,
        heads=gpt2.n_head,
        layer=layer,
        head=head,
        average=average,
        hide_first=hide_first,
        log_scale=log_scale,
        last=int(checked_number("last", last, 0, LONGEST_WINDOW)),
        position=trace.position(position),
        tokens=described.tokens,
        shown=described.shown,
        weights=weights.numpy(),
        unhidden=unhidden.numpy(),
        removed=removed.numpy(),
    )


def _weights(trace: Trace, layer: int, head: int, average: str) -> Tensor:
    """The weights that are asked for, or their mean: (query, key), float32, on the CPU."""
    if average == ONE_HEAD:
        return trace.attention(layer, head).float().cpu()
    layers = [layer] if average == LAYER else range(trace.gpt2.n_layer)
    # All maps of a long text would be larger than the model, so one is there at a time.
    shape = (len(trace), len(trace))
    total = torch.zeros(shape, dtype=torch.float32, device=trace.hidden.device)
    for one in layers:
        heads = trace.heads(one)
        for each in range(trace.gpt2.n_head):
            total += heads.attention(each)
    return (total / (len(layers) * trace.gpt2.n_head)).cpu()


def table(result: AttentionMap) -> Table:
    """For each query the key with the largest weight, and the weight that the first token has.

    Of a row that is empty, because its only key is hidden, there is no largest weight.
    """
    rows: list[tuple[str | float | int, ...]] = []
    for query in range(result.first_drawn, len(result.ids)):
        key = int(result.weights[query].argmax())
        weight, first = float(result.weights[query, key]), float(result.unhidden[query, 0])
        empty: tuple[str | int, str] = ("", "nothing but the first token")
        seen = (key, result.shown[key]) if weight else empty
        rows.append((query, result.shown[query], *seen, weight, first))
    last = "hidden: weight of first token" if result.hide_first else "weight of first token"
    headers = ("position", "query", "looks most at", "key", "weight", last)
    return Table(headers, tuple(rows))


def answer(result: AttentionMap) -> dict[str, Any]:
    """JSON of the endpoint."""
    return {
        "tokens": list(result.tokens),
        "weights": result.weights.tolist(),
        "layer": result.layer,
        "head": result.head,
        "average": result.average,
        "removed": result.removed.tolist(),
    }


def interactive(result: AttentionMap) -> dict[str, Any]:
    """What the page draws: the weights of every key up to its query, in float32."""
    return {
        "model": result.model,
        "ids": list(result.ids),
        "shown": list(result.shown),
        "layers": result.layers,
        "heads": result.heads,
        "layer": result.layer,
        "head": result.head,
        "average": result.average,
        "position": result.position,
        "hide_first": result.hide_first,
        "log_scale": result.log_scale,
        "first_drawn": result.first_drawn,
        "weights": triangle(result.unhidden),
    }


def triangle(weights: np.ndarray) -> str:
    """The lower triangle, row by row, as base64 of float32 with the lowest byte first.

    >>> np.frombuffer(base64.b64decode(triangle(np.array([[1.0, 0.0], [0.75, 0.25]]))), "<f4")
    array([1.  , 0.75, 0.25], dtype=float32)
    """
    lower = weights[np.tri(len(weights), dtype=np.bool_)]
    return base64.b64encode(lower.astype("<f4").tobytes()).decode()


def snippet(
    trace: Trace,
    layer: int = 0,
    head: int = 0,
    position: int = -1,
    average: str = ONE_HEAD,
    hide_first: bool = False,
    log_scale: bool = False,
    last: int = 0,
) -> str:
    """Code that binds `weights`, (query, key), and if the first key is hidden `removed`."""
    chosen = {
        ONE_HEAD: f"attentions[{int(layer)}][0, {int(head)}].float()",
        LAYER: f"attentions[{int(layer)}][0].float().mean(0)",
        ALL_LAYERS: "torch.stack([one[0].float().mean(0) for one in attentions]).mean(0)",
    }[average]
    hiding = """
removed = weights[:, 0].clone()
weights[:, 0] = 0
weights = (weights / weights.sum(-1, keepdim=True)).nan_to_num()  # 0 / 0: nothing is left
"""
    drawn = f"[-{int(last)}:]" if last else ""
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
with torch.no_grad():
    attentions = model(ids, output_attentions=True).attentions
weights = {chosen}  # (query, key){hiding.rstrip() if hide_first else ""}
for query, row in list(zip(tokenizer.convert_ids_to_tokens(ids[0]), weights)){drawn}:
    print(f"{{query:>15}}", " ".join(f"{{weight:.3f}}" for weight in row{drawn}))
"""


INSPECTION = Inspection(
    name="attention",
    title="Attention",
    group="Heads",
    idea=__doc__ or "",
    compute=attention,
    figure=draw_attention,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("weights",),
    controls=(
        Control("layer", "layer", "counted from 0, the one nearest to the input"),
        Control("head", "head", "counted from 0"),
        Control("position", "position", "whose row is looked at; -1 is the end of the text", -1),
        Control("average", "choice", "whose weights", ONE_HEAD, choices=AVERAGES),
        Control("hide_first", "switch", "hide the first key, scale the rest to 1", False),
        Control("log_scale", "switch", "colours of the logarithm", False),
        Control("last", "number", "draw only so many tokens; 0 is all", 0, high=LONGEST_WINDOW),
    ),
    examples=heads,
    interactive=interactive,
    arrays=lambda result: {"weights": result.weights, "removed": result.removed},
)
