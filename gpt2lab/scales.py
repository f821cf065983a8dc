"""From a number behind a token to a colour: four measures, each with its scale.

Bright is what the model expected, dark is what surprised it:

    probability    raw or processed, by its logarithm: 1 is bright, 0.001 and less is dark
    rank           by its logarithm: the first is bright, the last of the vocabulary is dark
    entropy        0 bits (no choice at all) are bright, 10 and more are dark
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, isfinite, log, log10

from gpt2lab.models import Gpt2
from gpt2lab.step import Choice

LEAST_PROBABILITY = 0.001
MOST_BITS = 10


@dataclass(frozen=True)
class Measure:
    """One way to look at the tokens of a text.

    title, below: what it is, as a heading and as a legend.
    value: the number of a choice; written: as it stands under a token.
    place: where a number lies on the scale, from 0 (dark) to 1 (bright); it may lie beyond.
    ticks: numbers along the scale, as places and what is written there.
    """

    title: str
    below: str
    value: Callable[[Choice], float]
    written: Callable[[float], str]
    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]

    def share(self, choice: Choice | None) -> float | None:
        """Place on the scale; None if there is no number."""
        value = self.value(choice) if choice else float("nan")
        return min(1.0, max(0.0, self.place(value))) if isfinite(value) else None

    def text(self, choice: Choice | None) -> str:
        """What stands under a token."""
        return self.written(self.value(choice)) if choice else "–"


def measures(gpt2: Gpt2) -> Mapping[str, Measure]:
    """All measures by name; the scale of ranks ends with this model's vocabulary."""
    last = gpt2.vocab_size

    def by_probability(probability: float) -> float:
        return 1 - log10(max(probability, LEAST_PROBABILITY)) / log10(LEAST_PROBABILITY)

    def by_rank(rank: float) -> float:
        return 1 - log(rank) / log(last)

    def by_bits(bits: float) -> float:
        return 1 - bits / MOST_BITS

    probabilities = (
        (by_probability(LEAST_PROBABILITY), f"≤ {LEAST_PROBABILITY}"),
        *((by_probability(one), f"{one:g}") for one in (0.01, 0.1, 1)),
    )
    return {
        "probability": Measure(
            title="How likely each token was",
            below="its probability under the raw logits",
            value=lambda choice: exp(choice.logprob),
            written=lambda value: f"{value:.2g}",
            place=by_probability,
            ticks=probabilities,
        ),
        "processed": Measure(
            title="How likely the decoding made each token",
            below="its probability after all logits processors",
            value=lambda choice: choice.probability,
            written=lambda value: f"{value:.2g}",
            place=by_probability,
            ticks=probabilities,
        ),
        "rank": Measure(
            title="How highly ranked each token was",
            below="its rank under the raw logits",
            value=lambda choice: choice.rank,
            written=lambda value: f"{value:,.0f}",
            place=by_rank,
            ticks=tuple(
                (by_rank(rank), f"{rank:,}") for rank in (last, 1000, 100, 10, 1) if rank <= last
            ),
        ),
        "entropy": Measure(
            title="How open each choice was",
            below="the entropy of the raw probabilities, in bits",
            value=lambda choice: choice.entropy_bits,
            written=lambda value: f"{value:.1f}",
            place=by_bits,
            ticks=(
                (0.0, f"≥ {MOST_BITS} bits"),
                *((by_bits(bits), f"{bits}") for bits in (8, 6, 4, 2, 0)),
            ),
        ),
    }
