"""What was sent to the browser is never sent again, and ends as if it were drawn at once."""

import json
from itertools import pairwise
from typing import Any

import pytest

from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.tokens import encode
from gpt2lab.transcript import Passage, Transcript
from gpt2lab.ui import streaming
from gpt2lab.ui.branches import tree_lines
from gpt2lab.ui.growing import Growing, drawn
from gpt2lab.ui.session import Session
from gpt2lab.ui.token_strip import transcript_lines
from gpt2lab.ui.traces import Traces
from gpt2lab.ui.writing import Place, write


@pytest.fixture(autouse=True)
def every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update for each token, however fast they come."""
    monkeypatch.setattr(streaming, "SECONDS_PER_UPDATE", (0.0, 0.0))


@pytest.fixture(scope="module")
def start(random_gpt2: Gpt2) -> Transcript:
    text = "Today we can 🎉 <b>"
    return Transcript().continued(Passage("you", tuple(encode(random_gpt2, text)), text))


def updates(
    gpt2: Gpt2, transcript: Transcript, place: Place, decoding: Decoding
) -> tuple[list[str], Transcript]:
    """The lines of every update, and the transcript at the end."""
    lines: Growing | None = None
    found: list[str] = []
    for draft in write(gpt2, transcript, place, decoding, Traces()):
        lines = lines or Growing(gpt2, draft.transcript, draft.first)
        found.append(lines.grown(draft.transcript, decoding.num_return_sequences, draft.finished))
    return found, draft.transcript


def assert_only_grows(found: list[str]) -> None:
    for before, after in pairwise(found[1:]):
        assert after.startswith(before)
        assert len(after) > len(before)


def by_turn(lines: str) -> dict[int, list[Any]]:
    """What is said of each turn, in order."""
    turns: dict[int, list[Any]] = {}
    for line in lines.splitlines():
        record = json.loads(line)
        turn = record[0] if isinstance(record, list) else record.get("turn", record.get("end"))
        turns.setdefault(turn, []).append(record)
    return turns


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_one_answer_ends_as_if_it_were_drawn_at_once(
    random_gpt2: Gpt2, start: Transcript, strategy: str
) -> None:
    decoding = Decoding(strategy, max_new_tokens=6, num_beams=2)
    place = Place(0, len(start.ids()))
    found, transcript = updates(random_gpt2, start, place, decoding)
    assert len(found) == 7
    assert found[0] == transcript_lines(random_gpt2, start)
    assert found[1].startswith(found[0])
    assert_only_grows(found)
    assert found[-1] == transcript_lines(random_gpt2, transcript)


@pytest.mark.parametrize("strategy", ["sample", "beam"])
def test_samples_grow_side_by_side(random_gpt2: Gpt2, start: Transcript, strategy: str) -> None:
    """Their lines come in the order of the tokens; drawn at once they come turn by turn."""
    decoding = Decoding(strategy, max_new_tokens=4, num_return_sequences=3, num_beams=3)
    place = Place(0, len(start.ids()))
    found, transcript = updates(random_gpt2, start, place, decoding)
    assert len(found) == 13
    assert found[1].startswith(found[0])
    assert_only_grows(found)
    assert by_turn(found[-1]) == by_turn(transcript_lines(random_gpt2, transcript))
    order = [json.loads(line)[0] for line in found[-1].splitlines() if line.startswith("[")]
    prompt = [0] * len(start.ids())
    interleaved = [1, 2, 3] * 4 if strategy == "sample" else [1] * 4 + [2] * 4 + [3] * 4
    assert order == prompt + interleaved


def test_each_update_appends_the_lines_of_its_tokens_alone(
    random_gpt2: Gpt2, start: Transcript
) -> None:
    place = Place(0, len(start.ids()))
    found, transcript = updates(random_gpt2, start, place, Decoding(max_new_tokens=5))
    appended = [after.removeprefix(before) for before, after in pairwise(found)]
    kinds = [[line[:2] for line in one.splitlines()] for one in appended]
    assert kinds == [['{"', "[1"], ["[1"], ["[1"], ["[1"], ["[1", '{"']]
    ids = [json.loads(one.splitlines()[-1])[2] for one in appended[:-1]]
    assert tuple(ids) == transcript.passages[1].ids[:4]


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("forced", [(), (257, 262)])
@pytest.mark.parametrize("samples", [1, 2])
def test_a_branch_draws_what_stands_before_anew_and_grows_from_there(
    random_gpt2: Gpt2, start: Transcript, at: int, forced: tuple[int, ...], samples: int
) -> None:
    """The old branch is in the first update, when nothing is written yet, and not in the next."""
    five = Decoding(max_new_tokens=5)
    _, before = updates(random_gpt2, start, Place(0, len(start.ids())), five)
    decoding = Decoding(max_new_tokens=3, seed=5, num_return_sequences=samples)
    found, transcript = updates(random_gpt2, before, Place(1, at, forced), decoding)
    assert found[0] == transcript_lines(random_gpt2, before)
    assert_only_grows(found)
    whole = transcript_lines(random_gpt2, transcript)
    assert by_turn(found[-1]) == by_turn(whole)
    if samples == 1:
        assert found[-1] == whole
    left = [one["left"] for one in by_turn(whole)[1] if isinstance(one, dict) and "end" in one]
    assert left == [5 - at]


def test_a_retry_beside_samples_takes_their_place(random_gpt2: Gpt2, start: Transcript) -> None:
    two = Decoding(max_new_tokens=3, num_return_sequences=2)
    place = Place(0, len(start.ids()))
    _, before = updates(random_gpt2, start, place, two)
    found, transcript = updates(random_gpt2, before, place, Decoding(max_new_tokens=3, seed=8))
    assert_only_grows(found)
    assert found[-1] == transcript_lines(random_gpt2, transcript)
    assert sorted(by_turn(found[-1])) == [0, 1]


def test_answers_of_different_lengths(random_gpt2: Gpt2, start: Transcript) -> None:
    """One sample ends early, while the others still grow."""
    place = Place(0, len(start.ids()))
    many = Decoding(max_new_tokens=12, num_return_sequences=4, top_k=0, stop=("e",))
    found, transcript = updates(random_gpt2, start, place, many)
    assert len({len(one.ids) for one in transcript.passages[1:]}) > 1
    assert_only_grows(found)
    assert by_turn(found[-1]) == by_turn(transcript_lines(random_gpt2, transcript))


def test_what_is_drawn_at_once_is_the_transcript_and_its_tree(
    random_gpt2: Gpt2, start: Transcript
) -> None:
    lines, tree = drawn(random_gpt2, Session(start))
    assert lines == transcript_lines(random_gpt2, start)
    assert tree == tree_lines(start, random_gpt2)
    assert drawn(random_gpt2, Session()) == ("", "[]")
