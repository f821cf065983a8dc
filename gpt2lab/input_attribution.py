"""What each token of a text adds to a number, and what all of them add up to.

An attribution is as good as its sum: what the output gained on the way from "no token" to the text.
So the sum stands beside it, written out with the numbers of this text.
"""

from dataclasses import dataclass

import numpy as np

from gpt2lab.figures import label
from gpt2lab.gradients import INTEGRATED, is_complete
from gpt2lab.inspections.tokens import TokenPieces

NAMED = 3
"""Tokens that have a term of their own in the sum."""
LONGEST_NAME = 12


@dataclass(frozen=True, eq=False)
class Gradients:
    """What each token of a text adds to one number that the model computes behind it.

    pieces: the n tokens, from the first to the one at `position`.
    position: whose next token is explained, counted from the start of the text.
    id, token: the token that is explained, and its vocabulary string.
    output: "logit" or "log-probability": what is explained about it.
    method: "integrated gradients" or "gradient × input".
    baseline: "zero" or "end-of-text token".
    value, baseline_value: the output for the text and for the baseline; None for the baseline of a
        long text, where gradient × input can do without that pass.
    attributions: (n,), float64, in units of the output.
    steps: gradients that were averaged.
    """

    pieces: TokenPieces
    position: int
    id: int
    token: str
    output: str
    method: str
    baseline: str
    value: float
    baseline_value: float | None
    attributions: np.ndarray
    steps: int

    @property
    def difference(self) -> float | None:
        """What the output gained on the way from the baseline to the text, if that is known."""
        return None if self.baseline_value is None else self.value - self.baseline_value

    @property
    def total(self) -> float:
        """Sum of the attributions."""
        return float(self.attributions.sum())

    @property
    def gap(self) -> float | None:
        """By how much the sum misses the difference, in units of the output."""
        return None if self.difference is None else self.total - self.difference

    @property
    def complete(self) -> bool:
        """Whether that is less than 1 % of the difference."""
        return self.difference is not None and is_complete(self.total, self.difference)

    @property
    def largest(self) -> np.ndarray:
        """Positions, those with the largest attributions of either sign first: (n,)."""
        return np.argsort(-np.abs(self.attributions), kind="stable")

    @property
    def formula(self) -> str:
        """The sum with its numbers: the largest attributions one by one, and the others."""
        named, others = self.largest[:NAMED], self.largest[NAMED:]
        terms = [
            (float(self.attributions[place]), _short(self.pieces.shown[place])) for place in named
        ]
        if len(others):
            rest = float(self.attributions[others].sum())
            terms.append((rest, f"({len(others):,} other{'s' * (len(others) > 1)})"))
        signed = [f"{'−' if one < 0 else '+'} {written(abs(one))} {name}" for one, name in terms]
        first = " ".join(signed).removeprefix("+ ")
        return f"{written(self.total)} = {first}"

    @property
    def facts(self) -> str:
        """What the attributions sum to, what they should, and how far that is apart."""
        if self.baseline_value is None or self.difference is None or self.gap is None:
            return (
                f"sum {written(self.total)}; text {written(self.value)}; "
                "baseline of so long a text: left out"
            )
        gap = f"{abs(self.gap / self.difference):.2%}" if self.difference else "0 %"
        verdict = f"{gap} apart"
        if self.method == INTEGRATED:
            verdict += ", complete" if self.complete else ", NOT complete: read with care"
        less = written(self.baseline_value)
        less = f"({less})" if self.baseline_value < 0 else less
        return (
            f"sum {written(self.total)}; text − baseline = {written(self.value)} − {less} = "
            f"{written(self.difference)}: {verdict}"
        )


def written(value: float) -> str:
    """A number with two decimals and a true minus."""
    return f"{value:z.2f}".replace("-", "−")


def _short(shown: str) -> str:
    name = label(shown)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
