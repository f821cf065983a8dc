"""From a number of a scored token to a colour: four measures, each with its scale.

Bright is what the model expected, dark what it did not:

    log-probability    0 nats are bright, -7 (a probability of 0.001) and less are dark
    rank               four colours: up to 10, up to 100, up to 1,000, and beyond
    entropy            0 bits (no choice at all) are bright, 10 and more are dark
    surprise           -5 bits (likelier than expected) are bright, 10 and more are dark
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np

from gpt2lab.scoring import CLASSES, Numbers

LEAST_LOGPROB = -7.0


@dataclass(frozen=True)
class Scale:
    """From a token's number to its colour: bright is what the model expected, dark what it did not.

    title, below: what it is, as a heading and as a legend.
    values: the numbers of a text; written: one of them, as it stands under its token.
    place: where it lies on the scale, from 0 (dark) to 1 (bright); it may lie beyond.
    ticks: numbers along the scale, as places and what is written there.
    """

    title: str
    below: str
    values: Callable[[Numbers], np.ndarray]
    written: str
    place: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float | None:
        """Place on the scale; None if there is no number."""
        return min(1.0, max(0.0, self.place(value))) if isfinite(value) else None

    def text(self, value: float) -> str:
        """What stands under a token."""
        return f"{value:{self.written}}".replace("-", "−") if isfinite(value) else "–"


def _by_logprob(logprob: float) -> float:
    return 1 - logprob / LEAST_LOGPROB


def _by_class(rank: float) -> float:
    """One of four places, evenly spread, best class first."""
    return 1 - sum(rank > end for end in CLASSES) / len(CLASSES)


def _by_entropy(bits: float) -> float:
    return 1 - bits / 10


def _by_surprise(bits: float) -> float:
    return 1 - (bits + 5) / 15


SCALES = {
    "log-probability": Scale(
        title="How likely each token was",
        below="its log-probability, in nats",
        values=lambda found: found.logprobs,
        written=".2f",
        place=_by_logprob,
        ticks=(
            (0, "≤ −7 nats"),
            *((_by_logprob(one), f"−{-one}") for one in (-5, -3, -1)),
            (1, "0"),
        ),
    ),
    "rank": Scale(
        title="How highly ranked each token was",
        below="its rank",
        values=lambda found: np.where(found.ranks > 0, found.ranks, np.nan),
        written=",.0f",
        place=_by_class,
        ticks=((0, "beyond"), *((_by_class(end), f"top {end:,}") for end in reversed(CLASSES))),
    ),
    "entropy": Scale(
        title="How open each choice was",
        below="the entropy before it, in bits",
        values=lambda found: found.entropy_bits,
        written=".1f",
        place=_by_entropy,
        ticks=((0, "≥ 10 bits"), *((_by_entropy(one), f"{one}") for one in (8, 6, 4, 2, 0))),
    ),
    "surprise": Scale(
        title="How much more surprising than expected",
        below="its surprise, −log₂ p − entropy, in bits",
        values=lambda found: found.surprise_bits,
        written=".1f",
        place=_by_surprise,
        ticks=((0, "≥ 10 bits"), (_by_surprise(5), "5"), (_by_surprise(0), "0"), (1, "≤ −5")),
    ),
}
"""What the chips can be coloured by."""
