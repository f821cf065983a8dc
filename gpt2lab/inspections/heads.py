r"""Every head of every layer at a glance.

A model has many attention heads, and most of them do nothing that a person would notice on a given
text. The mosaic has a small picture of each: a row for each layer, a column for each head, in each
picture the queries downwards and the keys to the right, as in the tab *Attention*. Typical shapes:

- a bright left edge: the head rests on the first token, because it finds nothing to fetch;
- the diagonal: it looks at the token itself, or, one to the left, at the previous one;
- a line parallel to the diagonal, in a text that repeats itself: an *induction head*. It looks for
  an earlier place of the same token and from there at what followed it.

In a long text a pixel stands for a block of tokens: it shows the weight that the queries of its
block give to all keys of its block together. The colour follows the square root of that weight
$a$, from 0 to 1 and the same for all heads, so that 1 % can be told from nothing.

For each head there are also a few numbers, to sort by. With $a_{ij}$ the weight of query $i$ on key
$j$, and every mean over queries:

$$\text{entropy} = \operatorname{mean}_i \Big(-\sum_j a_{ij} \log_2 a_{ij}\Big), \qquad
\text{distance} = \operatorname{mean}_i \sum_j a_{ij}\,(i - j),$$

and the mean weight on the first token, on the previous one, on the token itself, and on the
*induction positions*: the keys $j < i$ whose previous token $t_{j-1}$ is the query's token $t_i$.
That mean is over the queries that have such a key; a text in which nothing is repeated has none, so
the number is missing. Query 0 sees nothing but itself, so the means begin with query 1.

The first token takes so much of the weight that it hides the rest. *hide_first* takes it away and
divides what is left in each row by its sum. All numbers are then those of what is left (and begin
with query 2), but for the weight on the first token, which stays: it is what was taken away.

*sort* orders the table and frames the five leading heads: those with the lowest entropy, or the
largest of any other number.
"""

from base64 import b64encode
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import numpy as np

from gpt2lab.examples import REPEATED, Example
from gpt2lab.head_summary import HeadSummary, Numbers, head_summary
from gpt2lab.heads_figure import figure
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.snippets import preamble
from gpt2lab.trace import Trace

LEADING = 5
"""How many heads are framed."""
SORTS = {
    "layer": "",
    "entropy": "entropy_bits",
    "distance": "distance",
    "first token": "first",
    "previous token": "previous",
    "induction": "induction",
}
"""What to sort by, and which number that is."""
NUMBERS = tuple(one.name for one in fields(Numbers))


@dataclass(frozen=True, eq=False)
class Heads(HeadSummary):
    """What every head does, sorted.

    sort: one of `SORTS`.
    """

    sort: str

    @property
    def order(self) -> list[tuple[int, int]]:
        """Layer and head of all heads, the leading one first, those without a number last."""
        heads = list(np.ndindex(self.first.shape))
        if self.sort == "layer":
            return heads
        values = getattr(self, SORTS[self.sort]).ravel()
        places = np.argsort(values if self.sort == "entropy" else -values, kind="stable")
        return [heads[place] for place in places]

    @property
    def leading(self) -> list[tuple[int, int, float]]:
        """Layer, head and number of the heads that are framed, the leading one first."""
        if self.sort == "layer":
            return []
        values = getattr(self, SORTS[self.sort])
        first = [(*head, float(values[head])) for head in self.order[:LEADING]]
        return [one for one in first if isfinite(one[-1])]


def heads(trace: Trace, sort: str = "layer", hide_first: bool = False) -> Heads:
    """Summarize every head of every layer."""
    if not isinstance(sort, str) or sort not in SORTS:
        raise Refusal(f"sort is {quoted(sort)}, but must be one of {', '.join(SORTS)}.")
    if not isinstance(hide_first, bool):
        raise Refusal(f"hide_first is {quoted(hide_first)}, but must be true or false.")
    return Heads(**vars(head_summary(trace, hide_first)), sort=sort)


def table(result: Heads) -> Table:
    """One row per head, in the order that was asked for; a cell without a number is empty."""
    rows = []
    for head in result.order:
        values = [float(getattr(result, name)[head]) for name in NUMBERS]
        cells: list[float | str] = [one if isfinite(one) else "" for one in values]
        rows.append((*head, *cells))
    headers = (
        "layer", "head", "entropy (bits)", "distance (tokens)", "on the first token",
        "on the previous token", "on itself", "on the induction position",
    )  # fmt: skip
    return Table(headers, tuple(rows))


def answer(result: Heads) -> dict[str, Any]:
    """JSON of the endpoint: the heads in the order that was asked for, null for no number."""
    listed = []
    for layer, head in result.order:
        values = {name: float(getattr(result, name)[layer, head]) for name in NUMBERS}
        known = {name: value if isfinite(value) else None for name, value in values.items()}
        listed.append({"layer": layer, "head": head, **known})
    return {"sort": result.sort, "hide_first": result.hide_first, "heads": listed}


def interactive(result: Heads) -> dict[str, Any]:
    """For the page: the numbers, and the pictures as one byte a pixel.

    A byte is 255 times the square root of the pixel, which is how it is coloured. Only the lower
    left of each picture is sent, row by row, since no token sees a later one.
    """
    seen = np.tri(result.thumbnails.shape[-1], dtype=bool)
    pixels = result.thumbnails[..., seen]
    coded = np.rint(255 * np.sqrt(pixels.clip(0, 1))).astype(np.uint8)
    numbers = {name: getattr(result, name).tolist() for name in NUMBERS}
    return {
        "length": result.length,
        "block": result.block,
        "hide_first": result.hide_first,
        "sort": result.sort,
        "leading": [[layer, head] for layer, head, _ in result.leading],
        "side": result.thumbnails.shape[-1],
        "pixels": b64encode(coded.tobytes()).decode(),
        # JSON has no word for a number that is missing but null.
        "numbers": {
            name: [[one if isfinite(one) else None for one in row] for row in rows]
            for name, rows in numbers.items()
        },
    }


def snippet(trace: Trace, sort: str = "layer", hide_first: bool = False) -> str:
    """Code that binds the numbers under the names of the record, (n_layer, n_head) each.

    It prints them for the five leading heads.
    """
    shown, largest = SORTS.get(sort) or "entropy_bits", sort not in {"layer", "entropy"}
    begin, hide = 1, ""
    if hide_first:
        begin, hide = 2, "rest = weights * (place > 0); "
        hide += "weights = (rest / rest.sum(-1)[..., None]).nan_to_num()\n"
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
with torch.no_grad(): weights = torch.cat(model(ids, output_attentions=True).attentions)
place = torch.arange(ids.shape[1])  # weights are (layer, head, query, key)
first = weights[:, :, 1:, 0].mean(-1)
{hide}bits = torch.special.entr(weights).sum(-1) / torch.tensor(2).log()
entropy_bits = bits[..., {begin}:].mean(-1)
distance = (weights * (place[:, None] - place)).sum(-1)[..., {begin}:].mean(-1)
previous = weights.diagonal(-1, 2, 3)[..., {begin - 1}:].mean(-1)
itself = weights.diagonal(0, 2, 3)[..., {begin}:].mean(-1)
after = (ids.T == ids.roll(1)).tril(-1) & (place > 0)  # the token before the key is the query's
induction = (weights * after).sum(-1)[..., after.any(-1)].mean(-1)
for n in {shown}.flatten().argsort(descending={largest})[:{LEADING}].tolist():
    print("layer", n // {trace.gpt2.n_head}, "head", n % {trace.gpt2.n_head}, {shown}.flatten()[n])
"""


def examples(gpt2: Gpt2) -> tuple[Example, ...]:
    """A text that repeats itself, and what can be found in it."""
    return (
        Example("the heads that continue a repetition", REPEATED, {"sort": "induction"}),
        Example(
            "the heads that look one token back",
            REPEATED,
            {"sort": "previous token", "hide_first": True},
        ),
    )


INSPECTION = Inspection(
    name="heads",
    title="All heads",
    group="Heads",
    idea=__doc__ or "",
    compute=heads,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=NUMBERS,
    controls=(
        Control(
            "sort",
            "choice",
            "the table, and which five heads are framed",
            "layer",
            choices=tuple(SORTS),
        ),
        Control("hide_first", "switch", "hide the first key; the rest of a row sums to 1", False),
    ),
    examples=examples,
    interactive=interactive,
)
