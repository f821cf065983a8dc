r"""The stream of vectors that runs through the model.

Every token enters GPT-2 as one vector, and every block adds something to it. transformers returns
these vectors under `output_hidden_states=True`: a tuple of `n_layer + 1` tensors, each of shape
(texts, tokens, `n_embd`). For one text and GPT-2 small that is 13 × 1 × $n$ × 768:

$$h_0 = E[\text{id}] + P[\text{position}], \qquad
h_{\ell+1} = \operatorname{block}_\ell(h_\ell), \qquad
h_N = \operatorname{ln_f}\big(\operatorname{block}_{N-1}(h_{N-1})\big).$$

So these are not "the outputs of the layers". The first is the embedding, before any block, which is
why there is one more than there are blocks. And the last has been through the final normalization
`ln_f`, since that is what the logits are made of; what the last block itself gave out is not in the
tuple. This is why the norms of the last row do not go on where the row before it ended.

The upper map shows how long each vector is, its *norm* $\lVert h_\ell \rVert$, on a logarithmic
scale: blocks add up, so vectors grow, and in OpenAI's GPT-2 the first token's becomes far longer
than all others. The lower one shows how much each already points where it will point in the end,

$$\cos(h_\ell, h_N) = \frac{h_\ell \cdot h_N}{\lVert h_\ell \rVert \, \lVert h_N \rVert},$$

1 for the same direction, 0 for a right angle.

`generate` returns hidden states too, once per step, and only the first step's have the prompt's $n$
positions. In every later one there is a single position, the token that was just written: the keys
and values of those before it wait in the cache, and since no token sees a later one, their states
would come out as before. Put together along the positions they are the states of one pass over
the whole text, but for its last token, which was written and never read.

The download in NumPy's format has all of them, with every digit: `np.load("hidden_states.npz")` is
a mapping, whose `"hidden_states"` has the shape above.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from gpt2lab.examples import prompts
from gpt2lab.figures import COLORMAP, ink_on, label, new_figure, style, theme, token_ticks
from gpt2lab.inspection import Inspection, Table
from gpt2lab.snippets import preamble
from gpt2lab.softmax_formula import subscript
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace

ALL_LABELS = 48
"""Up to so many tokens, every one gets its label; beyond, they are spread evenly."""
SPREAD_LABELS = 28
LAYER_LABELS = 13
FEW_TOKENS, FEW_LAYERS = 16, 25
"""Up to so many, the cells are large enough for their numbers."""
SHARP_TOKENS = 256
"""Up to so many, a token is some pixels wide. Beyond, the colours of neighbours are mixed where
they share a pixel, so that no token is lost; dropping some would be the alternative."""
FINER = 10
"""Lines of the image per layer, so that mixing tokens never mixes layers."""


@dataclass(frozen=True, eq=False)
class HiddenStates:
    """Length and direction of every state.

    hidden: (n_layer + 1, n, n_embd), the states: the trace's own tensor, since a copy of it is only
        needed if somebody wants to take it along.
    shown: (n,) tokens as a person reads them.
    norms: (layer, position), float32, Euclidean length of each state; n_layer + 1 rows.
    cosine_to_final: (layer, position), float32, from -1 to 1: cosine of the angle between a state
        and the last one of its position, which is the one after `ln_f`.
    """

    hidden: Tensor
    shown: tuple[str, ...]
    norms: np.ndarray
    cosine_to_final: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n_layer + 1, 1, n, n_embd), of what transformers returns for this one text."""
        layers, length, width = self.hidden.shape
        return layers, 1, length, width

    @property
    def formula(self) -> str:
        """The cosine of the text's last token in the middle of the model, with its numbers."""
        last, middle = len(self.norms) - 1, len(self.norms) // 2
        norm, final = (float(self.norms[layer, -1]) for layer in (middle, last))
        cosine = float(self.cosine_to_final[middle, -1])
        one, other = f"h{subscript(middle)}", f"h{subscript(last)}"
        return (
            f"{label(self.shown[-1])}:  {one} · {other} / (‖{one}‖ ‖{other}‖) = "
            f"{cosine * norm * final:.4g} / ({norm:.4g} · {final:.4g}) = {cosine:.3f}"
        )


@torch.no_grad()
def hidden_states(trace: Trace) -> HiddenStates:
    """Norms of all states, and how far each has turned to where it ends."""
    final = trace.hidden[-1].float()
    norms = [state.float().norm(dim=-1) for state in trace.hidden]
    cosines = [torch.cosine_similarity(state.float(), final, dim=-1) for state in trace.hidden]
    return HiddenStates(
        hidden=trace.hidden,
        shown=describe(trace.gpt2, trace.ids.tolist()).shown,
        norms=torch.stack(norms).cpu().numpy(),
        cosine_to_final=torch.stack(cosines).cpu().numpy(),
    )


def figure(result: HiddenStates, dark: bool = False) -> Figure:
    """Two maps layer × position: the norms above, the cosines below."""
    layers, length = result.norms.shape
    width = min(10.0, max(5.5, 0.5 * length + 2.5))
    height = min(5.5, max(1.8, 0.22 * layers))
    drawing = new_figure(width, 2 * height + 1.6, dark)
    above, below = drawing.subplots(2, 1, sharex=True)
    low = max(float(result.norms.min()), 1e-6)
    high = max(float(result.norms.max()), 1.01 * low)
    scale = _draw_map(drawing, above, result.norms, LogNorm(low, high), ".3g", dark)
    ticks = np.geomspace(low, high, 5)
    scale.set_ticks(ticks.tolist(), labels=[f"{tick:.3g}" for tick in ticks])
    scale.minorticks_off()
    above.set_title("norm of each state (logarithmic colours)")
    lowest = min(0.0, float(result.cosine_to_final.min()))
    _draw_map(drawing, below, result.cosine_to_final, Normalize(lowest, 1), "z.2f", dark)
    title = f"cosine to the last state of the same token\n{result.formula}"
    below.set_title(title, parse_math=False)
    token_ticks(below, "x", result.shown, ALL_LABELS if length <= ALL_LABELS else SPREAD_LABELS)
    below.set_xlabel("token, in the text's order")
    for axes in (above, below):
        style(axes, dark)
    above.tick_params(axis="x", length=0)
    return drawing


def _draw_map(
    drawing: Figure,
    axes: Axes,
    values: np.ndarray,
    scale: Normalize,
    written: str,
    dark: bool,
) -> Colorbar:
    """One map with the embedding on top and the state after ln_f at the bottom."""
    colours = theme(dark)
    layers, length = values.shape
    drawn = axes.imshow(
        np.repeat(values, FINER, axis=0),
        cmap=COLORMAP,
        norm=scale,
        aspect="auto",
        interpolation="nearest" if length <= SHARP_TOKENS else "auto",
        interpolation_stage="rgba",
        extent=(-0.5, length - 0.5, layers - 0.5, -0.5),
    )
    if length <= FEW_TOKENS and layers <= FEW_LAYERS:
        for (layer, position), value in np.ndenumerate(values):
            cell = axes.text(
                position, layer, f"{float(value):{written}}", color=ink_on(scale(value))
            )
            cell.set(ha="center", va="center_baseline", fontsize=7)
    last = layers - 1
    every = -(-layers // LAYER_LABELS)
    places = [*range(0, last - every + 1, every), last]
    names = {0: "embedding  0", last: f"after ln_f  {last}"}
    axes.set_yticks(places, [names.get(place, f"{place}") for place in places])
    axes.set_ylabel("layer")
    bar = drawing.colorbar(drawn, ax=axes, pad=0.015, fraction=0.05, aspect=14)
    bar.ax.tick_params(colors=colours.ink, labelsize=8)
    bar.outline.set_edgecolor(colours.faint)
    return bar


def table(result: HiddenStates) -> Table:
    """A row per layer: what its states are, how long they are and where they point."""
    longest = result.norms.argmax(-1)
    rows = tuple(
        (
            layer,
            _meaning(layer, len(result.norms) - 1),
            float(norms.mean()),
            float(norms.min()),
            float(norms.max()),
            f"{longest[layer]} {result.shown[longest[layer]]}",
            float(result.cosine_to_final[layer].mean()),
        )
        for layer, norms in enumerate(result.norms)
    )
    headers = (
        "layer", "state", "mean norm", "smallest norm", "largest norm", "whose",
        "mean cosine to final",
    )  # fmt: skip
    return Table(headers, rows)


def _meaning(layer: int, last: int) -> str:
    if layer == 0:
        return "token + position embedding"
    return f"output of block {layer - 1}" + (", after ln_f" if layer == last else "")


def answer(result: HiddenStates) -> dict[str, Any]:
    """JSON of the endpoint."""
    return {
        "shape": list(result.shape),
        "norms": result.norms.tolist(),
        "cosine_to_final": result.cosine_to_final.tolist(),
    }


def arrays(result: HiddenStates) -> Mapping[str, np.ndarray]:
    """The states, stacked as transformers returns them: (n_layer + 1, 1, n, n_embd).

    NumPy has no bfloat16, so reduced precision comes as float32, which holds it exactly.
    """
    states = result.hidden[:, None].float().cpu().numpy()
    return {
        "hidden_states": states,
        "norms": result.norms,
        "cosine_to_final": result.cosine_to_final,
    }


def snippet(trace: Trace) -> str:
    """Code that binds `shape`, `norms` and `cosine_to_final`."""
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
with torch.no_grad():
    hidden_states = model(ids, output_hidden_states=True).hidden_states
shape = (len(hidden_states), *hidden_states[0].shape)
states = torch.cat(hidden_states).float()  # (n_layer + 1, n, n_embd); the last is after ln_f
norms = states.norm(dim=-1)  # (layer, position)
cosine_to_final = torch.cosine_similarity(states, states[-1:], dim=-1)  # (layer, position)
print(shape)
for layer, (lengths, cosines) in enumerate(zip(norms, cosine_to_final)):
    print(layer, f"mean norm {{lengths.mean():.3f}}, mean cosine {{cosines.mean():.3f}}")
"""


INSPECTION = Inspection(
    name="hidden_states",
    title="Hidden states",
    group="Layers",
    idea=__doc__ or "",
    compute=hidden_states,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("shape", "norms", "cosine_to_final"),
    examples=prompts,
    arrays=arrays,
)
