r"""Which part of the model wrote this logit?

A block never overwrites the stream of vectors, it only adds to it. So the state $x$ after the last
block is a sum: of the token's embedding and the position's, of what each attention head and each
MLP wrote, and of the biases $b_\ell$ of the attentions' output projections,

$$x = E[\text{id}] + P[\text{position}] + \sum_{\ell, i} \text{head}_{\ell i}
+ \sum_\ell b_\ell + \sum_\ell \text{mlp}_\ell .$$

The logit of a token is $\operatorname{ln_f}(x) \cdot u$, where $u$ is the token's row of $E$. The
normalization `ln_f` subtracts the mean of $x$, divides by its standard deviation $\sigma$,
multiplies with its weight $\gamma$ and adds its bias $\beta$. Only the division is not linear. With
$\sigma$ kept at the value that it has for this very $x$ the logit falls apart into one number for
each part, with nothing left over:

$$z = x \cdot d + \beta \cdot u, \qquad
d = \frac{\gamma \odot u - \operatorname{mean}(\gamma \odot u)}{\sigma}.$$

(To subtract the mean from $x$ or from $\gamma \odot u$ is the same.) This is *direct logit
attribution*: a part's contribution is its own vector times $d$. What it wrote for later blocks to
read, and they for the logit, counts as theirs. Value biases belong to their heads, the biases
inside an MLP to the MLP.

A logit alone says little, because softmax does not notice what all logits have in common. So a
large contribution may mean that a part lifts every token. What tells tokens apart is a
*difference*: against the best other token ($u = E_\text{token} - E_\text{other}$), or against the
mean of the vocabulary's $V$ logits, which centers each contribution $c$ over all tokens:

$$c_\text{token} - \frac{1}{V} \sum_j c_j, \qquad
u = E_\text{token} - \frac{1}{V} \sum_j E_j .$$
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.models.gpt2.modeling_gpt2 import eager_attention_forward

from gpt2lab.attribution_figure import figure
from gpt2lab.examples import Example, revealing
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.logit_parts import ALONE, BEST_OTHER, DIFFERENCES, MEAN, Attribution
from gpt2lab.models import Gpt2
from gpt2lab.one_token import TEXTS_OWN, token_behind, token_control
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace

LARGEST_GAP = 1e-3
"""How far the parts' sum may be from the model's logit; more would be a wrong explanation."""


@dataclass(frozen=True)
class _Target:
    """Which logit: the token, and the one that it is compared with."""

    position: int
    id: int
    other_id: int | None
    difference: str


@torch.no_grad()
def attribution(
    trace: Trace, position: int = -1, token: int = TEXTS_OWN, difference: str = ALONE
) -> Attribution:
    """Split the logit of `token`, an id, behind `position` into what each part of GPT-2 wrote.

    By default it is the token that follows in the text, at the end of it the most probable one.
    """
    gpt2 = trace.gpt2
    target = _target(trace, position, token, difference)
    transformer = gpt2.model.transformer
    token_row = _exact(transformer.wte.weight[trace.ids[target.position]])
    position_row = _exact(transformer.wpe.weight[target.position])
    fetched, attended, written = _written(trace.prefix(target.position + 1))
    state = token_row + position_row + attended.sum(0) + written.sum(0)

    # Every contribution is a part of the state times this one vector.
    unembedding = _exact(_of(gpt2.model.lm_head.weight, target))
    scaled = _exact(transformer.ln_f.weight) * unembedding
    spread = (state.var(correction=0) + transformer.ln_f.eps).sqrt()
    direction = (scaled - scaled.mean()) / spread

    projections = [block.attn.c_proj for block in transformer.h]
    by_number = torch.stack([_exact(one.weight) @ direction for one in projections]) * fetched
    biases = torch.stack([_exact(one.bias) for one in projections])
    ids = [target.id] + ([] if target.other_id is None else [target.other_id])
    names = describe(gpt2, ids).tokens
    result = Attribution(
        position=target.position,
        shown=describe(gpt2, [int(trace.ids[target.position])]).shown[0],
        id=target.id,
        token=names[0],
        difference=difference,
        other_id=target.other_id,
        other=names[1] if len(names) > 1 else None,
        logit=float(_of(_exact(trace.logits(target.position)), target)),
        token_embedding=float(token_row @ direction),
        position_embedding=float(position_row @ direction),
        heads=by_number.unflatten(-1, (gpt2.n_head, -1)).sum(-1).numpy(),
        attention_biases=(biases @ direction).numpy(),
        mlps=(written @ direction).numpy(),
        ln_f_bias=float(_exact(transformer.ln_f.bias) @ unembedding),
    )
    if not abs(result.total - result.logit) <= LARGEST_GAP:
        raise Refusal(
            f"The parts sum to {result.total:.6g}, but the logit is {result.logit:.6g}: float32 "
            "has too few digits for this model's numbers, so please choose another model."
        )
    return result


def _target(trace: Trace, position: int, token: int, difference: str) -> _Target:
    """What is asked for, checked and with the defaults filled in."""
    gpt2 = trace.gpt2
    if gpt2.dtype != "float32":
        raise Refusal(
            f"{gpt2.name} is loaded in {gpt2.dtype}, whose few digits leave a gap between the "
            "logit and the sum of its parts; please load it in float32."
        )
    position = trace.position(position)
    id = token_behind(trace, position, token)
    if difference not in DIFFERENCES:
        choices = " or ".join(repr(one) for one in DIFFERENCES)
        raise Refusal(f"difference is {quoted(difference)}, but must be {choices}.")
    other = None
    if difference == BEST_OTHER:
        logits = trace.logits(position)
        logits[id] = -torch.inf
        other = int(logits.argmax())
    return _Target(position, id, other, difference)


def _of(rows: Tensor, target: _Target) -> Tensor:
    """The token's row (its logit, its embedding), less that of what it is compared with."""
    if target.difference == MEAN:
        return rows[target.id] - rows.mean(0)
    return rows[target.id] - (0 if target.other_id is None else rows[target.other_id])


def _written(trace: Trace) -> tuple[Tensor, Tensor, Tensor]:
    """At the last position, (n_layer, n_embd) each: fetched, and written by attention and MLP.

    What the heads of a layer fetch lies side by side; each has its own rows of `attn.c_proj`,
    through which it is written.
    """
    fetched, attended, written = [], [], []
    for layer, block in enumerate(trace.gpt2.model.transformer.h):
        every_query, key, value = trace.queries_keys_values(layer)
        query = every_query[:, :, -1:]
        # No mask is needed, as the last position may look at all.
        if block.attn.reorder_and_upcast_attn:
            heads, _ = block.attn._upcast_and_reordered_attn(query, key, value)
        else:
            scaling = block.attn.scaling
            heads, _ = eager_attention_forward(block.attn, query, key, value, None, scaling)
        fetched.append(heads.flatten())
        attended.append(block.attn.c_proj(fetched[-1]))
        written.append(block.mlp(block.ln_2(trace.hidden[layer][-1] + attended[-1])))
    return _exact(torch.stack(fetched)), _exact(torch.stack(attended)), _exact(torch.stack(written))


def _exact(tensor: Tensor) -> Tensor:
    """On the CPU, since not every device has float64, which keeps the many small parts exact."""
    return tensor.cpu().double()


def table(result: Attribution) -> Table:
    """Every part with its contribution, the largest first, of either sign."""
    rows: list[tuple[str, str | int, str | int, float]] = [
        ("token embedding", "", "", result.token_embedding),
        ("position embedding", "", "", result.position_embedding),
        ("ln_f bias", "", "", result.ln_f_bias),
    ]
    for (layer, head), value in np.ndenumerate(result.heads):
        rows.append(("attention head", layer, head, float(value)))
    for name, values in (("attention bias", result.attention_biases), ("MLP", result.mlps)):
        rows += [(name, layer, "", float(value)) for layer, value in enumerate(values)]
    rows.sort(key=lambda row: -abs(row[3]))
    return Table(("part", "layer", "head", "contribution"), tuple(rows))


def answer(result: Attribution) -> dict[str, Any]:
    """JSON of the endpoint: the token, its logit (or the difference), and what sums to it."""
    return {
        "position": result.position,
        "token": result.token,
        "id": result.id,
        "other": result.other,
        "other_id": result.other_id,
        "logit": result.logit,
        "parts": {
            "token_embedding": result.token_embedding,
            "position_embedding": result.position_embedding,
            "heads": result.heads.tolist(),
            "attention_biases": result.attention_biases.tolist(),
            "mlps": result.mlps.tolist(),
            "ln_f_bias": result.ln_f_bias,
        },
        "formula": result.formula,
    }


def snippet(
    trace: Trace, position: int = -1, token: int = TEXTS_OWN, difference: str = ALONE
) -> str:
    """Code that binds `logit` and the parts under the names of the record; it prints them all."""
    target = _target(trace, position, token, difference)
    ids = [target.id] if target.other_id is None else [target.id, target.other_id]
    named = ", ".join(map(repr, describe(trace.gpt2, ids).tokens))
    z, u = (" - ".join(f"{name}[{id}]" for id in ids) for name in "zE")
    if difference == MEAN:
        z, u = f"{z} - z.mean()", f"{u} - E.mean(0)"
    p, n_head = target.position, trace.gpt2.n_head
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
wte, wpe, _, h, ln_f = model.transformer.children()
c_proj, mlp, read, wrote = [b.attn.c_proj for b in h], [b.mlp for b in h], {{}}, {{}}
def keep(m, inputs, output): read[m], wrote[m] = inputs[0][0, {p}].double(), output[0, {p}].double()
for module in [wte, wpe, ln_f, *c_proj, *mlp]: module.register_forward_hook(keep)
with torch.no_grad():
    z, E = model(ids).logits[0, {p}].double(), model.double().lm_head.weight  # float64 from here
    logit, u = ({z}).item(), {u}  # {named}
    d = ln_f.weight * u
    d = (d - d.mean()) / (read[ln_f].var(correction=0) + ln_f.eps).sqrt()
    heads = torch.stack([(read[c] * (c.weight @ d)).view({n_head}, -1).sum(-1) for c in c_proj])
    mlps = torch.stack([wrote[m] @ d for m in mlp])
    attention_biases = torch.stack([c.bias @ d for c in c_proj])
    print(logit, heads, mlps, attention_biases, wrote[wte] @ d, wrote[wpe] @ d, ln_f.bias @ u)
"""


def examples(gpt2: Gpt2) -> tuple[Example, ...]:
    """Texts that decide between two tokens."""
    return tuple(
        Example(one.shows, one.text, {"difference": BEST_OTHER}) for one in revealing(gpt2)
    )


INSPECTION = Inspection(
    name="attribution",
    title="Who wrote this logit?",
    group="Causes",
    idea=__doc__ or "",
    compute=attribution,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("logit", "heads", "mlps", "attention_biases"),
    controls=(
        Control("position", "position", "whose next token; -1 is the end of the text", -1),
        token_control("to explain"),
        Control("difference", "choice", "which logits", ALONE, choices=DIFFERENCES),
    ),
    examples=examples,
)
