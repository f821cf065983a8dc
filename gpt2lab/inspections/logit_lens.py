r"""What would the model say if it stopped here?

GPT-2 turns only its last state into logits: the final normalization `ln_f`, then the token
embeddings $E$. But every block reads from and adds to the same stream of vectors, so the same can
be done to an earlier state $h_\ell$. This is the *logit lens* (nostalgebraist, 2020):

$$z_\ell = \operatorname{ln_f}(h_\ell) \cdot E^\top, \qquad
p_\ell = \operatorname{softmax}(z_\ell).$$

Each row of the picture is one layer, at one position of the text: the tokens that would be most
probable behind it if the stream ended there. Row $\ell$ looks at what block $\ell$ reads, so row 0
is the embedding alone, before any block; the last row is the model's real output. One token is
followed through the layers: it is framed, and on the right are its rank, 1 being the most probable
of all 50,257, and its probability. That is the token that wins in the end, unless you write another
one under *token*, with the blank before it if it begins a word.

How far a layer still is from the end, in bits, says the Kullback-Leibler divergence

$$D(p_\text{final} \,\|\, p_\ell) = \sum_i p_\text{final}(i)\,
\log_2 \frac{p_\text{final}(i)}{p_\ell(i)},$$

the price of expecting $p_\ell$ when $p_\text{final}$ is true: 0 where both agree. The lines above
the picture are these formulas with their numbers, for the followed token and the first layer in
which it stands as high as it ever does before the output; $\log \Sigma$ makes $p_\ell$ sum to 1.
Nobody trained the inner states to be read in this way, so take early rows as a hint, not as what
the model "believes".

Mind the last of transformers' `hidden_states`: it has gone through `ln_f` already. Normalizing it
once more gives other logits than the model's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gpt2lab.examples import prompts
from gpt2lab.figures import label
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.lens import LN_2, Followed
from gpt2lab.lens_figure import figure
from gpt2lab.one_token import one_token
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe, readable
from gpt2lab.trace import Trace

MOST_SHOWN = 10


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
    followed_id: the token that is followed through the layers.
    followed_ranks: (n_layer + 1,), its rank in each row.
    followed_probabilities: (n_layer + 1,), float64.
    formula: how its probability and a divergence come about, with the numbers of this record.
    tokens: vocabulary strings of the followed token and of those that are listed in any row.
    """

    position: int
    shown: str
    logits: np.ndarray
    final_id: int
    final_ranks: np.ndarray
    kl_to_final_bits: np.ndarray
    show: int
    followed_id: int
    followed_ranks: np.ndarray
    followed_probabilities: np.ndarray
    formula: str
    tokens: dict[int, str]

    def probabilities(self, layer: int) -> np.ndarray:
        """Softmax over the whole vocabulary: (vocab_size,), sums to 1."""
        return torch.from_numpy(self.logits[layer]).softmax(-1).numpy()

    def top(self, layer: int) -> list[int]:
        """The `show` most probable ids of a row, the lower id first among equals."""
        return _order(self.logits[layer])[: self.show].tolist()


def logit_lens(trace: Trace, position: int = -1, show: int = 5, token: str = "") -> LogitLens:
    """Read the stream behind `position` after every layer as if it were the last.

    `token` is the one to follow, its text or its vocabulary string; by default the one that wins.
    """
    show = int(checked_number("show", show, 1, MOST_SHOWN))
    position = trace.position(position)
    given = one_token(trace.gpt2, "token", token)
    rows = [trace.lens(layer, position) for layer in range(trace.gpt2.n_layer + 1)]
    logits = torch.stack(rows).cpu()
    log_p = logits.double().log_softmax(-1)
    bits = (log_p[-1].exp() * (log_p[-1] - log_p)).sum(-1).clamp(min=0) / LN_2
    scores = logits.numpy()
    orders = [_order(row) for row in scores]
    final = int(orders[-1][0])
    followed = final if given is None else given
    listed = np.unique([followed, *np.ravel([order[:show] for order in orders])]).tolist()
    tokens = dict(zip(listed, describe(trace.gpt2, listed).tokens, strict=True))
    ranks = _ranks(scores, followed)
    told = Followed(
        id=followed,
        shown=label(readable(tokens[followed])),
        logits=tuple(scores[:, followed].tolist()),
        log_totals=tuple(logits.double().logsumexp(-1).tolist()),
        kl_to_final_bits=tuple(bits.tolist()),
        ranks=tuple(ranks.tolist()),
    )
    return LogitLens(
        position=position,
        shown=describe(trace.gpt2, [int(trace.ids[position])]).shown[0],
        logits=scores,
        final_id=final,
        final_ranks=_ranks(scores, final),
        kl_to_final_bits=bits.numpy(),
        show=show,
        followed_id=followed,
        followed_ranks=ranks,
        followed_probabilities=log_p[:, followed].exp().numpy(),
        formula=told.formula,
        tokens=tokens,
    )


def _order(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")


def _ranks(scores: np.ndarray, id: int) -> np.ndarray:
    """1 + the number of tokens with a larger logit, in each row."""
    return (scores > scores[:, [id]]).sum(-1) + 1


def table(result: LogitLens) -> Table:
    """A row for each token of the picture, with the layer's distance and the followed token."""
    rows: list[tuple[str | float | int, ...]] = []
    for layer, bits in enumerate(result.kl_to_final_bits.tolist()):
        probabilities = result.probabilities(layer)
        followed = int(result.followed_ranks[layer]), float(result.followed_probabilities[layer])
        for rank, id in enumerate(result.top(layer), start=1):
            token, probability = readable(result.tokens[id]), float(probabilities[id])
            rows.append((layer, rank, token, id, probability, bits, *followed))
    followed_token = readable(result.tokens[result.followed_id])
    headers = (
        "layer", "rank", "token", "id", "probability", "bits from the output",
        f"rank of {followed_token}", f"probability of {followed_token}",
    )  # fmt: skip
    return Table(headers, tuple(rows))


def answer(result: LogitLens) -> dict[str, Any]:
    """JSON of the endpoint: per layer the top tokens, the divergence and the followed token."""
    layers = []
    for layer, bits in enumerate(result.kl_to_final_bits.tolist()):
        probabilities = result.probabilities(layer)
        top = [
            {"id": id, "token": result.tokens[id], "probability": float(probabilities[id])}
            for id in result.top(layer)
        ]
        followed = {
            "id": result.followed_id,
            "token": result.tokens[result.followed_id],
            "probability": float(result.followed_probabilities[layer]),
            "rank": int(result.followed_ranks[layer]),
        }
        layers.append({"layer": layer, "top": top, "kl_to_final_bits": bits, "followed": followed})
    return {"position": result.position, "formula": result.formula, "layers": layers}


def snippet(trace: Trace, position: int = -1, show: int = 5, token: str = "") -> str:
    """Code that binds `logits`, `kl_to_final_bits`, `followed_ranks` and their probabilities."""
    position = trace.position(position)
    given = one_token(trace.gpt2, "token", token)
    followed = int(trace.logits(position).argmax()) if given is None else given
    shown = label(describe(trace.gpt2, [followed]).shown[0])
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
with torch.no_grad():
    hidden_states = model(ids, output_hidden_states=True).hidden_states
    states = torch.stack([state[0, {position}] for state in hidden_states])
    states[:-1] = model.transformer.ln_f(states[:-1])  # the last one has been through ln_f
    logits = model.lm_head(states).float()  # (n_layer + 1, vocab_size)
log_p = logits.double().log_softmax(-1)
kl_to_final_bits = (log_p[-1].exp() * (log_p[-1] - log_p)).sum(-1) / torch.tensor(2.0).log()
followed_ranks = (logits > logits[:, [{followed}]]).sum(-1) + 1  # the token {shown!r}
followed_probabilities = log_p.exp()[:, {followed}]
for layer, row in enumerate(zip(kl_to_final_bits, followed_ranks, followed_probabilities)):
    top = log_p[layer].exp().topk({int(show)})
    tokens = zip(tokenizer.convert_ids_to_tokens(top.indices), top.values)
    print(layer, "%.3f bits, rank %d, p %.3g:" % row, *(f"{{t}} {{p:.3f}}" for t, p in tokens))
"""


INSPECTION = Inspection(
    name="logit_lens",
    title="Logit lens",
    group="Layers",
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
        Control("token", "text", 'the token to follow, such as " the"; empty: the winner', ""),
    ),
    examples=prompts,
    arrays=lambda result: {"logits": result.logits},
)
