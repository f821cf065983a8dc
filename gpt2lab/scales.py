"""From a number of a token to a colour: seven measures, each with its scale.

Bright is what the model expected, dark is what surprised it:

    probability        raw or processed, by its logarithm: 1 is bright, 0.001 and less is dark
    log-probability    0 nats are bright, -7 (a probability of 0.001) and less are dark
    rank               by its logarithm: the first is bright, the last of the vocabulary is dark
    class of ranks     four colours: up to 10, up to 100, up to 1,000, and beyond
    entropy            0 bits (no choice at all) are bright, 10 and more are dark
    surprise           -5 bits (likelier than expected) are bright, 10 and more are dark
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite, log, log10

from gpt2lab.models import Gpt2
from gpt2lab.scoring import CLASSES

LEAST_PROBABILITY = 0.001
LEAST_LOGPROB = -7.0
MOST_BITS = 10


@dataclass(frozen=True)
class Scale:
    """One way to look at the tokens of a text.

    title, below: what it is, as a heading and as a legend.
    written: the format of a number, as it stands under its token.
    place: where a number lies on the scale, from 0 (dark) to 1 (bright); it may lie beyond.
    ticks: numbers along the scale, as places and what is written there.
    """

    title: str
    below: str
    written: str
    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float | None:
        """Place on the scale; None if there is no number."""
        return min(1.0, max(0.0, self.place(value))) if isfinite(value) else None

    def text(self, value: float) -> str:
        """What stands under a token."""
        return f"{value:{self.written}}".replace("-", "−") if isfinite(value) else "–"


def _by_probability(probability: float) -> float:
    return 1 - log10(max(probability, LEAST_PROBABILITY)) / log10(LEAST_PROBABILITY)


def _by_logprob(logprob: float) -> float:
    return 1 - logprob / LEAST_LOGPROB


def _by_class(rank: float) -> float:
    """One of four places, evenly spread, best class first."""
    return 1 - sum(rank > end for end in CLASSES) / len(CLASSES)


def _by_entropy(bits: float) -> float:
    return 1 - bits / MOST_BITS


def _by_surprise(bits: float) -> float:
    return 1 - (bits + 5) / (MOST_BITS + 5)


PROBABILITY = Scale(
    title="How likely each token was",
    below="its probability under the raw logits",
    written=".2g",
    place=_by_probability,
    ticks=(
        (0, f"≤ {LEAST_PROBABILITY}"),
        *((_by_probability(one), f"{one:g}") for one in (0.01, 0.1, 1)),
    ),
)
PROCESSED = replace(
    PROBABILITY,
    title="How likely the decoding made each token",
    below="its probability after all logits processors",
)
LOGPROB = Scale(
    title="How likely each token was",
    below="its log-probability, in nats",
    written=".2f",
    place=_by_logprob,
    ticks=((0, "≤ −7 nats"), *((_by_logprob(one), f"−{-one}") for one in (-5, -3, -1)), (1, "0")),
)
CLASS = Scale(
    title="How highly ranked each token was",
    below="its rank",
    written=",.0f",
    place=_by_class,
    ticks=((0, "beyond"), *((_by_class(end), f"top {end:,}") for end in reversed(CLASSES))),
)
ENTROPY = Scale(
    title="How open each choice was",
    below="the entropy of the raw probabilities, in bits",
    written=".1f",
    place=_by_entropy,
    ticks=(
        (0, f"≥ {MOST_BITS} bits"),
        *((_by_entropy(bits), f"{bits}") for bits in (8, 6, 4, 2, 0)),
    ),
)
SURPRISE = Scale(
    title="How much more surprising than expected",
    below="its surprise, −log₂ p − entropy, in bits",
    written=".1f",
    place=_by_surprise,
    ticks=((0, f"≥ {MOST_BITS} bits"), (_by_surprise(5), "5"), (_by_surprise(0), "0"), (1, "≤ −5")),
)


def rank_scale(gpt2: Gpt2) -> Scale:
    """Ranks by their logarithm; the scale ends with this model's vocabulary."""
    return scale_of_ranks(gpt2.vocab_size)


def scale_of_ranks(last: int) -> Scale:
    """The same for a vocabulary of so many tokens."""
    marked = [rank for rank in (last, 1000, 100, 10, 1) if rank <= last]

    def place(rank: float) -> float:
        return 1 - log(rank) / log(last)

    return Scale(
        title="How highly ranked each token was",
        below="its rank under the raw logits",
        written=",.0f",
        place=place,
        ticks=tuple((place(rank), f"{rank:,}") for rank in marked),
    )
