r"""The way of one token through the layers, and which words it passes.

Here one token is followed: its states $h_0, h_1, \dots, h_N$ are $N + 1$ points in a space of
`n_embd` dimensions, 768 in GPT-2 small. *Principal component analysis* (PCA) finds the flat picture
that shows most of how they differ. The points are moved so that their mean is 0, and the singular
value decomposition gives the directions in which they spread most:

$$X = U S V^\top, \qquad (x_\ell, y_\ell) = X_\ell \, V_{:,\,1 \dots 2}, \qquad
\text{share}_i = \frac{s_i^2}{\sum_j s_j^2},$$

where the rows of $X$ are the moved states. The shares say how much of the spread each axis shows;
what is missing from 100 % happens in directions that the picture does not have. The sign of an axis
means nothing, so the path is turned to end right of where it begins, and above.

Two things get into the way. States grow from block to block, in GPT-2 by a lot. And the last of
transformers' `hidden_states` has gone through the final normalization `ln_f`, so its scale is that
of `ln_f`'s weight and not that of the stream. In a picture of the raw vectors the length of the
longest decides alone. So by default each state is first divided by its length: what is left is the
direction, which is also all that the next `ln_1` sees (but for the mean). Switch `unit_length` off
to see the raw vectors. Faint lines are the tokens nearby, seen from the same side.

Beside it are the tokens of the vocabulary that each state is *nearest* to, by the cosine of the
angle to a token's embedding, a row of $E$:

$$\cos(h_\ell, E_j) = \frac{h_\ell \cdot E_j}{\lVert h_\ell \rVert \, \lVert E_j \rVert}.$$

This is not what the *logit lens* says, which is in the last column: $\operatorname{ln_f}(h_\ell)
\cdot E_j$, without dividing by $\lVert E_j \rVert$, so that long embeddings win more often, and
with the weight of `ln_f`, which turns the state before it is compared. The cosine asks what a
state looks like; the lens, what the model would say. The embedding is nearest to its own token; the
last state, often to one that may come next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from gpt2lab.examples import prompts
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.path_figure import figure
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe, readable
from gpt2lab.trace import Trace

FEWEST_SHOWN, MOST_SHOWN = 3, 5
NEARBY = 12
"""Other tokens whose paths are drawn too, before and after the one in question together."""


@dataclass(frozen=True, eq=False)
class Path:
    """One token's states, as points of a plane and by the tokens that they are nearest to.

    position: of the token, counted from the start of the text; shown: as a person reads it.
    unit_length: whether each state was divided by its length before the PCA.
    states: (n_layer + 1, n_embd), float32, as transformers returns them; the last is after `ln_f`.
    center: (n_embd,), float64, mean of the states, or of their directions.
    components: (2, n_embd), float64, unit vectors: the axes of the picture.
    explained_variance: (2,), share of the states' spread along each axis, from 0 to 1.
    coordinates: (n_layer + 1, 2), the states in the picture.
    nearby: (tokens, n_layer + 1, 2), the same of the tokens around, from the same side.
    cosines: (n_layer + 1, show), float32, to the nearest token embeddings, in falling order.
    nearest_ids: (n_layer + 1, show), whose embeddings these are.
    lens_ids: (n_layer + 1, show), the tokens of the largest logits that the logit lens gives.
    lens_logits: (n_layer + 1, show), float32, these logits; the last row's are the model's own.
    tokens: vocabulary strings of all these ids.
    """

    position: int
    shown: str
    unit_length: bool
    states: np.ndarray
    center: np.ndarray
    components: np.ndarray
    explained_variance: np.ndarray
    coordinates: np.ndarray
    nearby: np.ndarray
    cosines: np.ndarray
    nearest_ids: np.ndarray
    lens_ids: np.ndarray
    lens_logits: np.ndarray
    tokens: dict[int, str]

    @property
    def norms(self) -> np.ndarray:
        """Euclidean length of each state: (n_layer + 1,)."""
        return np.linalg.norm(self.states, axis=-1)


@torch.no_grad()
def path(trace: Trace, position: int = -1, show: int = 3, unit_length: bool = True) -> Path:
    """Follow the token at `position` through all layers."""
    show = int(checked_number("show", show, FEWEST_SHOWN, MOST_SHOWN))
    if not isinstance(unit_length, bool):
        raise Refusal(f"unit_length is {quoted(unit_length)}, but must be true or false.")
    position = trace.position(position)
    states = trace.hidden[:, position]
    points = _points(states, unit_length)
    center = points.mean(0)
    _, sizes, axes = torch.linalg.svd(points - center, full_matrices=False)
    spread = (sizes**2).sum()
    explained = sizes[:2] ** 2 / spread if spread else torch.zeros(2)
    coordinates = (points - center) @ axes[:2].T
    signs = torch.where(coordinates[-1] < coordinates[0], -1.0, 1.0).double()
    components = axes[:2] * signs[:, None]
    first = max(0, min(position - NEARBY // 2, len(trace) - NEARBY - 1))
    around = [at for at in range(first, first + NEARBY + 1) if at != position and at < len(trace)]
    nearby = (_points(trace.hidden[:, around], unit_length) - center) @ components.T
    cosines, logits = _cosines(trace, states).topk(show), _lens(trace, states).topk(show)
    listed = torch.cat([cosines.indices, logits.indices]).unique().tolist()
    return Path(
        position=position,
        shown=describe(trace.gpt2, [int(trace.ids[position])]).shown[0],
        unit_length=unit_length,
        states=states.float().cpu().numpy(),
        center=center.numpy(),
        components=components.numpy(),
        explained_variance=explained.numpy(),
        coordinates=(coordinates * signs).numpy(),
        nearby=nearby.transpose(0, 1).numpy(),
        cosines=cosines.values.cpu().numpy(),
        nearest_ids=cosines.indices.cpu().numpy(),
        lens_ids=logits.indices.cpu().numpy(),
        lens_logits=logits.values.cpu().numpy(),
        tokens=dict(zip(listed, describe(trace.gpt2, listed).tokens, strict=True)),
    )


def _points(states: Tensor, unit_length: bool) -> Tensor:
    """States as they are compared, in float64 on the CPU."""
    exact = states.double().cpu()
    return normalize(exact, dim=-1) if unit_length else exact


def _cosines(trace: Trace, states: Tensor) -> Tensor:
    """Cosine of each state with each row of the embedding matrix: (n_layer + 1, vocab_size)."""
    embeddings = trace.gpt2.model.transformer.wte.weight.float()
    products = normalize(states.float(), dim=-1) @ embeddings.T
    return products / embeddings.norm(dim=-1).clamp(min=1e-12)


def _lens(trace: Trace, states: Tensor) -> Tensor:
    """Logits of the logit lens: (n_layer + 1, vocab_size); the last state is normalized already."""
    inner = trace.gpt2.model.transformer.ln_f(states[:-1])
    return trace.gpt2.model.lm_head(torch.cat([inner, states[-1:]])).float()


def table(result: Path) -> Table:
    """A row for each layer and place: the point, and the nearest token beside the lens's."""
    rows: list[tuple[str | float | int, ...]] = []
    for layer, (x, y) in enumerate(result.coordinates.tolist()):
        for place, cosine in enumerate(result.cosines[layer].tolist()):
            near, said = int(result.nearest_ids[layer, place]), int(result.lens_ids[layer, place])
            rows.append(
                (
                    layer, float(result.norms[layer]), x, y, place + 1,
                    readable(result.tokens[near]), near, cosine,
                    readable(result.tokens[said]), said, float(result.lens_logits[layer, place]),
                )
            )  # fmt: skip
    headers = (
        "layer", "norm", "x", "y", "place", "nearest embedding", "id", "cosine",
        "logit lens", "its id", "its logit",
    )  # fmt: skip
    return Table(headers, tuple(rows))


def answer(result: Path) -> dict[str, Any]:
    """JSON of the endpoint."""

    def listed(layer: int, ids: np.ndarray, values: np.ndarray, name: str) -> list[dict[str, Any]]:
        pairs = zip(ids[layer].tolist(), values[layer].tolist(), strict=True)
        return [{"id": id, "token": result.tokens[id], name: value} for id, value in pairs]

    layers = [
        {
            "layer": layer,
            "norm": float(result.norms[layer]),
            "coordinates": point,
            "nearest": listed(layer, result.nearest_ids, result.cosines, "cosine"),
            "lens": listed(layer, result.lens_ids, result.lens_logits, "logit"),
        }
        for layer, point in enumerate(result.coordinates.tolist())
    ]
    return {
        "position": result.position,
        "unit_length": result.unit_length,
        "explained_variance": result.explained_variance.tolist(),
        "layers": layers,
    }


def arrays(result: Path) -> Mapping[str, np.ndarray]:
    """The states, the picture that they are seen in, and the nearest tokens."""
    names = (
        "states", "center", "components", "explained_variance", "coordinates", "nearest_ids",
        "cosines", "lens_ids", "lens_logits",
    )  # fmt: skip
    return {name: getattr(result, name) for name in names}


def snippet(trace: Trace, position: int = -1, show: int = 3, unit_length: bool = True) -> str:
    """Code that binds `explained_variance`, `coordinates` and `cosines`."""
    points = "torch.nn.functional.normalize(states.double(), dim=-1)"
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
with torch.no_grad():
    hidden_states = model(ids, output_hidden_states=True).hidden_states
    embeddings = torch.nn.functional.normalize(model.transformer.wte.weight.float(), dim=-1)
states = torch.cat(hidden_states)[:, {trace.position(position)}].float()  # (n_layer + 1, n_embd)
points = {points if unit_length else "states.double()"}
points = points - points.mean(0)
_, sizes, axes = torch.linalg.svd(points, full_matrices=False)
explained_variance = (sizes**2 / (sizes**2).sum())[:2]
coordinates = points @ axes[:2].T
coordinates *= torch.where(coordinates[-1] < coordinates[0], -1, 1)  # an axis has no sign
cosines, nearest = (torch.nn.functional.normalize(states, dim=-1) @ embeddings.T).topk({int(show)})
for layer, (point, ids_of_layer) in enumerate(zip(coordinates.tolist(), nearest)):
    print(layer, point, tokenizer.convert_ids_to_tokens(ids_of_layer), cosines[layer].tolist())
"""


INSPECTION = Inspection(
    name="path",
    title="A token's path",
    group="Layers",
    idea=__doc__ or "",
    compute=path,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("explained_variance", "coordinates", "cosines"),
    controls=(
        Control("position", "position", "whose path; -1 is the last token", -1),
        Control(
            "show",
            "number",
            "nearest tokens of each layer",
            FEWEST_SHOWN,
            low=FEWEST_SHOWN,
            high=MOST_SHOWN,
        ),
        Control("unit_length", "switch", "divide each state by its length first", True),
    ),
    examples=prompts,
    arrays=arrays,
)
