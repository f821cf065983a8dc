r"""The logit lens on a whole stretch of text: what would each layer say behind each token?

A column is a position, a row a layer, and each cell has the token that would be most probable there
if the stream of vectors ended: the state $h_\ell$ that block $\ell$ reads goes through `ln_f` and
the token embeddings $E$ as only the last one does in the model,

$$p_\ell = \operatorname{softmax}(\operatorname{ln_f}(h_\ell) \cdot E^\top), \qquad
p(\text{token}) = e^{\,z - \log \Sigma}, \quad \Sigma = \sum_j e^{z_j}.$$

The top row is the embedding alone, the bottom row the model's real output. (transformers' last
hidden state has been through `ln_f` already, so there it is not applied again.) Read a column
downwards to see an answer come up: framed are the cells whose token is the one that is followed.
That is the token which wins in the column's last row, unless you write another one under *token*;
then the same is followed in all columns.

The colour says one of four things:

- *probability* of the cell's token;
- *rank* of the followed token in the cell, 1 being the most probable of the vocabulary;
- *entropy* $-\sum_i p_i \log_2 p_i$: how open the choice still is, in bits;
- *divergence* $D(p_\text{final} \,\|\, p_\ell)$: how far the layer is from the output, in bits.

Bright is sure, high or near, dark is open, low or far. All layers of a long text would be billions
of logits, so at most 24 positions around the one that all tabs look at are computed. The lines
above the picture are the formulas with the numbers of that position, for the first layer in which
the followed token stands as high as it ever does; the tab *Logit lens* has more of that one column.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpt2lab.examples import prompts
from gpt2lab.figures import label
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.lens import KEPT, MOVE, Followed, Readings, readings, window
from gpt2lab.lens_figure import row_names
from gpt2lab.lens_grid_figure import figure
from gpt2lab.one_token import one_token
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.scales import ENTROPY, MOST_BITS, Scale, scale_of_ranks
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe, readable
from gpt2lab.trace import Trace

DIVERGENCE = Scale(
    title="How far each layer is from the output",
    below="KL divergence from the output, in bits",
    written=".1f",
    place=lambda bits: 1 - bits / MOST_BITS,
    ticks=((0, f"≥ {MOST_BITS} bits"), *((1 - bits / MOST_BITS, f"{bits}") for bits in (5, 0))),
)
SURENESS = Scale(
    title="How probable each cell's token is there",
    below="probability of the cell's token",
    written=".0%",
    place=lambda probability: probability,
    ticks=((0, "0"), (0.5, "50%"), (1, "100%")),
)
OPENNESS = replace(ENTROPY, title="How open the choice still is", below="entropy, in bits")
COLOURS = ("probability", "rank", "entropy", "divergence")


@dataclass(frozen=True, eq=False)
class LensGrid(Readings):
    """The lens behind each position of a window, in all layers: see `Readings` for the numbers.

    start, length: the first position that is read, and how many tokens the text has.
    position: the one that is looked at, counted from the start of the text.
    colour: what the cells' colours say, one of `COLOURS`.
    followed: the token that all columns follow; None if each follows its own winner.
    text_tokens: (position,), vocabulary strings of the window's own tokens.
    tokens: vocabulary strings of all ids in the record.
    vocab_size: of the model, where ranks end.
    """

    start: int
    length: int
    position: int
    colour: str
    followed: int | None
    text_tokens: tuple[str, ...]
    tokens: dict[int, str]
    vocab_size: int

    @property
    def column(self) -> int:
        """Of the position that is looked at."""
        return self.position - self.start

    @property
    def scale(self) -> Scale:
        """From a cell's number to its colour."""
        if self.colour == "rank":
            ranks = scale_of_ranks(self.vocab_size)
            return replace(ranks, title="How high the followed token stands", below="its rank")
        return {"probability": SURENESS, "entropy": OPENNESS, "divergence": DIVERGENCE}[self.colour]

    @property
    def shares(self) -> np.ndarray:
        """Place of each cell's number on the scale of colours, (layer, position), from 0 to 1."""
        numbers = {
            "probability": self.probabilities[..., 0],
            "rank": self.followed_ranks,
            "entropy": self.entropy_bits,
            "divergence": self.kl_to_final_bits,
        }[self.colour]
        return np.vectorize(self.scale.share, otypes=[float])(numbers)

    @property
    def formula(self) -> str:
        """The lens with the numbers of the position that is looked at."""
        column = self.column
        id = int(self.followed_ids[column])
        return Followed(
            id=id,
            shown=label(readable(self.tokens[id])),
            logits=tuple(self.followed_logits[:, column].tolist()),
            log_totals=tuple(self.log_totals[:, column].tolist()),
            kl_to_final_bits=tuple(self.kl_to_final_bits[:, column].tolist()),
            ranks=tuple(self.followed_ranks[:, column].tolist()),
        ).formula

    @property
    def facts(self) -> str:
        """Which part of the text it is, and which token is followed."""
        last = self.start + len(self.text_tokens) - 1
        shown = f"positions {self.start:,} to {last:,} of {self.length:,}"
        if len(self.text_tokens) == self.length:
            shown = f"all {self.length:,} positions" if last else "the only position"
        if self.followed is None:
            return f"{shown} · framed: the token that wins in the column's output"
        return f"{shown} · framed: {label(readable(self.tokens[self.followed]))}"


def lens_grid(
    trace: Trace, position: int = -1, token: str = "", colour: str = "probability"
) -> LensGrid:
    """Read all layers behind up to 24 positions around `position` as if each were the last.

    `token` is the one to follow, its text or its vocabulary string; by default each position's
    winner.
    """
    if not isinstance(colour, str) or colour not in COLOURS:
        raise Refusal(f"colour is {quoted(colour)}, but must be one of {', '.join(COLOURS)}.")
    position = trace.position(position)
    followed = one_token(trace.gpt2, "token", token)
    shown = window(len(trace), position)
    found = readings(trace, shown, followed)
    ids = np.union1d(found.top_ids, found.followed_ids).tolist()
    own = trace.ids[shown.start : shown.stop].tolist()
    return LensGrid(
        **vars(found),
        start=shown.start,
        length=len(trace),
        position=position,
        colour=colour,
        followed=followed,
        text_tokens=describe(trace.gpt2, own).tokens,
        tokens=dict(zip(ids, describe(trace.gpt2, ids).tokens, strict=True)),
        vocab_size=trace.gpt2.vocab_size,
    )


def table(result: LensGrid) -> Table:
    """A row for each cell, column by column, as one reads the picture downwards."""
    layers, columns = result.entropy_bits.shape
    probabilities, of_followed = result.probabilities, result.followed_probabilities
    rows = []
    for column in range(columns):
        followed = int(result.followed_ids[column])
        for layer in range(layers):
            top = int(result.top_ids[layer, column, 0])
            rows.append(
                (
                    result.start + column,
                    readable(result.text_tokens[column]),
                    layer,
                    readable(result.tokens[top]),
                    top,
                    float(probabilities[layer, column, 0]),
                    float(result.entropy_bits[layer, column]),
                    float(result.kl_to_final_bits[layer, column]),
                    readable(result.tokens[followed]),
                    int(result.followed_ranks[layer, column]),
                    float(of_followed[layer, column]),
                )
            )
    headers = (
        "position", "behind", "layer", "most probable", "id", "probability", "entropy (bits)",
        "bits from the output", "followed", "its rank", "its probability",
    )  # fmt: skip
    return Table(headers, tuple(rows))


def answer(result: LensGrid) -> dict[str, Any]:
    """JSON of the endpoint: the window, and per layer one object for each of its positions."""
    layers, columns = result.entropy_bits.shape
    probabilities, of_followed = result.probabilities, result.followed_probabilities

    def cell(layer: int, column: int) -> dict[str, Any]:
        ids, shares = result.top_ids[layer, column], probabilities[layer, column]
        followed = int(result.followed_ids[column])
        return {
            "top": [
                {"id": id, "token": result.tokens[id], "probability": share}
                for id, share in zip(ids.tolist(), shares.tolist(), strict=True)
            ],
            "entropy_bits": float(result.entropy_bits[layer, column]),
            "kl_to_final_bits": float(result.kl_to_final_bits[layer, column]),
            "followed": {
                "id": followed,
                "token": result.tokens[followed],
                "probability": float(of_followed[layer, column]),
                "rank": int(result.followed_ranks[layer, column]),
            },
        }

    return {
        "positions": list(range(result.start, result.start + columns)),
        "length": result.length,
        "tokens": list(result.text_tokens),
        "formula": result.formula,
        "layers": [
            {"layer": layer, "cells": [cell(layer, column) for column in range(columns)]}
            for layer in range(layers)
        ],
    }


def interactive(result: LensGrid) -> dict[str, Any]:
    """What the page draws: numbers as (layer, position) lists, tokens by their ids."""
    return {
        "start": result.start,
        "length": result.length,
        "position": result.position,
        "move": MOVE,
        "facts": result.facts,
        "formula": result.formula,
        "scale": {"title": result.scale.title, "ticks": [list(one) for one in result.scale.ticks]},
        "layers": row_names(len(result.shares)),
        "text": [readable(token) for token in result.text_tokens],
        "shown": {str(id): readable(token) for id, token in result.tokens.items()},
        "shares": _short(result.shares),
        "ids": result.top_ids.tolist(),
        "logits": _short(result.logits),
        "totals": _short(result.log_totals),
        "entropies": _short(result.entropy_bits),
        "divergences": _short(result.kl_to_final_bits),
        "followed": result.followed_ids.tolist(),
        "followedLogits": _short(result.followed_logits),
        "ranks": result.followed_ranks.tolist(),
    }


def _short(values: np.ndarray) -> Any:
    """Nested lists of numbers, with two digits more than float32 has."""
    return np.vectorize(lambda one: float(f"{one:.9g}"), otypes=[float])(values).tolist()


def snippet(trace: Trace, position: int = -1, token: str = "", colour: str = "probability") -> str:
    """Code that binds `logits`, `entropy_bits`, `kl_to_final_bits` and `followed_ranks`."""
    shown = window(len(trace), trace.position(position))
    followed = one_token(trace.gpt2, "token", token)
    ids = "z[-1].argmax(-1)  # the output's own"
    if followed is not None:
        named = label(describe(trace.gpt2, [followed]).shown[0])
        ids = f"torch.full(({len(shown)},), {followed})  # the token {named!r}"
    return f"""{preamble(trace.gpt2, trace.ids[: shown.stop].tolist())}
with torch.no_grad():
    states = torch.cat(model(ids, output_hidden_states=True).hidden_states)[:, {shown.start}:]
    states[:-1] = model.transformer.ln_f(states[:-1])  # the last ones have been through ln_f
    z = model.lm_head(states).float()  # (n_layer + 1, positions, vocab_size)
log_p, bit = z.double().log_softmax(-1), torch.tensor(2.0).log()
(logits, top_ids), probabilities = z.topk({KEPT}), log_p.exp().topk({KEPT}).values
entropy_bits = -(log_p.exp() * log_p).sum(-1) / bit
kl_to_final_bits = (log_p[-1].exp() * (log_p[-1] - log_p)).sum(-1) / bit
followed_ids = {ids}
followed_ranks = (z > z.gather(-1, followed_ids.expand(len(z), -1)[..., None])).sum(-1) + 1
for layer, found in enumerate(zip(followed_ranks, probabilities[..., 0], kl_to_final_bits)):
    tokens = tokenizer.convert_ids_to_tokens(top_ids[layer, :, 0])
    print(layer, *tokens, *[numbers.numpy().round(3) for numbers in found])
"""


INSPECTION = Inspection(
    name="lens_grid",
    title="Lens grid",
    group="Layers",
    idea=__doc__ or "",
    compute=lens_grid,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("logits", "probabilities", "entropy_bits"),
    controls=(
        Control("position", "position", "around which a long text is read; -1 is its end", -1),
        Control("token", "text", 'the token to follow, such as " the"; empty: the winners', ""),
        Control("colour", "choice", "of the cells", "probability", choices=COLOURS),
    ),
    examples=prompts,
    interactive=interactive,
)
