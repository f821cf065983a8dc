r"""Where GPT-2 keeps what it has learned: every tensor, its shape, and what it adds to the total.

All numbers that training has set are *parameters*. With $V$ tokens in the vocabulary, $P$
positions, width $d$ and $N$ blocks, they are

- the token embedding `wte`, $V \times d$, and the position embedding `wpe`, $P \times d$;
- in each block *attention*: one matrix with biases for queries, keys and values together (`c_attn`,
  $3d^2 + 3d$) and one for what the heads have fetched (`c_proj`, $d^2 + d$);
- in each block the *MLP*: from width $d$ to $4d$ ($4d^2 + 4d$) and back ($4d^2 + d$);
- in each block two *layer norms*, and one behind the last block: a scale and a shift each, $2d$;

$$\text{total} = (V + P)\,d + N\,(12\,d^2 + 13\,d) + 2\,d .$$

For GPT-2 small, with $V = 50257$, $P = 1024$, $d = 768$ and $N = 12$, that is 124,439,808. The
number of heads does not appear: heads share the width, so that more of them are only narrower. In
a small model most parameters are the token embedding; blocks grow with $d^2$, so in a large one
they win.

The head that makes logits, `lm_head`, is the token embedding again: the same piece of memory under
a second name. The table names both, the total counts it once. The blocks' matrices are stored as
(input, output), the transpose of what `torch.nn.Linear` does (transformers calls that `Conv1D`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gpt2lab.figures import bars, new_figure, style, theme, tint
from gpt2lab.inspection import Inspection, Table
from gpt2lab.models import Gpt2
from gpt2lab.snippets import source, where
from gpt2lab.trace import Trace

PARTS = {
    "wte.": "token embedding",
    "wpe.": "position embedding",
    ".attn.": "attention",
    ".mlp.": "MLP",
    "ln_": "layer norms",
    "lm_head.": "head (not tied)",
}
"""What is in a tensor's name, and the part of the model that it belongs to."""
OTHER = "other"


class TensorInfo(NamedTuple):
    """One parameter tensor.

    numel: how many numbers it has; dtype: their format, such as "float32".
    shares_storage_with: name of an earlier tensor that is the same piece of memory, or None.
    """

    name: str
    shape: tuple[int, ...]
    numel: int
    dtype: str
    shares_storage_with: str | None


@dataclass(frozen=True, eq=False)
class Parameters:
    """All parameters of a model.

    total: how many numbers; what is in memory once is counted once.
    tensors: in the order of the model, under every name that it gives them.
    n_layer: number of blocks.
    """

    total: int
    tensors: tuple[TensorInfo, ...]
    n_layer: int

    @property
    def parts(self) -> dict[str, int]:
        """Parameters of each part of the model, in the order of `PARTS`; their sum is the total."""
        counts = dict.fromkeys([*PARTS.values(), OTHER], 0)
        for tensor in self.owners:
            counts[_part(tensor.name)] += tensor.numel
        return {part: count for part, count in counts.items() if count}

    @property
    def owners(self) -> tuple[TensorInfo, ...]:
        """Tensors without the second names of those that have two."""
        return tuple(one for one in self.tensors if one.shares_storage_with is None)


def _part(name: str) -> str:
    return next((part for piece, part in PARTS.items() if piece in name), OTHER)


def parameters(gpt2: Gpt2) -> Parameters:
    """Parameters of the model."""
    first: dict[int, str] = {}
    tensors = []
    for name, tensor in gpt2.model.named_parameters(remove_duplicate=False):
        owner = first.setdefault(tensor.data_ptr(), name)
        shared = None if owner == name else owner
        dtype = str(tensor.dtype).removeprefix("torch.")
        tensors.append(TensorInfo(name, tuple(tensor.shape), tensor.numel(), dtype, shared))
    total = sum(one.numel() for one in gpt2.model.parameters())
    return Parameters(total, tuple(tensors), gpt2.n_layer)


def _of_traced(trace: Trace) -> Parameters:
    return parameters(trace.gpt2)


STRENGTHS = {
    "token embedding": 0.95,
    "position embedding": 0.7,
    "attention": 0.52,
    "MLP": 0.3,
    "head (not tied)": 0.95,
}
"""How much of the accent colour a part has; layer norms and what else there is are grey."""


def figure(result: Parameters, dark: bool = False) -> Figure:
    """The whole model to scale, in the order of computing, and what each part has, likewise."""
    parts = result.parts
    height = 0.34 * len(parts) + 0.1
    drawing = new_figure(9, 1.3 + height, dark)
    strip, chart = drawing.subplots(2, 1, height_ratios=[0.5, height])
    _strip(strip, result, dark)
    _bars(chart, result, dark)
    for axes in (strip, chart):
        # One scale for both, with room for the longest bar's numbers.
        axes.set_xlim(0, max(result.total, 1.3 * max(parts.values())))
        axes.tick_params(length=0)
    return drawing


def _strip(axes: Axes, result: Parameters, dark: bool) -> None:
    """Every tensor as wide as it has numbers, side by side, a line between block and block."""
    sections: dict[str, tuple[int, int]] = {}  # begin and end
    left = 0
    for tensor in result.owners:
        right = left + tensor.numel
        colour = _colour(_part(tensor.name), dark)
        axes.add_patch(Rectangle((left, 0), tensor.numel, 1, color=colour, linewidth=0))
        section = _section(tensor.name)
        sections[section] = (sections.get(section, (left, right))[0], right)
        left = right
    for begin, _ in list(sections.values())[1:]:
        axes.axvline(begin, color=theme(dark).paper, linewidth=1.2)
    block, last = sections["h.0"], sections[f"h.{result.n_layer - 1}"]
    blocks = f"{result.n_layer} blocks of {block[1] - block[0]:,}"
    named = {"wte": sections["wte"], blocks: (block[0], last[1])}
    if "lm_head" in sections:
        named["lm_head"] = sections["lm_head"]
    wide = {name: span for name, span in named.items() if span[1] - span[0] > 0.15 * result.total}
    axes.set_xticks([(begin + end) / 2 for begin, end in wide.values()], list(wide))
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.set_title(f"{result.total:,} parameters, to scale")
    style(axes, dark)
    axes.tick_params(labelsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _section(name: str) -> str:
    """Embedding, block or what follows: "h.3" of "transformer.h.3.attn.c_attn.bias"."""
    first, second, *_ = name.removeprefix("transformer.").split(".")
    return f"h.{second}" if first == "h" else first


def _bars(axes: Axes, result: Parameters, dark: bool) -> None:
    """Count and share of each part."""
    parts = result.parts
    bars(axes, list(parts), list(parts.values()), dark)
    for text, patch, (part, count) in zip(axes.texts, axes.patches, parts.items(), strict=True):
        share = count / result.total
        text.set_text(f"{count:,} · {share:.1%}" if share >= 0.01 else f"{count:,} · {share:.2%}")
        patch.set_color(_colour(part, dark))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _colour(part: str, dark: bool) -> tuple[float, float, float]:
    if part not in STRENGTHS:
        return tint(theme(dark).ink, 0.45, dark)
    return tint(theme(dark).accent, STRENGTHS[part], dark)


def table(result: Parameters) -> Table:
    """One row per name."""
    rows = tuple(
        (
            one.name,
            " × ".join(f"{size:,}" for size in one.shape),
            one.numel,
            one.dtype,
            one.shares_storage_with or "",
        )
        for one in result.tensors
    )
    return Table(("name", "shape", "count", "dtype", "shares storage with"), rows)


def answer(result: Parameters) -> dict[str, Any]:
    """JSON of the endpoint."""
    tensors = [
        {
            "name": one.name,
            "shape": list(one.shape),
            "count": one.numel,
            "dtype": one.dtype,
            "shares_storage_with": one.shares_storage_with,
        }
        for one in result.tensors
    ]
    return {"total": result.total, "tensors": tensors}


def snippet(trace: Trace) -> str:
    """Code that binds `total` and `tensors`."""
    gpt2 = trace.gpt2
    return f"""import torch
from transformers import GPT2LMHeadModel

model = GPT2LMHeadModel.from_pretrained({source(gpt2)}, dtype=torch.{gpt2.dtype}){where(gpt2)}
tensors, first = [], {{}}
for name, p in model.named_parameters(remove_duplicate=False):
    owner = first.setdefault(p.data_ptr(), name)  # who had this piece of memory first
    dtype, shared = str(p.dtype).removeprefix("torch."), None if owner == name else owner
    tensors.append((name, tuple(p.shape), p.numel(), dtype, shared))
    print(*tensors[-1])
total = sum(count for _, _, count, _, shared in tensors if shared is None)
print(total, total == model.num_parameters())
"""


INSPECTION = Inspection(
    name="parameters",
    title="Parameters",
    group="Weights",
    idea=__doc__ or "",
    compute=_of_traced,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("total", "tensors"),
    of_model=parameters,
)
