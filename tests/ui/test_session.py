"""What the tabs look into: the whole text, or the text around the token that was picked."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gpt2lab.chat import TEMPLATE
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import decode, encode
from gpt2lab.trace import trace_ids
from gpt2lab.transcript import Passage, Transcript
from gpt2lab.ui.session import CHAT, Focus, Session, Subject, Writer, fitted, subject
from gpt2lab.ui.traces import Traces
from gpt2lab.ui.writing import Place, write

LOGPROBS = 1e-4
"""Of a trace computed afterwards, against those of the step, which came out of the cache."""
NOTHING = Writer("")
BEGINNING = "Today we can go to the town,"


def sent(gpt2: Gpt2, text: str) -> Transcript:
    return Transcript().continued(Passage("you", tuple(encode(gpt2, text)), text))


def written(
    gpt2: Gpt2,
    transcript: Transcript,
    decoding: Decoding,
    place: Place | None = None,
) -> Transcript:
    """With what the model writes behind the active passage, or at another place."""
    number = transcript.active
    assert number is not None
    place = place or Place(number, len(transcript.passages[number].ids))
    *_, last = write(gpt2, transcript, place, decoding, Traces())
    return last.transcript


def assert_every_token_is_found(gpt2: Gpt2, transcript: Transcript) -> None:
    """Focus on each of the model's tokens: the logits at the position are those it came from."""
    for number, passage in enumerate(transcript.passages):
        missing = len(passage.ids) - len(passage.choices)
        for offset in range(missing, len(passage.ids)):
            found = subject(gpt2, Session(transcript, Focus(number, offset)), NOTHING)
            trace = trace_ids(gpt2, found.ids)
            choice = passage.choices[offset - missing]
            assert found.ids[found.position + 1] == passage.ids[offset] == choice.id
            logprobs = trace.logits(found.position).log_softmax(-1)
            assert float(logprobs[choice.id]) == pytest.approx(choice.logprob, abs=LOGPROBS)
            likely = max(choice.alternatives, key=lambda one: one.raw_probability)
            assert int(logprobs.argmax()) == likely.id


def test_without_a_focus_it_is_the_transcript_and_what_is_typed(random_gpt2: Gpt2) -> None:
    transcript = sent(random_gpt2, "Today we")
    both = subject(random_gpt2, Session(transcript), Writer(" can go"))
    assert both == Subject((8888, 356, 460, 467), 4)
    alone = subject(random_gpt2, Session(), Writer("Today we"))
    assert alone == Subject((8888, 356), 2)
    typed_nothing = subject(random_gpt2, Session(transcript), NOTHING)
    assert typed_nothing == Subject((8888, 356), 2)


def test_an_empty_text_is_the_beginning_of_text_token(random_gpt2: Gpt2) -> None:
    assert subject(random_gpt2, Session(), NOTHING) == Subject((50256,), 1)
    assert fitted(random_gpt2, (), room=127) == Subject((50256,), 1)


@pytest.mark.parametrize("strategy", ["greedy", "sample"])
def test_a_focus_on_each_token_of_an_answer(gpt2: Gpt2, strategy: str) -> None:
    decoding = Decoding(strategy, max_new_tokens=6, repetition_penalty=1.2)
    transcript = written(gpt2, sent(gpt2, BEGINNING), decoding)
    assert_every_token_is_found(gpt2, transcript)
    prompt = len(transcript.passages[0].ids)
    found = subject(gpt2, Session(transcript, Focus(1, 2)), NOTHING)
    assert found == Subject(transcript.ids(), prompt, (), prompt + 1)


def test_a_focus_on_greedy_tokens_finds_the_likeliest(gpt2: Gpt2) -> None:
    transcript = written(gpt2, sent(gpt2, BEGINNING), Decoding("greedy", max_new_tokens=5))
    for offset, id in enumerate(transcript.passages[1].ids):
        found = subject(gpt2, Session(transcript, Focus(1, offset)), NOTHING)
        assert int(trace_ids(gpt2, found.ids).logits(found.position).argmax()) == id


def test_a_focus_on_samples_branches_and_what_follows(random_gpt2: Gpt2) -> None:
    three = Decoding(max_new_tokens=5, num_return_sequences=3)
    transcript = written(random_gpt2, sent(random_gpt2, BEGINNING), three)
    other = Decoding(max_new_tokens=4, seed=7)
    transcript = written(random_gpt2, transcript, other, Place(2, 2, (257,)))
    transcript = written(random_gpt2, transcript, other, Place(4, 3))
    assert len(transcript.passages[4].choices) == 5
    assert_every_token_is_found(random_gpt2, transcript)
    # The whole branch is looked at, whichever is active.
    found = subject(random_gpt2, Session(transcript.at(1), Focus(4, 0)), NOTHING)
    assert found.ids == transcript.ids(4)
    assert found.prompt_length == len(transcript.before(4)) + 1
    assert found.position == len(transcript.before(4)) - 1


@pytest.mark.parametrize("forced", [(), (257,), (257, 262, 290)])
def test_a_focus_where_the_oldest_tokens_were_dropped(
    random_gpt2: Gpt2, forced: tuple[int, ...]
) -> None:
    decoding = Decoding(max_new_tokens=20, seed=3)
    start = sent(random_gpt2, BEGINNING * 15)
    length = len(start.ids())
    assert 100 < length < 128
    transcript = written(random_gpt2, start, decoding, Place(0, length, forced))
    passage = transcript.passages[1]
    dropped = length + len(forced) + 20 - 128
    assert passage.writing is not None
    assert passage.writing.dropped == dropped > 0
    assert_every_token_is_found(random_gpt2, transcript)
    found = subject(random_gpt2, Session(transcript, Focus(1, 0)), NOTHING)
    assert (found.dropped, found.prompt_length) == (dropped, 108)
    assert found.ids == transcript.ids()[dropped:]


def test_a_focus_on_a_forced_token_that_did_not_fit(random_gpt2: Gpt2) -> None:
    """The model saw only the last two of five forced tokens; the first can be looked at too."""
    forced = (257, 262, 290, 11, 13)
    start = sent(random_gpt2, BEGINNING)
    place = Place(0, len(start.ids()), forced)
    drafts = write(random_gpt2, start, place, Decoding(max_new_tokens=126), Traces())
    transcript = next(one.transcript for one in drafts if len(one.transcript.passages) > 1)
    passage = transcript.passages[1]
    # Of those five only the last one followed something that the model saw.
    assert len(passage.choices) == len(passage.ids) - 4
    assert passage.choices[0].id == forced[-1]
    for offset, id in enumerate(forced):
        found = subject(random_gpt2, Session(transcript, Focus(1, offset)), NOTHING)
        assert found.ids[found.position + 1] == id
        assert found.prompt_length >= 1
        assert found.ids == transcript.ids()[found.dropped :][:128]


def test_a_focus_on_your_own_text(random_gpt2: Gpt2) -> None:
    transcript = written(random_gpt2, sent(random_gpt2, BEGINNING), Decoding(max_new_tokens=3))
    ids = transcript.passages[0].ids
    for offset in range(1, len(ids)):
        found = subject(random_gpt2, Session(transcript, Focus(0, offset)), NOTHING)
        assert found == Subject(ids, len(ids), (), offset - 1)
    # Nothing foretells a text's first token.
    assert subject(random_gpt2, Session(transcript, Focus(0, 0)), NOTHING).position == 0


def test_a_focus_in_a_text_that_is_longer_than_the_context(random_gpt2: Gpt2) -> None:
    ids = tuple(range(1000, 1300))
    transcript = Transcript().continued(Passage("you", ids, decode(random_gpt2, ids)))
    for offset in (1, 5, 126, 127, 128, 200, 299):
        found = subject(random_gpt2, Session(transcript, Focus(0, offset)), NOTHING)
        assert found.ids == ids[found.dropped :][:128]
        assert found.ids[found.position + 1] == ids[offset]
        assert found.position + 1 == min(offset, 127)


def test_what_another_model_wrote_is_looked_at_as_far_as_this_one_can_see(
    random_gpt2: Gpt2, pocket: Gpt2
) -> None:
    """The random model sees 128 tokens; of what pocket wrote behind 150, the end of the prompt."""
    start = sent(pocket, BEGINNING * 22)
    length = len(start.ids())
    assert length > 150
    transcript = written(pocket, start, Decoding(max_new_tokens=4))
    found = subject(random_gpt2, Session(transcript, Focus(1, 2)), NOTHING)
    assert found.dropped == length + 3 - 128
    assert found.ids == transcript.ids()[found.dropped :][:128]
    assert found.ids[found.position + 1] == transcript.passages[1].ids[2]
    assert found.prompt_length == length - found.dropped
    # Where all that this model can see was written by the other.
    passage = transcript.passages[1]
    longer = transcript.changed(1, replace(passage, ids=tuple(range(200)), choices=()))
    found = subject(random_gpt2, Session(longer, Focus(1, 199)), NOTHING)
    assert (found.ids, found.prompt_length) == (tuple(range(72, 200)), 1)


def test_what_does_not_fit_is_dropped_from_the_beginning(random_gpt2: Gpt2) -> None:
    ids = range(1000, 1200)
    assert fitted(random_gpt2, ids, room=0) == Subject(tuple(ids[72:]), 128, tuple(ids[:72]))
    assert fitted(random_gpt2, ids, room=100) == Subject(tuple(ids[172:]), 28, tuple(ids[:172]))
    assert fitted(random_gpt2, ids[:100], room=28) == Subject(tuple(ids[:100]), 100)
    assert fitted(random_gpt2, ids[:100], room=29) == Subject(tuple(ids[1:100]), 99, (ids[0],))


@pytest.mark.parametrize("room", [128, -1, 100_000])
def test_more_new_tokens_than_the_context_holds(random_gpt2: Gpt2, room: int) -> None:
    with pytest.raises(Refusal) as caught:
        fitted(random_gpt2, [1, 2], room)
    assert str(caught.value) == (
        f"the number of new tokens is {room}, but must be a whole number from 0 to 127."
    )


def test_in_a_chat_what_is_typed_stands_in_the_template(random_gpt2: Gpt2) -> None:
    def read(text: str, before: Sequence[int] = ()) -> str:
        return decode(random_gpt2, Writer(text, CHAT).ids(random_gpt2, before))

    assert read("Hello") == "User: Hello\nGPT-2:"
    answer = encode(random_gpt2, "User: Hello\nGPT-2: Hi.\nUser:")
    assert read("Why?", answer) == " Why?\nGPT-2:"
    assert read("Why?", answer[:-2]) == "User: Why?\nGPT-2:"
    assert Writer("", CHAT).ids(random_gpt2, answer) == ()


def test_a_chat_adds_its_stop_string_once() -> None:
    own = Decoding(stop=("\n\n",))
    assert Writer("Hi").decoding(own) == {}
    assert Writer("Hi", CHAT).decoding(own) == {"stop": ("\n\n", "\nUser:")}
    again = replace(own, stop=("\nUser:", "x"))
    assert Writer("Hi", CHAT).decoding(again) == {"stop": ("\nUser:", "x")}
    assert Writer("Hi").chat_template is None
    assert Writer("Hi", CHAT).chat_template == TEMPLATE


@pytest.mark.parametrize("text", [None, 5, "a\0b", "\ud800", "x" * 100_001])
def test_what_cannot_be_read_is_refused(random_gpt2: Gpt2, text: object) -> None:
    for mode in ("continue", CHAT):
        with pytest.raises(Refusal, match=r"^The text .*\.$"):
            Writer(text, mode).ids(random_gpt2, ())  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="chat template"):
        Writer("Hi", CHAT, "no place").ids(random_gpt2, ())
    # A template that is not in use is not looked at.
    assert Writer("Today", template="no place").ids(random_gpt2, ()) == (8888,)
