"""Scores are those of transformers; windows count each token once, with enough text before it."""

import numpy as np
import pytest
import torch
from prompts import PROMPTS
from texts import TEXTS

from gpt2lab import scoring
from gpt2lab.refusal import Refusal
from gpt2lab.scoring import Window, numbers
from gpt2lab.tokens import encode, prompt_ids
from gpt2lab.trace import trace_ids

WITHIN = 1e-5
"""Nats and bits, both sides in float32; absolute, and relative for those above 1."""
EVERY = [PROMPTS[name] for name in ("emoji", "arabic", "chinese", "code", "blank runs")]
WINDOWS = [(8, 4), (8, 1), (8, 7), (5, 3), (2, 1), (16, 5)]


@torch.no_grad()
def logits_before(model, ids: list[int]) -> torch.Tensor:
    """What the model says of the token after `ids`: (vocab_size,)."""
    return model(torch.tensor([ids])).logits[0, -1]


def assert_scored(found, place: int, chosen: int, logits: torch.Tensor) -> None:
    """One token's numbers against their definitions."""
    log_p = logits.log_softmax(-1)
    bits = float(-(log_p.exp() * log_p).sum() / np.log(2))
    assert found.logprobs[place] == pytest.approx(float(log_p[chosen]), rel=WITHIN, abs=WITHIN)
    assert found.entropy_bits[place] == pytest.approx(bits, rel=WITHIN, abs=WITHIN)
    # Two logits that are equal but for the last digit may change places.
    surely = int((logits > logits[chosen] + WITHIN).sum()) + 1
    perhaps = int((logits > logits[chosen] - WITHIN).sum())
    assert surely <= found.ranks[place] <= max(surely, perhaps)


def begin_of(place: int, size: int, stride: int) -> int:
    """Where the first window begins that reaches a place."""
    return next(begin for begin in range(0, 10**6, stride) if begin + size > place)


@pytest.mark.parametrize(
    ("gpt2", "text"),
    [
        *(("random_gpt2", text) for text in TEXTS.values()),
        *(("pocket", text) for text in PROMPTS.values()),
    ],
    indirect=["gpt2"],
)
def test_each_token_is_scored_as_transformers_does(gpt2, plain, text):
    ids = (encode(gpt2, text) or prompt_ids(gpt2, text))[: gpt2.n_positions]
    found = numbers(gpt2, ids, Window.checked(gpt2))
    assert found.logprobs.shape == found.ranks.shape == found.entropy_bits.shape == (len(ids),)
    assert np.isnan([found.logprobs[0], found.entropy_bits[0]]).all()
    assert found.ranks[0] == 0
    with torch.no_grad():
        output = plain(torch.tensor([ids]), labels=torch.tensor([ids]))
    for place in range(1, len(ids)):
        assert_scored(found, place, ids[place], output.logits[0, place - 1])
    assert found.loss == pytest.approx(float(output.loss), rel=WITHIN, nan_ok=len(ids) == 1)
    assert found.perplexity == pytest.approx(np.exp(found.loss), rel=1e-12, nan_ok=True)
    assert sum(found.histogram) == len(ids) - 1


def test_a_full_context_is_one_pass(random_gpt2):
    """More tokens than are computed at once, and the trace's own states."""
    ids = (encode(random_gpt2, " ".join(EVERY)) * 9)[:128]
    trace = trace_ids(random_gpt2, ids)
    found = scoring._numbers(random_gpt2, ids, Window.checked(random_gpt2), trace)
    for place, logits in enumerate(trace.all_logits(0, 127), start=1):
        assert_scored(found, place, ids[place], logits)


@pytest.mark.parametrize("gpt2", ["random_gpt2"], indirect=True)
@pytest.mark.parametrize(("size", "stride"), WINDOWS)
def test_a_sliding_window_is_one_pass_per_token_over_what_is_in_view(gpt2, plain, size, stride):
    ids = encode(gpt2, " ".join(EVERY))[:47]
    found = numbers(gpt2, ids, Window(size, stride))
    for place in range(1, len(ids)):
        begin = begin_of(place, size, stride)
        assert place - begin >= min(place, size - stride)
        assert_scored(found, place, ids[place], logits_before(plain, ids[begin:place]))


@pytest.mark.parametrize("length", range(1, 20))
@pytest.mark.parametrize(("size", "stride"), WINDOWS)
def test_every_token_but_the_first_is_counted_once(length, size, stride):
    begins = Window(size, stride).begins(length)
    counted: list[int] = []
    for begin in begins:
        first = 1 if begin == 0 else begin + size - stride
        counted += range(first, min(begin + size, length))
    assert counted == list(range(1, length))
    assert Window(size, stride).read(length) == sum(min(size, length - one) for one in begins)


def test_windows_of_the_whole_text_change_nothing(random_gpt2):
    ids = encode(random_gpt2, PROMPTS["repeats"])
    whole = numbers(random_gpt2, ids, Window(128, 64))
    for window in (Window(len(ids), 1), Window(len(ids) + 1, 3)):
        assert np.array_equal(numbers(random_gpt2, ids, window).logprobs, whole.logprobs, True)
    shorter = numbers(random_gpt2, ids, Window(4, 2))
    assert np.nanmax(np.abs(shorter.logprobs - whole.logprobs)) > 0.01


@pytest.mark.parametrize(
    ("given", "used"),
    [((), (128, 64)), ((20,), (20, 10)), ((20, 3), (20, 3)), ((20, 900), (20, 19)),
     ((1000, 0), (128, 64)), ((2, 0), (2, 1)), ((3, 0), (3, 1)), ((0, 1), (128, 1))],
)  # fmt: skip
def test_windows_fit_the_model(random_gpt2, given, used):
    assert Window.checked(random_gpt2, *given) == Window(*used)


def test_what_cannot_be_scored_is_refused(random_gpt2):
    with pytest.raises(Refusal, match=r"^window is 1, but must be 0 or 2 and more"):
        Window.checked(random_gpt2, 1)
    with pytest.raises(Refusal, match="stride is 1024"):
        Window.checked(random_gpt2, 0, 1024)
    with pytest.raises(Refusal, match=r"read 33,\d\d\d, and at most 32,768 are read; please"):
        numbers(random_gpt2, [464] * 33_100, Window(128, 127))
    with pytest.raises(Refusal, match="larger stride"):
        numbers(random_gpt2, [464] * 500, Window(128, 1))


def test_the_same_question_is_computed_once(random_gpt2):
    ids = encode(random_gpt2, "once and never again")
    first = numbers(random_gpt2, ids, Window(128, 64))
    assert numbers(random_gpt2, list(ids), Window(128, 64)) is first
    with pytest.raises(ValueError, match="read-only"):
        first.logprobs[1] = 0
    assert numbers(random_gpt2, ids, Window(3, 1)) is not first
    for length in range(1, scoring.REMEMBERED + 1):
        numbers(random_gpt2, [464] * length, Window(128, 64))
    assert numbers(random_gpt2, ids, Window(128, 64)) is not first
