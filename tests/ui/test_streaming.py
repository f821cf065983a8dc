"""Updates take a small share of the time, however dear one is and however fast the tokens come."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.tokens import prompt_ids
from gpt2lab.ui import streaming
from gpt2lab.ui.streaming import SECONDS_PER_UPDATE, SHARE_OF_UPDATES, Progress, written


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watched(random_gpt2, monkeypatch):
    """Stream 50 steps of so many seconds; returns how many tokens each update showed."""

    def stream(per_step: float, per_update: float) -> tuple[list[int], Clock]:
        clock = Clock()

        def slow(*arguments):
            for step in generate(*arguments):
                clock.now += per_step
                yield step

        monkeypatch.setattr(streaming, "time", clock)
        monkeypatch.setattr(streaming, "generate", slow)
        monkeypatch.setattr(streaming, "TOKENS_TO_DOUBLE", 1e9)
        counts = []
        decoding = Decoding(max_new_tokens=50, min_new_tokens=50)
        for progress in written(random_gpt2, prompt_ids(random_gpt2, "to be or"), decoding):
            clock.now += per_update
            counts.append(progress.count)
        return counts, clock

    return stream


@pytest.mark.parametrize("per_step", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("per_update", [0.0001, 0.002, 0.01])
def test_updates_take_a_small_share_of_the_time(watched, per_step, per_update) -> None:
    counts, clock = watched(per_step, per_update)
    assert counts[-1] == 50
    # The first update comes before its cost is known, the last one when all is written.
    costly = (len(counts) - 2) * per_update
    # Nobody waits longer than the longest pause, even if updates are dear.
    assert costly <= max(SHARE_OF_UPDATES, per_update / SECONDS_PER_UPDATE[1]) * clock.now
    gaps = [later - earlier for earlier, later in pairwise(counts)]
    assert max(gaps) * per_step <= SECONDS_PER_UPDATE[1] + per_step + 1e-9


def test_cheap_updates_come_at_every_token(watched) -> None:
    counts, _ = watched(0.05, 0.0)
    assert counts == list(range(1, 51))


def test_the_rate_counts_all_sequences() -> None:
    steps = [SimpleNamespace(finish_reason=None)] * 30
    progress = Progress([steps, steps], 2.0)
    assert (progress.count, progress.rate, progress.finished) == (60, 30.0, False)
