"""Which part of a text a tab is given, and where its positions point."""

import pytest

from gpt2lab import work
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.scoring import Window
from gpt2lab.tokens import prompt_ids
from gpt2lab.trace import Text, Trace
from gpt2lab.transcript import Passage, Transcript
from gpt2lab.ui.reading import Reading, reading
from gpt2lab.ui.session import Focus, Session, Writer, fitted, subject
from gpt2lab.ui.traces import Traces

BY_NAME = {one.name: one for one in INSPECTIONS}
LONG = list(range(1000, 1300))


def test_a_text_that_fits_is_traced(random_gpt2: Gpt2) -> None:
    looked_at = fitted(random_gpt2, LONG[:128], room=0)
    for one in INSPECTIONS:
        read = reading(one, random_gpt2, looked_at, Traces())
        assert isinstance(read.text, Trace)
        assert (read.text.ids.tolist(), read.first) == (LONG[:128], 0)


def test_a_longer_one_is_scored_whole_and_cut_elsewhere(random_gpt2: Gpt2) -> None:
    looked_at, traces = fitted(random_gpt2, LONG, room=0), Traces()
    for one in INSPECTIONS:
        read = reading(one, random_gpt2, looked_at, traces)
        whole = one.name in {"tokens", "score"}
        assert read.whole is whole
        assert isinstance(read.text, Trace) is not whole
        assert read.text.ids.tolist() == (LONG if whole else LONG[-128:])
        assert read.first == (300 - 128 if whole else 0)


def test_around_a_picked_token_all_of_a_long_text_is_there(random_gpt2: Gpt2) -> None:
    transcript = Transcript().continued(Passage("you", tuple(LONG), "long"))
    for offset in (0, 20, 250, 299):
        looked_at = subject(random_gpt2, Session(transcript, Focus(0, offset)), Writer(""))
        read = reading(BY_NAME["score"], random_gpt2, looked_at, Traces())
        assert read.text.ids.tolist() == LONG
        assert looked_at.ids == tuple(LONG[read.first : read.first + 128])


def test_what_was_only_cut_for_room_is_read_as_the_model_read_it(random_gpt2: Gpt2) -> None:
    looked_at = fitted(random_gpt2, LONG[:128], room=28)
    assert looked_at.dropped == 28
    read = reading(BY_NAME["score"], random_gpt2, looked_at, Traces())
    assert (read.whole, read.first, read.text.ids.tolist()) == (False, 0, LONG[28:128])


def test_what_would_take_minutes_is_cut(wide_gpt2: Gpt2, monkeypatch: pytest.MonkeyPatch) -> None:
    score = BY_NAME["score"]
    assert score.whole is not None
    # Beyond 16,896 tokens, windows of 1,024 that overlap by half read more than 32,768.
    assert score.whole(wide_gpt2, 16_896)
    assert not score.whole(wide_gpt2, 16_897)
    # One pass of this thin model is mostly its output layer, 2 · 1024 · 4 · 50257 operations.
    monkeypatch.setattr(work, "LARGEST", 10 * 2 * 1024 * 4 * 50257 / 2)
    read = [Window.checked(wide_gpt2).read(n) for n in range(20_000) if score.whole(wide_gpt2, n)]
    assert max(read) / 1024 == pytest.approx(9, abs=0.6)


def test_positions_of_the_strip_are_positions_of_the_whole_text(random_gpt2: Gpt2) -> None:
    read = Reading(Text(random_gpt2, prompt_ids(random_gpt2, "")), first=172)
    score = BY_NAME["score"]
    for given, meant in ((0, 172), (127, 299), (-1, -1), (-128, -128)):
        arguments = read.arguments(score, {"position": given, "window": 50, "stride": 0})
        assert arguments == {"position": meant, "window": 50, "stride": 0}


def test_what_is_no_position_is_left_for_the_inspection_to_refuse(random_gpt2: Gpt2) -> None:
    read = Reading(Text(random_gpt2, prompt_ids(random_gpt2, "")))
    assert read.arguments(BY_NAME["score"], {"position": None}) == {"position": None}
