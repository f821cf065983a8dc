"""Every move keeps what was there, goes on where it should, and refuses what no page would send."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prompts import HOSTILE

from gpt2lab.chat import TEMPLATE
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import decode, encode
from gpt2lab.transcript import MAX_PASSAGES, Passage, Transcript, Writing
from gpt2lab.ui import moves
from gpt2lab.ui.document import Document, from_json, to_json
from gpt2lab.ui.moves import Move
from gpt2lab.ui.session import CHAT, Focus, Session, Writer
from gpt2lab.ui.traces import Traces
from gpt2lab.ui.writing import Place, write

NUMBERS = 1e-5
"""Log-probabilities and probabilities, absolute, of a text read again."""
SHORT = Decoding(max_new_tokens=5)
NOTHING = Writer("")
HELLO = Writer("Hello", CHAT)


def done(gpt2: Gpt2, move: Move, template: str | None = None) -> Session:
    """The session when the model has written what the move asks for."""
    if move.place is None:
        return Session(move.transcript)
    *_, last = write(gpt2, move.transcript, move.place, move.decoding, Traces(), template)
    return Session(last.transcript)


@pytest.fixture(scope="module")
def story(random_gpt2: Gpt2) -> Session:
    """0: you; 1: the model; 2: you; 3: the model, active."""
    session = done(random_gpt2, moves.send(random_gpt2, Session(), Writer("Today we"), SHORT))
    return done(random_gpt2, moves.send(random_gpt2, session, Writer(" and then"), SHORT))


@pytest.fixture(scope="module")
def talk(random_gpt2: Gpt2) -> Session:
    """A chat: 0: you; 1: an answer that ended with the beginning of your next line."""
    move = moves.send(random_gpt2, Session(), HELLO, SHORT)
    ids = tuple(encode(random_gpt2, " I am fine.\nUser:"))
    writing = Writing("random", move.decoding, finish_reason="stop")
    answer = Passage("model", ids, "I am fine.", writing=writing)
    return Session(move.transcript.continued(answer))


def assert_nothing_lost(before: Session, move: Move) -> None:
    count = len(before.transcript.passages)
    assert move.transcript.passages[:count] == before.transcript.passages


# --- send and go on ------------------------------------------------------------------------------


def test_what_is_sent_joins_the_transcript_and_the_model_goes_on(random_gpt2: Gpt2) -> None:
    move = moves.send(random_gpt2, Session(), Writer("Today we"), SHORT)
    assert move.transcript.passages == (Passage("you", (8888, 356), "Today we"),)
    assert (move.place, move.decoding, move.box) == (Place(0, 2), SHORT, None)
    session = done(random_gpt2, move)
    more = moves.send(random_gpt2, session, Writer(" can"), SHORT)
    assert_nothing_lost(session, more)
    assert more.transcript.passages[2] == Passage("you", (460,), " can", parent=1, at=5)
    assert more.place == Place(2, 1)


def test_with_nothing_typed_the_model_just_goes_on(random_gpt2: Gpt2, story: Session) -> None:
    move = moves.send(random_gpt2, story, NOTHING, SHORT)
    assert move.transcript == story.transcript
    assert move.place == Place(3, 5)
    session = done(random_gpt2, move)
    assert session.transcript.ids()[: len(story.transcript.ids())] == story.transcript.ids()
    assert len(session.transcript.passages) == 5


@pytest.mark.parametrize("mode", ["continue", CHAT])
def test_nothing_at_all_begins_from_the_beginning_of_text(random_gpt2: Gpt2, mode: str) -> None:
    move = moves.send(random_gpt2, Session(), Writer("", mode), SHORT)
    assert move.transcript.passages == (Passage("you", (50256,), ""),)
    assert move.place == Place(0, 1)
    assert len(done(random_gpt2, move).transcript.passages[1].ids) == 5


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_text_can_be_sent_and_stays_what_it_is(random_gpt2: Gpt2, text: str) -> None:
    move = moves.send(random_gpt2, Session(), Writer(text), SHORT)
    assert move.transcript.passages[0].text == text
    assert decode(random_gpt2, move.transcript.ids()) == text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_return_sequences": 9}, "here at most 8 are written at once."),
        ({"strategy": "beam", "num_beams": 9}, "here at most 8 are searched."),
    ],
)
def test_what_costs_too_much_is_refused_by_every_move(
    random_gpt2: Gpt2, story: Session, settings: dict[str, Any], said: str
) -> None:
    decoding = replace(SHORT, **settings)
    data = {"passage": 1, "offset": 1, "id": 5, "text": "x", "follow": "generate"}
    for move in (
        lambda: moves.send(random_gpt2, story, Writer("x"), decoding),
        lambda: moves.retry(story, NOTHING, decoding, new_seed=False),
        lambda: moves.branch(random_gpt2, story, NOTHING, decoding, data),
        lambda: moves.edit(random_gpt2, story, NOTHING, decoding, data),
    ):
        with pytest.raises(Refusal, match=said):
            move()


def test_a_full_transcript_takes_nothing_more(random_gpt2: Gpt2) -> None:
    passages = (Passage("you", (8888,), "Today"),) * MAX_PASSAGES
    full = Session(Transcript(passages, 0))
    with pytest.raises(Refusal, match="save it as a file and clear it"):
        moves.send(random_gpt2, full, Writer("x"), SHORT)


# --- retry ---------------------------------------------------------------------------------------


def test_retry_with_the_same_settings_writes_the_same_text(
    random_gpt2: Gpt2, story: Session
) -> None:
    move = moves.retry(story, NOTHING, SHORT, new_seed=False)
    assert_nothing_lost(story, move)
    assert (move.place, move.box) == (Place(2, 2), None)
    again = done(random_gpt2, move).transcript
    assert (again.passages[4].ids, again.passages[4].choices) == (
        story.transcript.passages[3].ids,
        story.transcript.passages[3].choices,
    )
    assert again.branches(3) == (3, 4)
    assert again.active == 4


def test_retry_with_a_new_seed_writes_another(random_gpt2: Gpt2, story: Session) -> None:
    found = [moves.retry(story, NOTHING, SHORT, new_seed=True) for _ in range(3)]
    seeds = {move.decoding.seed for move in found}
    assert len({42, *seeds}) == 4
    assert all(replace(move.decoding, seed=42) == SHORT for move in found)
    texts = {done(random_gpt2, move).transcript.ids() for move in found}
    assert len({*texts, story.transcript.ids()}) == 4


def test_retry_uses_the_settings_as_they_are_now(random_gpt2: Gpt2, story: Session) -> None:
    other = Decoding("greedy", max_new_tokens=2)
    again = done(random_gpt2, moves.retry(story, NOTHING, other, new_seed=False)).transcript
    writing = again.passages[4].writing
    assert writing is not None
    assert writing.decoding == other
    assert len(again.passages[4].ids) == 2


def test_retry_of_a_branch_keeps_the_token_that_was_chosen(
    random_gpt2: Gpt2, story: Session
) -> None:
    data = {"passage": 1, "offset": 2, "id": 257}
    branch = done(random_gpt2, moves.branch(random_gpt2, story, NOTHING, SHORT, data))
    move = moves.retry(branch, NOTHING, SHORT, new_seed=False)
    assert move.place == Place(1, 2, (257,))
    again = done(random_gpt2, move).transcript
    assert again.passages[5].ids == branch.transcript.passages[4].ids
    assert again.passages[5].choices == branch.transcript.passages[4].choices


def test_retry_behind_your_own_text_writes_there(random_gpt2: Gpt2, story: Session) -> None:
    move = moves.retry(Session(story.transcript.at(2)), NOTHING, SHORT, new_seed=False)
    assert move.place == Place(2, 2)
    assert done(random_gpt2, move).transcript.branches(3) == (3, 4)


def test_there_is_nothing_to_retry_or_undo_before_the_beginning(story: Session) -> None:
    for empty in (Session(), Session(story.transcript.at(None))):
        with pytest.raises(Refusal, match=r"^There is nothing to retry yet; write something"):
            moves.retry(empty, NOTHING, SHORT, new_seed=True)
        with pytest.raises(Refusal, match=r"^There is nothing to undo: .* at its beginning\.$"):
            moves.undo(empty, NOTHING, SHORT)


# --- undo ----------------------------------------------------------------------------------------


def test_undo_gives_back_what_was_typed(story: Session) -> None:
    once = moves.undo(story, NOTHING, SHORT)
    assert (once.transcript.active, once.box, once.place) == (1, " and then", None)
    twice = moves.undo(Session(once.transcript), NOTHING, SHORT)
    assert (twice.transcript.active, twice.box) == (None, "Today we")
    assert twice.transcript.passages == story.transcript.passages


def test_undo_never_overwrites_what_is_typed_now(story: Session) -> None:
    typed = Writer("a long new thought")
    assert moves.undo(story, typed, SHORT).box == "a long new thought"
    unanswered = Session(story.transcript.at(2))
    assert moves.undo(unanswered, typed, SHORT).box == "a long new thought"
    undone = moves.undo(unanswered, NOTHING, SHORT)
    assert (undone.transcript.active, undone.box) == (1, " and then")


def test_undo_of_more_tokens_and_of_a_branch_leaves_the_box_alone(
    random_gpt2: Gpt2, story: Session
) -> None:
    more = done(random_gpt2, moves.send(random_gpt2, story, NOTHING, SHORT))
    undone = moves.undo(more, NOTHING, SHORT)
    assert (undone.transcript.active, undone.box) == (3, None)
    for passage in (0, 1):
        data = {"passage": passage, "offset": 1, "id": 257}
        branch = done(random_gpt2, moves.branch(random_gpt2, story, NOTHING, SHORT, data))
        undone = moves.undo(branch, NOTHING, SHORT)
        assert (undone.transcript.active, undone.box) == (passage, None)


# --- branch --------------------------------------------------------------------------------------


def test_a_branch_in_the_middle_begins_with_the_chosen_token(
    random_gpt2: Gpt2, story: Session
) -> None:
    move = moves.branch(random_gpt2, story, NOTHING, SHORT, {"passage": 1, "offset": 3, "id": 257})
    assert (move.transcript, move.place) == (story.transcript, Place(1, 3, (257,)))
    branch = done(random_gpt2, move).transcript
    assert branch.ids()[:6] == (*story.transcript.ids()[:5], 257)
    assert len(branch.passages[4].ids) == 6
    assert branch.passages[4].writing is not None
    assert branch.passages[4].writing.forced == 1


def test_a_branch_at_a_passages_first_token_stands_beside_it(
    random_gpt2: Gpt2, story: Session
) -> None:
    move = moves.branch(random_gpt2, story, NOTHING, SHORT, {"passage": 3, "offset": 0, "id": 257})
    assert move.place == Place(2, 2, (257,))
    branch = done(random_gpt2, move).transcript
    assert branch.branches(3) == (3, 4)
    assert branch.passages[4].ids[0] == 257


def test_a_branch_at_the_first_token_of_all_begins_another_text(
    random_gpt2: Gpt2, story: Session
) -> None:
    move = moves.branch(
        random_gpt2, story, NOTHING, SHORT, {"passage": 0, "offset": 0, "id": 464.0}
    )
    assert_nothing_lost(story, move)
    assert move.transcript.passages[4] == Passage("you", (464,), "The")
    assert move.place == Place(4, 1)
    assert done(random_gpt2, move).transcript.ids()[0] == 464


NO_NUMBERS = [
    None, "1", "", True, False, math.nan, math.inf, -math.inf, -1, 1.5, 10**400, 1e300,
    [], [1], {}, {"a": 1}, 1j,
]  # fmt: skip


def refusal(act: Callable[[], object]) -> str:
    """The one sentence with which something is refused."""
    with pytest.raises(Refusal) as caught:
        act()
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 300
    return said


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=lambda one: repr(one)[:20])
def test_what_no_page_would_send_is_refused(
    random_gpt2: Gpt2, story: Session, wrong: object
) -> None:
    def branch(**data: object) -> str:
        return refusal(lambda: moves.branch(random_gpt2, story, NOTHING, SHORT, data))

    assert branch(passage=wrong, offset=0, id=5).startswith("the passage is ")
    assert branch(passage=1, offset=wrong, id=5).startswith("the token is ")
    assert branch(passage=1, offset=1, id=wrong).startswith("the token's id is ")
    for act in (
        lambda: moves.edit(random_gpt2, story, NOTHING, SHORT, {"passage": wrong, "text": "x"}),
        lambda: moves.go_to(story, {"passage": wrong}),
        lambda: moves.with_numbers(random_gpt2, story, {"passage": wrong}, Traces()),
    ):
        assert refusal(act).startswith("the passage is ")
    assert refusal(lambda: moves.checked_focus(story, {"passage": 0, "offset": wrong}))
    if wrong not in ("1", ""):
        data = {"passage": 1, "text": wrong}
        said = refusal(lambda: moves.edit(random_gpt2, story, NOTHING, SHORT, data))
        assert said.startswith("The edited text must be a string")


def test_what_is_not_there_is_refused(random_gpt2: Gpt2, story: Session) -> None:
    def branch(session: Session, **data: object) -> str:
        return refusal(lambda: moves.branch(random_gpt2, session, NOTHING, SHORT, data))

    assert branch(story, passage=4, offset=0, id=5).endswith("whole number from 0 to 3.")
    assert branch(story, passage=0, offset=2, id=5).endswith("whole number from 0 to 1.")
    assert branch(story, passage=0, offset=0, id=50257).endswith("whole number from 0 to 50256.")
    assert branch(Session(), passage=0) == "The transcript is empty; write something first."
    assert branch(story) == "the passage is None, but must be a whole number from 0 to 3."
    hollow = Session(Transcript().continued(Passage("you", (), "")))
    assert branch(hollow, passage=0, offset=0, id=5).startswith("That passage is empty")
    assert moves.with_numbers(random_gpt2, hollow, {"passage": 0}, Traces()) is hollow
    assert moves.checked_focus(story, {"passage": 1.0, "offset": 4}) == Focus(1, 4)


# --- edit and go to ------------------------------------------------------------------------------


def test_an_edit_keeps_what_follows(random_gpt2: Gpt2, story: Session) -> None:
    data = {"passage": 1, "text": " slept", "follow": "keep"}
    move = moves.edit(random_gpt2, story, NOTHING, SHORT, data)
    assert_nothing_lost(story, move)
    assert (move.place, move.box) == (None, None)
    old = story.transcript
    ids = tuple(encode(random_gpt2, " slept"))
    assert move.transcript.ids() == (
        *old.passages[0].ids, *ids, *old.passages[2].ids, *old.passages[3].ids,
    )  # fmt: skip
    assert decode(random_gpt2, move.transcript.ids()).startswith("Today we slept and then")


def test_an_edit_lets_the_model_write_anew_what_follows(random_gpt2: Gpt2, story: Session) -> None:
    data = {"passage": 0, "text": "Yesterday she", "follow": "generate"}
    move = moves.edit(random_gpt2, story, NOTHING, SHORT, data)
    assert_nothing_lost(story, move)
    assert move.transcript.passages[4].text == "Yesterday she"
    assert len(move.transcript.passages) == 5
    assert move.place == Place(4, len(encode(random_gpt2, "Yesterday she")))
    session = done(random_gpt2, move)
    assert decode(random_gpt2, session.transcript.ids()).startswith("Yesterday she")
    assert session.transcript.branches(0) == (0, 4)


def test_what_cannot_be_edited(random_gpt2: Gpt2, story: Session) -> None:
    def edit(session: Session, **data: object) -> str:
        return refusal(lambda: moves.edit(random_gpt2, session, NOTHING, SHORT, data))

    assert edit(story, passage=0, text="") == (
        "The edited text is empty; use Undo to take a passage back."
    )
    assert edit(Session(story.transcript.at(1)), passage=3, text="x") == (
        "That passage is on another branch; go there to edit it."
    )
    assert "null character" in edit(story, passage=0, text="a\0")
    assert "100,000 are read" in edit(story, passage=0, text="x" * 100_001)


def test_going_elsewhere_changes_nothing_and_forgets_the_focus(story: Session) -> None:
    there = moves.go_to(Session(story.transcript, Focus(3, 1)), {"passage": 1})
    assert there.transcript == story.transcript.at(1)
    assert there.focus is None


# --- numbers -------------------------------------------------------------------------------------


def without_numbers(session: Session) -> Session:
    passages = tuple(replace(one, choices=()) for one in session.transcript.passages)
    return Session(Transcript(passages, session.transcript.active), Focus(1, 2))


EVERYTHING = Decoding(
    max_new_tokens=8,
    min_new_tokens=6,
    top_k=30,
    top_p=0.9,
    repetition_penalty=1.3,
    no_repeat_ngram_size=2,
)


@pytest.mark.parametrize(
    "decoding",
    [EVERYTHING, Decoding("greedy", max_length=140 - 100), replace(SHORT, num_return_sequences=2)],
    ids=["everything", "max_length", "samples"],
)
@pytest.mark.parametrize("forced", [(), (257,), (257, 262)])
def test_numbers_computed_later_are_those_while_it_was_written(
    random_gpt2: Gpt2, decoding: Decoding, forced: tuple[int, ...]
) -> None:
    transcript = moves.send(
        random_gpt2, Session(), Writer("Today we can go " * 6), SHORT
    ).transcript
    place = Place(0, len(transcript.ids()), forced)
    *_, last = write(random_gpt2, transcript, place, decoding, Traces())
    bare = without_numbers(Session(last.transcript))
    for number in range(1, len(last.transcript.passages)):
        data = {"passage": number}
        known = moves.with_numbers(random_gpt2, bare, data, Traces()).transcript
        assert_same_numbers(known.passages[number], last.transcript.passages[number])
        others = [one for place, one in enumerate(known.passages) if place != number]
        assert not any(one.choices for one in others)


def test_forced_tokens_are_no_new_tokens_now_and_later(random_gpt2: Gpt2, story: Session) -> None:
    """So while there must be a new token, the end of the text is forbidden among them too."""
    decoding = Decoding(max_new_tokens=2, min_new_tokens=1, top_k=0)
    place = Place(1, 2, (257, 50256))
    *_, last = write(random_gpt2, story.transcript, place, decoding, Traces())
    bare = without_numbers(Session(last.transcript))
    known = moves.with_numbers(random_gpt2, bare, {"passage": 4}, Traces()).transcript
    for passage in (last.transcript.passages[4], known.passages[4]):
        assert passage.choices[0].probability > 0
        assert passage.choices[1].id == 50256
        assert passage.choices[1].probability == 0
        assert math.isfinite(passage.choices[1].logprob)


def assert_same_numbers(found: Passage, expected: Passage) -> None:
    assert found.ids == expected.ids
    assert len(found.choices) == len(expected.choices) == len(found.ids)
    for one, other in zip(found.choices, expected.choices, strict=True):
        assert (one.id, one.rank) == (other.id, other.rank)
        assert one.logprob == pytest.approx(other.logprob, abs=NUMBERS)
        assert one.probability == pytest.approx(other.probability, abs=NUMBERS)
        assert one.entropy_bits == pytest.approx(other.entropy_bits, abs=10 * NUMBERS)


def test_numbers_where_the_oldest_tokens_were_dropped(random_gpt2: Gpt2) -> None:
    transcript = moves.send(random_gpt2, Session(), Writer("to be or not " * 40), SHORT).transcript
    *_, last = write(random_gpt2, transcript, Place(0, len(transcript.ids())), EVERYTHING, Traces())
    written = last.transcript.passages[1]
    assert written.writing is not None
    assert written.writing.dropped > 0
    bare = without_numbers(Session(last.transcript))
    known = moves.with_numbers(random_gpt2, bare, {"passage": 1}, Traces())
    assert_same_numbers(known.transcript.passages[1], written)
    assert known.focus == bare.focus


def test_numbers_of_your_own_text_are_the_models_own(random_gpt2: Gpt2, story: Session) -> None:
    known = moves.with_numbers(random_gpt2, story, {"passage": 0}, Traces()).transcript.passages[0]
    assert [choice.id for choice in known.choices] == [356]  # Nothing foretells the first token.
    known = moves.with_numbers(random_gpt2, story, {"passage": 2}, Traces()).transcript.passages[2]
    assert tuple(choice.id for choice in known.choices) == known.ids
    for choice in known.choices:
        assert choice.probability == pytest.approx(math.exp(choice.logprob), abs=1e-7)


def test_of_a_text_longer_than_the_context_the_end_has_numbers(random_gpt2: Gpt2) -> None:
    ids = tuple(range(1000, 1300))
    session = Session(Transcript().continued(Passage("you", ids, decode(random_gpt2, ids))))
    known = moves.with_numbers(random_gpt2, session, {"passage": 0}, Traces())
    assert tuple(choice.id for choice in known.transcript.passages[0].choices) == ids[-127:]


def test_numbers_that_are_there_are_not_computed_again(random_gpt2: Gpt2, story: Session) -> None:
    assert moves.with_numbers(random_gpt2, story, {"passage": 1}, None) is story  # type: ignore[arg-type]


def test_numbers_of_ids_that_the_model_does_not_have_are_refused(random_gpt2: Gpt2) -> None:
    session = Session(Transcript().continued(Passage("you", (1, 60_000), "?")))
    said = refusal(lambda: moves.with_numbers(random_gpt2, session, {"passage": 0}, Traces()))
    assert "60000" in said


# --- chat ----------------------------------------------------------------------------------------


def test_in_a_chat_the_line_stands_in_the_template_and_the_answer_stops(
    random_gpt2: Gpt2, talk: Session
) -> None:
    first = moves.send(random_gpt2, Session(), HELLO, SHORT)
    assert first.transcript.passages[0].text == "Hello"
    assert decode(random_gpt2, first.transcript.ids()) == "User: Hello\nGPT-2:"
    assert first.decoding == replace(SHORT, stop=("\nUser:",))
    # The model has written the beginning of your line, so it is not written again.
    move = moves.send(random_gpt2, talk, Writer("Why?", CHAT), SHORT)
    assert decode(random_gpt2, move.transcript.ids()) == (
        "User: Hello\nGPT-2: I am fine.\nUser: Why?\nGPT-2:"
    )
    assert move.transcript.passages[2].text == "Why?"


def test_an_answer_is_shown_without_the_templates_words_and_keeps_its_ids(
    random_gpt2: Gpt2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The random model never begins a line of yours; here it is made to, token by token."""
    answer = encode(random_gpt2, " I am fine.\nUser:")
    asked = made_to_write(random_gpt2, answer, monkeypatch)
    decoding = Decoding("greedy", max_new_tokens=30)
    move = moves.send(random_gpt2, Session(), HELLO, decoding)
    drafts = list(
        write(random_gpt2, move.transcript, move.place, move.decoding, Traces(), TEMPLATE)  # type: ignore[arg-type]
    )
    passage = drafts[-1].transcript.passages[1]
    assert passage.ids == tuple(answer)
    assert passage.text == "I am fine."
    assert passage.writing is not None
    assert passage.writing.finish_reason == "stop"
    assert asked == answer
    assert drafts[-1].finished


def made_to_write(gpt2: Gpt2, answer: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make the decoding's last stage allow the answer's next token only."""
    from gpt2lab import generation

    asked: list[int] = []
    final_scores = generation.final_scores

    def only(stages: Any, ids: Any, logits: Any) -> Any:
        scores = final_scores(stages, ids, logits)
        forced = scores.clone().fill_(-math.inf)
        forced[:, answer[len(asked)]] = 0.0
        asked.append(answer[len(asked)])
        return forced

    monkeypatch.setattr(generation, "final_scores", only)
    return asked


def test_an_edited_line_keeps_the_templates_words(random_gpt2: Gpt2, talk: Session) -> None:
    why = moves.send(random_gpt2, talk, Writer("Why?", CHAT), SHORT).transcript
    edited = talk_with(random_gpt2, Session(why), 0, "Bye")
    assert edited == "User: Bye\nGPT-2: I am fine.\nUser: Why?\nGPT-2:"
    assert talk_with(random_gpt2, Session(why), 2, "How?").endswith("fine.\nUser: How?\nGPT-2:")
    tricky = moves.send(random_gpt2, talk, Writer("User", CHAT), SHORT).transcript
    assert talk_with(random_gpt2, Session(tricky), 2, "x").endswith("fine.\nUser: x\nGPT-2:")


def talk_with(gpt2: Gpt2, session: Session, passage: int, text: str) -> str:
    """The conversation after an edit in chat."""
    data = {"passage": passage, "text": text, "follow": "keep"}
    move = moves.edit(gpt2, session, Writer("", CHAT), SHORT, data)
    number = move.transcript.path()[passage].number
    assert move.transcript.passages[number].text == text
    return decode(gpt2, move.transcript.ids())


def test_an_edited_answer_keeps_the_beginning_of_your_next_line(
    random_gpt2: Gpt2, talk: Session
) -> None:
    """Twice, because an edited answer is yours, but no line of yours."""
    why = Session(moves.send(random_gpt2, talk, Writer("Why?", CHAT), SHORT).transcript)
    whole = "User: Hello\nGPT-2: {}\nUser: Why?\nGPT-2:"
    assert talk_with(random_gpt2, why, 1, "Bad.") == whole.format("Bad.")
    data = {"passage": 1, "text": "Bad.", "follow": "keep"}
    once = moves.edit(random_gpt2, why, Writer("", CHAT), SHORT, data).transcript
    data = {"passage": once.path()[1].number, "text": "Worse.", "follow": "keep"}
    twice = moves.edit(random_gpt2, Session(once), Writer("", CHAT), SHORT, data).transcript
    assert decode(random_gpt2, twice.ids()) == whole.format("Worse.")


def test_a_chat_comes_back_from_a_file_as_it_was(random_gpt2: Gpt2, talk: Session) -> None:
    why = Session(moves.send(random_gpt2, talk, Writer("Why?", CHAT), SHORT).transcript)
    data = {"passage": 1, "text": "Bad.", "follow": "keep"}
    edited = moves.edit(random_gpt2, why, Writer("", CHAT), SHORT, data).transcript
    assert [one.text for one in edited.passages] == [
        "Hello", "I am fine.", "Why?", "Bad.", "Why?",
    ]  # fmt: skip
    document = Document(random_gpt2.name, random_gpt2.revision, mode=CHAT, transcript=edited)
    again, complaints = from_json(to_json(document), lambda name: random_gpt2)
    assert complaints == ()
    assert again.transcript == edited
    # Other words than those of the ids are not believed.
    lie = replace(edited.passages[1], text="I am")
    lying = replace(document, transcript=edited.changed(1, lie))
    again, complaints = from_json(to_json(lying), lambda name: random_gpt2)
    assert again.transcript.passages[1].text == " I am fine.\nUser:"
    assert len(complaints) == 1


def test_in_a_chat_every_move_that_writes_stops_at_your_next_line(
    random_gpt2: Gpt2, talk: Session
) -> None:
    data = {"passage": 1, "offset": 1, "id": 5, "text": "x", "follow": "generate"}
    chat = Writer("", CHAT)
    for move in (
        moves.send(random_gpt2, talk, chat, SHORT),
        moves.retry(talk, chat, SHORT, new_seed=False),
        moves.branch(random_gpt2, talk, chat, SHORT, data),
        moves.edit(random_gpt2, talk, chat, SHORT, data),
    ):
        assert move.decoding.stop == ("\nUser:",)


def test_a_template_that_does_not_work_is_refused(random_gpt2: Gpt2, talk: Session) -> None:
    broken = Writer("Hi", CHAT, "no place for it")
    assert "{text}" in refusal(lambda: moves.send(random_gpt2, talk, broken, SHORT))
    assert "{text}" in refusal(lambda: moves.retry(talk, broken, SHORT, new_seed=True))
    long = Writer("Hi", CHAT, "x" * 101 + "{text}")
    assert "at most 100" in refusal(lambda: moves.send(random_gpt2, talk, long, SHORT))
    eight = replace(SHORT, stop=tuple("abcdefgh"))
    assert "at most 8" in refusal(lambda: moves.send(random_gpt2, talk, HELLO, eight))
