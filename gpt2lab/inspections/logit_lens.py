r"""What would the model say if it stopped here?

GPT-2 turns only its last state into logits: the final normalization `ln_f`, then the token
embeddings $E$. But every block reads from and adds to the same stream of vectors, so the same can
be done to an earlier state $h_\ell$. This is the *logit lens* (nostalgebraist, 2020):

$$z_\ell = \operatorname{ln_f}(h_\ell) \cdot E^\top, \qquad
p_\ell = \operatorname{softmax}(z_\ell).$$

Each row of the picture is one layer, at one position of the text: the tokens that would be most
probable behind it if the stream ended there. Row $\ell$ looks at what block $\ell$ reads, so row 0
is the embedding alone, before any block; the last row is the model's real output. The token that
wins in the end is framed, so that one sees when it comes up; its rank is on the right, 1 being the
most probable of all 50,257.

How far a layer still is from the end, in bits, says the Kullback-Leibler divergence

$$D(p_\text{final} \,\|\, p_\ell) = \sum_i p_\text{final}(i)\,
\log_2 \frac{p_\text{final}(i)}{p_\ell(i)},$$

the price of expecting $p_\ell$ when $p_\text{final}$ is true: 0 where both agree. Nobody trained
the inner states to be read in this way, so take early rows as a hint, not as what the model
"believes".

Mind the last of transformers' `hidden_states`: it has gone through `ln_f` already. Normalizing it
once more gives other logits than the model's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from gpt2lab.figures import COLORMAP, bars, ink_on, label, new_figure, style, theme
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe, readable
from gpt2lab.trace import Trace

MOST_SHOWN = 10
WIDE_CELLS, CELL, NARROW_CELL = 5, 1.3, 1.05
"""Up to five columns are wide, more are narrow: inches."""
LN_2 = float(np.log(2))


@dataclass(frozen=True, eq=False)
class LogitLens:
    """What each layer would predict at one position.

    position: whose next token it is, counted from the start of the text.
    shown: the token at that position, as a person reads it.
    logits: (n_layer + 1, vocab_size), float32; row `layer` is read off the input of block `layer`,
        the last row is the model's output.
    final_id: the token that is most probable in the last row.
    final_ranks: (n_layer + 1,), its rank in each row, 1 for the most probable.
    kl_to_final_bits: (n_layer + 1,), float64, divergence of each row from the last, in bits.
    show: how many of each row's most probable tokens the figure, the table and the answer list.
    tokens: vocabulary strings of the ids that are among them in any row.
    """

    position: int
    shown: str
    logits: np.ndarray
    final_id: int
    final_ranks: np.ndarray
    kl_to_final_bits: np.ndarray
    show: int
    tokens: dict[int, str]

    def probabilities(self, layer: int) -> np.ndarray:
        """Softmax over the whole vocabulary: (vocab_size,), sums to 1."""
        return torch.from_numpy(self.logits[layer]).softmax(-1).numpy()

    def top(self, layer: int) -> list[int]:
        """The `show` most probable ids of a row, the lower id first among equals."""
        return _order(self.logits[layer])[: self.show].tolist()


def logit_lens(trace: Trace, position: int = -1, show: int = 5) -> LogitLens:
    """Read the stream behind `position` after every layer as if it were the last."""
    show = int(checked_number("show", show, 1, MOST_SHOWN))
    position = trace.position(position)
    rows = [trace.lens(layer, position) for layer in range(trace.gpt2.n_layer + 1)]
    logits = torch.stack(rows).cpu()
    log_p = logits.double().log_softmax(-1)
    bits = (log_p[-1].exp() * (log_p[-1] - log_p)).sum(-1).clamp(min=0) / LN_2
    scores = logits.numpy()
    orders = [_order(row) for row in scores]
    final = int(orders[-1][0])
    listed = np.unique([order[:show] for order in orders]).tolist()
    return LogitLens(
        position=position,
        shown=describe(trace.gpt2, [int(trace.ids[position])]).shown[0],
        logits=scores,
        final_id=final,
        final_ranks=np.array([int((order == final).argmax()) + 1 for order in orders]),
        kl_to_final_bits=bits.numpy(),
        show=show,
        tokens=dict(zip(listed, describe(trace.gpt2, listed).tokens, strict=True)),
    )


def _order(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")


def figure(result: LogitLens, dark: bool = False) -> Figure:
    """A row per layer: its most probable tokens, how far it is from the end, the winner's rank."""
    rows = len(result.logits)
    cells = max(2.0, _cell(result.show) * result.show)
    drawing = new_figure(cells + 3.4, 0.26 * rows + 1.6, dark)
    grid, distance = drawing.subplots(1, 2, width_ratios=[cells, 1.9])
    _draw_cells(grid, result, dark)
    title = f"tokens behind position {result.position}, {label(result.shown)}, read off each layer"
    drawing.suptitle(title, color=theme(dark).ink, fontsize=11, parse_math=False)
    ranks = [f"{rank:,}" for rank in result.final_ranks]
    bars(distance, ranks, result.kl_to_final_bits.tolist(), dark)
    distance.set_title("away from the output")
    distance.set_xlabel("KL divergence, bits")
    distance.yaxis.tick_right()
    distance.yaxis.set_label_position("right")
    distance.set_ylabel(
        f"rank of {label(readable(result.tokens[result.final_id]))}", parse_math=False
    )
    distance.set_ylim(rows - 0.5, -0.5)
    style(distance, dark)
    distance.tick_params(axis="y", length=0)
    return drawing


def _draw_cells(axes: Axes, result: LogitLens, dark: bool) -> None:
    """The grid layer × rank, each cell with its token and probability, coloured by the latter."""
    colours = theme(dark)
    ids = [result.top(layer) for layer in range(len(result.logits))]
    shares = np.stack([result.probabilities(layer)[top] for layer, top in enumerate(ids)])
    axes.imshow(shares, cmap=COLORMAP, vmin=0, vmax=1, aspect="auto")
    for (layer, place), share in np.ndenumerate(shares):
        id = ids[layer][place]
        common: dict[str, Any] = {"color": ink_on(share), "va": "center_baseline"}
        text = _short(readable(result.tokens[id]), int(8.5 * _cell(result.show)))
        axes.text(place - 0.45, layer, text, fontsize=8, parse_math=False, **common)
        axes.text(place + 0.45, layer, _percent(share), fontsize=6.5, ha="right", **common)
        if id == result.final_id:
            frame = Rectangle((place - 0.48, layer - 0.44), 0.96, 0.88, fill=False, zorder=3)
            frame.set(edgecolor="white", linewidth=1.4)
            frame.set_path_effects([withStroke(linewidth=3, foreground="black")])
            axes.add_patch(frame)
    axes.set_title("most probable" if result.show == 1 else "most probable, from left to right")
    axes.set_xticks(range(result.show), [f"{place + 1}" for place in range(result.show)])
    axes.set_xlabel("rank in the layer")
    last = len(ids) - 1
    names = {0: "embedding  0", last: f"output  {last}"}
    axes.set_yticks(range(last + 1), [names.get(layer, f"{layer}") for layer in range(last + 1)])
    axes.set_ylabel("layer")
    style(axes, dark)
    axes.tick_params(length=0)
    axes.set_yticks(np.arange(last) + 0.5, minor=True)
    axes.set_xticks(np.arange(result.show - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=colours.paper, linewidth=1)
    axes.tick_params(which="minor", length=0)


def _cell(show: int) -> float:
    return CELL if show <= WIDE_CELLS else NARROW_CELL


def _short(shown: str, room: int) -> str:
    text = label(shown)
    return text if len(text) <= room else text[: room - 1] + "…"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else "<0.1%"


def table(result: LogitLens) -> Table:
    """A row for each token of the picture, with the layer's distance and the winner's rank."""
    rows: list[tuple[str | float | int, ...]] = []
    for layer, bits in enumerate(result.kl_to_final_bits.tolist()):
        probabilities = result.probabilities(layer)
        for rank, id in enumerate(result.top(layer), start=1):
            token, probability = readable(result.tokens[id]), float(probabilities[id])
            of_winner = int(result.final_ranks[layer])
            rows.append((layer, rank, token, id, probability, bits, of_winner))
    winner = f"rank of {readable(result.tokens[result.final_id])}"
    headers = ("layer", "rank", "token", "id", "probability", "bits from the output", winner)
    return Table(headers, tuple(rows))


def answer(result: LogitLens) -> dict[str, Any]:
    """JSON of the endpoint: per layer the top tokens and the divergence."""
    layers = []
    for layer, bits in enumerate(result.kl_to_final_bits.tolist()):
        probabilities = result.probabilities(layer)
        top = [
            {"id": id, "token": result.tokens[id], "probability": float(probabilities[id])}
            for id in result.top(layer)
        ]
        layers.append({"layer": layer, "top": top, "kl_to_final_bits": bits})
    return {"layers": layers}


def snippet(trace: Trace, position: int = -1, show: int = 5) -> str:
    """Code that binds `logits`, (n_layer + 1, vocab_size), and `kl_to_final_bits`."""
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
with torch.no_grad():
    hidden_states = model(ids, output_hidden_states=True).hidden_states
    states = torch.stack([state[0, {trace.position(position)}] for state in hidden_states])
    states[:-1] = model.transformer.ln_f(states[:-1])  # the last one has been through ln_f
    logits = model.lm_head(states).float()  # (n_layer + 1, vocab_size)
log_p = logits.double().log_softmax(-1)
kl_to_final_bits = (log_p[-1].exp() * (log_p[-1] - log_p)).sum(-1) / torch.tensor(2.0).log()
for layer, row in enumerate(log_p.exp()):
    top = row.topk({int(show)})
    tokens = tokenizer.convert_ids_to_tokens(top.indices)
    shown = [f"{{token}} {{p:.3f}}" for token, p in zip(tokens, top.values)]
    print(layer, f"{{kl_to_final_bits[layer]:.3f}} bits", *shown)
"""


INSPECTION = Inspection(
    name="logit_lens",
    title="Logit lens",
    group="Inside",
    idea=__doc__ or "",
    compute=logit_lens,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("logits",),
    controls=(
        Control("position", "position", "whose next token; -1 is the end of the text", -1),
        Control("show", "number", "how many tokens of each layer", 5, low=1, high=MOST_SHOWN),
    ),
)
