r"""What temperature does, and where top_k and top_p cut.

Temperature divides the scores before the softmax, so it changes every ratio between two
probabilities by the same power:

$$p_T(i) = \frac{e^{z_i / T}}{\sum_j e^{z_j / T}}, \qquad
\frac{p_T(i)}{p_T(j)} = \left( \frac{p_1(i)}{p_1(j)} \right)^{1/T} .$$

At $T = 1$ the model's own distribution is left as it is. Towards 0 the best token takes all of the
probability, which is greedy decoding; towards infinity all tokens become equally likely, the
nonsensical ones too. The order of the tokens never changes. The *entropy* says in bits how open the
choice is, and only grows with $T$. The left half of the picture shows both for $T$ from 0.1 to 2,
with a line where the temperature stands now.

The right half shows all tokens of the vocabulary at the current temperature, the most probable one
first, and below what the first so many have together. Long is the tail of a language model: none
of these tokens is likely, but there are so many of them that now and then one would be drawn. So
one cuts: *top_k* behind the k-th token, wherever that is; *top_p* where the tokens before the cut
reach p together; *min_p* where a token has less than that share of the best one's probability. Each
acts on what the one before has left over, and transformers applies them in this order, after the
temperature: a low temperature therefore makes top_p and min_p keep fewer tokens, and top_k as many
as ever. What a cut would keep on its own is said as well. (*typical_p* keeps the tokens whose
surprise is close to the entropy. These need not be the most probable ones, so it has no line.)

A repetition penalty, or tokens that are forbidden, come before the temperature, so they have had
their effect already. Greedy and beam search use neither temperature nor cuts: for them the right
half is drawn for $T = 1$.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from transformers import TemperatureLogitsWarper

from gpt2lab.cuts import CUTS, Cut, made_cuts
from gpt2lab.decoding import Decoding, Stage, final_scores
from gpt2lab.figures import label
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.snippets import preamble
from gpt2lab.stages import CHOSEN, LN_2, behind, calls, class_names, following, highest
from gpt2lab.temperature_figure import Line, draw
from gpt2lab.tokens import describe, readable
from gpt2lab.trace import Trace

TEMPERATURES = tuple(twentieth / 20 for twentieth in range(2, 41))
"""From 0.1 to 2."""
IN_TABLE = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
LISTED = 8
"""Most probable tokens that have a line."""


@dataclass(frozen=True, eq=False)
class Temperature:
    """The distribution behind a position at many temperatures, and its cuts at the current one.

    position: whose next token it is, counted from the start of the text.
    strategy, temperature: of the settings; the temperature is None if the strategy uses none.
    temperatures: (n_temperatures,).
    ids, tokens: (n_listed,) the most probable tokens and their vocabulary strings.
    chosen: the token that follows in the text, always listed; None at the text's end.
    probabilities: (n_temperatures, n_listed), without any cut.
    others: (n_temperatures,) probability of all tokens that are not listed.
    entropy_bits: (n_temperatures,) of the whole vocabulary.
    current, current_others, current_entropy_bits: the same at the current temperature.
    ranked: (vocab_size,) probabilities of all tokens at the current temperature, highest first.
    cuts: what the settings drop, in transformers' order.
    """

    position: int
    strategy: str
    temperature: float | None
    temperatures: tuple[float, ...]
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    chosen: int | None
    probabilities: np.ndarray
    others: np.ndarray
    entropy_bits: np.ndarray
    current: np.ndarray
    current_others: float
    current_entropy_bits: float
    ranked: np.ndarray
    cuts: tuple[Cut, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """How many tokens are left after each cut."""
        return tuple(cut.kept for cut in self.cuts)


def temperature(
    trace: Trace,
    position: int = -1,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> Temperature:
    """Sweep the temperature behind `position`, and cut where `decoding` cuts.

    `prompt_length` says how many of the traced tokens were the prompt of the generation.
    """
    decoding = decoding or Decoding()
    position = trace.position(position)
    before, cuts = _parts(behind(trace, position, decoding, prompt_length))
    ids = trace.ids[None, : position + 1].to(trace.hidden.device)
    scores = _scores(trace, position, before)
    chosen = following(trace, position)
    listed = _listed(scores, chosen)
    sweep = torch.cat([_warped(scores, ids, one).softmax(-1) for one in TEMPERATURES])
    sampled = decoding.strategy == "sample"
    warped = _warped(scores, ids, decoding.temperature if sampled else 1.0)
    current = warped.softmax(-1)
    return Temperature(
        position=position,
        strategy=decoding.strategy,
        temperature=decoding.temperature if sampled else None,
        temperatures=TEMPERATURES,
        ids=tuple(listed),
        tokens=describe(trace.gpt2, listed).tokens,
        chosen=chosen,
        probabilities=sweep[:, listed].cpu().numpy(),
        others=_others(sweep, listed).cpu().numpy(),
        entropy_bits=_entropy_bits(sweep).cpu().numpy(),
        current=current[0, listed].cpu().numpy(),
        current_others=float(_others(current, listed)),
        current_entropy_bits=float(_entropy_bits(current)),
        ranked=current[0].sort(descending=True).values.cpu().numpy(),
        cuts=made_cuts(cuts, decoding, ids, warped),
    )


def _parts(stages: Sequence[Stage]) -> tuple[list[Stage], list[Stage]]:
    """The stages before the temperature, and the cuts behind it."""
    return (
        [stage for stage in stages if stage.name not in ("temperature", *CUTS)],
        [stage for stage in stages if stage.name in CUTS],
    )


def _scores(trace: Trace, position: int, before: Sequence[Stage]) -> torch.Tensor:
    """What the temperature divides: (1, vocab_size)."""
    logits = trace.logits(position)[None]
    ids = trace.ids[None, : position + 1].to(logits.device)
    return final_scores(before, ids, logits)


def _listed(scores: torch.Tensor, chosen: int | None) -> list[int]:
    """The most probable tokens, the same at every temperature, and the one that follows."""
    listed = highest(scores[0].cpu().numpy(), LISTED)
    return listed if chosen is None or chosen in listed else [*listed, chosen]


def _warped(scores: torch.Tensor, ids: torch.Tensor, temperature: float) -> torch.Tensor:
    return TemperatureLogitsWarper(temperature)(ids, scores)


def _others(probabilities: torch.Tensor, listed: list[int]) -> torch.Tensor:
    """Probability of all tokens but those listed, which 1 - sum would lose in rounding."""
    left = probabilities.double()
    left[:, listed] = 0
    return left.sum(-1)


def _entropy_bits(probabilities: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(probabilities).sum(-1) / LN_2


def figure(result: Temperature, dark: bool = False) -> Figure:
    """Left the sweep: probabilities and entropy against T; right all tokens by rank, with cuts."""
    lines = [
        Line(
            f"{CHOSEN * (id == result.chosen)}{label(readable(token))}", values, id == result.chosen
        )
        for id, token, values in zip(result.ids, result.tokens, result.probabilities.T, strict=True)
    ]
    return draw(
        result.temperatures,
        lines,
        result.entropy_bits,
        result.temperature,
        _unused(result),
        result.ranked,
        result.cuts,
        dark,
    )


def _unused(result: Temperature) -> str:
    """Why there is no current temperature; empty if there is one."""
    return "" if result.temperature is not None else f"{result.strategy} does not use it"


def table(result: Temperature) -> Table:
    """Probability of each listed token at several temperatures, without any cut, and entropy."""
    places = [result.temperatures.index(one) for one in IN_TABLE]
    now = () if result.temperature is None else (f"p now (T = {result.temperature:g})",)
    columns = [result.probabilities[place] for place in places] + [result.current] * len(now)
    rest = [float(result.others[place]) for place in places]
    bits = [float(result.entropy_bits[place]) for place in places]
    if now:
        rest.append(result.current_others)
        bits.append(result.current_entropy_bits)
    rows: list[tuple[str | float | int | bool, ...]] = [
        (
            f"{CHOSEN * (id == result.chosen)}{readable(token)}",
            id,
            *(float(column[row]) for column in columns),
        )
        for row, (id, token) in enumerate(zip(result.ids, result.tokens, strict=True))
    ]
    rows.append(("all other tokens", "", *rest))
    rows.append(("entropy in bits", "", *bits))
    headers = ("token", "id", *(f"p at T = {one:g}" for one in IN_TABLE), *now)
    return Table(headers, tuple(rows))


def answer(result: Temperature) -> dict[str, Any]:
    """JSON of the endpoint: the sweep of each listed token, the entropies, and the cuts."""
    return {
        "position": result.position,
        "temperature": result.temperature,
        "temperatures": list(result.temperatures),
        "tokens": [
            {"id": id, "token": token, "probabilities": values.tolist()}
            for id, token, values in zip(
                result.ids, result.tokens, result.probabilities.T, strict=True
            )
        ],
        "entropy_bits": result.entropy_bits.tolist(),
        "cuts": [
            {
                "name": cut.name,
                "value": cut.value,
                "kept": cut.kept,
                "kept_mass": cut.kept_mass,
                "kept_alone": cut.alone,
            }
            for cut in result.cuts
        ],
    }


def snippet(
    trace: Trace,
    position: int = -1,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> str:
    """Code that binds `probabilities`, `entropy_bits` and `kept`, and prints the sweep."""
    decoding = decoding or Decoding()
    position = trace.position(position)
    before, cuts = _parts(behind(trace, position, decoding, prompt_length))
    listed = _listed(_scores(trace, position, before), following(trace, position))
    first, last = (
        ", ".join(calls(trace, position, decoding, prompt_length, part)) for part in (before, cuts)
    )
    names = ["TemperatureLogitsWarper", *class_names(before), *class_names(cuts)]
    penalties = f"""for processor in [{first}]:
    scores = processor(ids, scores)
"""
    now = decoding.temperature if decoding.strategy == "sample" else 1.0
    shown = ", ".join(map(label, describe(trace.gpt2, listed).shown))
    columns = "temperatures, entropy_bits.tolist(), probabilities.tolist()"
    return f"""{preamble(trace.gpt2, trace.ids[: position + 1].tolist(), imports=names)}
with torch.no_grad():
    scores = model(ids).logits[:, -1].float()
{penalties * bool(before)}temperatures = [twentieth / 20 for twentieth in range(2, 41)]
sweep = torch.cat([TemperatureLogitsWarper(T)(ids, scores) for T in temperatures]).softmax(-1)
probabilities = sweep[:, {listed}]  # {shown}
entropy_bits = torch.special.entr(sweep).sum(-1) / torch.tensor(2.0).log()
kept, warped = (), TemperatureLogitsWarper({now!r})(ids, scores)
for cut in [{last}]:
    warped = cut(ids, warped)
    kept += (int(warped.isfinite().sum()),)
print(f"kept: {{kept}}", *zip({columns}), sep="\\n")
"""


INSPECTION = Inspection(
    name="temperature",
    title="Temperature & cuts",
    group="Prediction",
    idea=__doc__ or "",
    compute=temperature,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("probabilities", "entropy_bits", "kept"),
    controls=(Control("position", "position", "whose next token; -1 is the end of the text", -1),),
    uses_decoding=True,
)
