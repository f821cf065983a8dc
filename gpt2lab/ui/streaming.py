"""Tokens may come faster than anybody can look: gather them, and send them on at a calm pace.

While an update is packed and sent, nothing is computed. So the pace follows the cost: updates
together take at most a fixed share of the time, however fast the model and the machine are.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.models import Gpt2
from gpt2lab.step import Step

SHARE_OF_UPDATES = 0.015
"""Of the time that a generation takes."""
SECONDS_PER_UPDATE = (0.03, 0.5)
"""At least and, for short texts, at most."""
TOKENS_TO_DOUBLE = 200
"""Tokens after which updates come half as often."""


@dataclass(frozen=True)
class Progress:
    """What is written so far: the steps of every sequence, and the seconds that it took."""

    sequences: list[list[Step]]
    seconds: float

    @property
    def finished(self) -> bool:
        """Whether all sequences have ended."""
        return all(steps and steps[-1].finish_reason for steps in self.sequences)

    @property
    def rate(self) -> float:
        """Tokens per second, in all sequences together."""
        return self.count / max(self.seconds, 1e-6)

    @property
    def count(self) -> int:
        """Number of tokens in all sequences."""
        return sum(map(len, self.sequences))


def written(gpt2: Gpt2, ids: list[int], decoding: Decoding) -> Iterator[Progress]:
    """Continue `ids` and yield what is there at every update, the last time when all is."""
    steps = generate(gpt2, ids, decoding)
    sequences: list[list[Step]] = [[] for _ in range(decoding.num_return_sequences)]
    began = shown = time.monotonic()
    shortest, longest = SECONDS_PER_UPDATE
    pause = shortest
    for step in steps:
        sequences[step.sequence].append(step)
        now = time.monotonic()
        progress = Progress(sequences, now - began)
        # The browser compares the whole text at each update, so a long one comes less often.
        if progress.finished or now - shown >= pause * (1 + progress.count / TOKENS_TO_DOUBLE):
            yield progress
            shown = time.monotonic()
            pause = min(max((shown - now) / SHARE_OF_UPDATES, shortest), longest)
