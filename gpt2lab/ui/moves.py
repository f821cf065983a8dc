"""What a visitor can do with the transcript: write, try again, take back, branch off, edit.

Each move is a pure function from a session to a `Move`: the transcript as it is then, and the place
where the model goes on, if it does. No move throws anything away; the old text stays as a branch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from secrets import randbelow
from typing import Any

from gpt2lab import chat
from gpt2lab.decoding import Decoding, Stage
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, checked_number
from gpt2lab.step import describe_text
from gpt2lab.tokens import checked_text, decode, encode, prompt_ids
from gpt2lab.transcript import Passage, Transcript
from gpt2lab.ui.limits import allowed
from gpt2lab.ui.session import Focus, Session, Writer, subject
from gpt2lab.ui.traces import Traces
from gpt2lab.ui.writing import Place


@dataclass(frozen=True, eq=False)
class Move:
    """The transcript after a move.

    place: where the model goes on, or None if it does not.
    sent: what is to be taken out of the visitor's box, because it is in the transcript now.
    box: what the box contains then; None leaves it alone.
    """

    transcript: Transcript
    decoding: Decoding
    place: Place | None = None
    sent: str = ""
    box: str | None = None


def send(gpt2: Gpt2, session: Session, writer: Writer, decoding: Decoding) -> Move:
    """What is typed joins the transcript and the model goes on; nothing typed: it just goes on."""
    transcript = session.transcript
    decoding = allowed(replace(decoding, **writer.decoding(decoding)))
    ids = writer.ids(gpt2, transcript.ids())
    if ids or transcript.active is None:
        passage = Passage("you", ids or tuple(prompt_ids(gpt2, "")), writer.text)
        transcript = transcript.continued(passage)
    return Move(transcript, decoding, _behind(transcript), sent=writer.text)


def retry(session: Session, writer: Writer, decoding: Decoding, new_seed: bool) -> Move:
    """The model writes its last passage again, as the settings are now, or with a new seed."""
    transcript = session.transcript
    if transcript.active is None:
        raise Refusal("There is nothing to retry yet; write something and generate.")
    decoding = allowed(replace(decoding, **writer.decoding(decoding)))
    if new_seed:
        decoding = replace(decoding, seed=randbelow(2**32))
    last = transcript.passages[transcript.active]
    if last.author == "you" or last.parent is None:
        return Move(transcript, decoding, _behind(transcript))
    forced = last.writing.forced if last.writing else 0
    place = Place(last.parent, last.at, last.ids[:forced])
    return Move(transcript, decoding, place)


def undo(session: Session, writer: Writer, decoding: Decoding) -> Move:
    """Back to before the model's last passage and what you wrote for it, which is yours again."""
    transcript = session.transcript
    if transcript.active is None:
        raise Refusal("There is nothing to undo: the transcript is at its beginning.")
    last = transcript.passages[transcript.active]
    if last.author == "you" or last.parent is None:
        return Move(transcript.at(last.parent), decoding, box=writer.text or last.text)
    before = transcript.passages[last.parent]
    if before.author == "model" or last.at < len(before.ids):
        return Move(transcript.at(last.parent), decoding)
    return Move(transcript.at(before.parent), decoding, box=writer.text or before.text)


def branch(
    gpt2: Gpt2, session: Session, writer: Writer, decoding: Decoding, data: Mapping[str, Any]
) -> Move:
    """Another token instead of the one at `offset` of `passage`; the model goes on from there."""
    transcript = session.transcript
    focus = checked_focus(session, data)
    vocabulary = gpt2.model.config.vocab_size
    id = int(checked_number("the token's id", data.get("id"), 0, vocabulary - 1))
    decoding = allowed(replace(decoding, **writer.decoding(decoding)))
    passage = transcript.passages[focus.passage]
    if focus.offset:
        return Move(transcript, decoding, Place(focus.passage, focus.offset, (id,)))
    if passage.parent is not None:
        return Move(transcript, decoding, Place(passage.parent, passage.at, (id,)))
    first = Passage("you", (id,), decode(gpt2, [id]))
    transcript = transcript.at(None).continued(first)
    return Move(transcript, decoding, _behind(transcript))


def edit(
    gpt2: Gpt2, session: Session, writer: Writer, decoding: Decoding, data: Mapping[str, Any]
) -> Move:
    """Another text in the place of a passage; what follows is kept, or written anew."""
    number = checked_passage(session, data)
    text = checked_text(data.get("text"), "The edited text")
    if not text:
        raise Refusal("The edited text is empty; use Undo to take a passage back.")
    passage = session.transcript.passages[number]
    spelled = decode(gpt2, passage.ids)
    ids = encode(gpt2, chat.reworded(spelled, passage.text, text, writer.chat_template or ""))
    if number not in {piece.number for piece in session.transcript.path()}:
        raise Refusal("That passage is on another branch; go there to edit it.")
    if data.get("follow") != "generate":
        return Move(session.transcript.replaced(number, ids, text), decoding)
    transcript = session.transcript.at(number).replaced(number, ids, text)
    decoding = allowed(replace(decoding, **writer.decoding(decoding)))
    return Move(transcript, decoding, _behind(transcript))


def go_to(session: Session, data: Mapping[str, Any]) -> Session:
    """At another passage: a sample beside the active one, or the end of another branch."""
    return Session(session.transcript.at(checked_passage(session, data)))


def with_numbers(gpt2: Gpt2, session: Session, data: Mapping[str, Any], traces: Traces) -> Session:
    """The session with the numbers of one passage, computed from its text."""
    number = checked_passage(session, data)
    passage = session.transcript.passages[number]
    if passage.choices or not passage.ids:
        return session
    last = Focus(number, len(passage.ids) - 1)
    looked_at = subject(gpt2, Session(session.transcript, last), Writer(""))
    trace = traces.trace(gpt2, looked_at.ids)
    start = len(looked_at.ids) - len(passage.ids)
    stages: list[Stage] = []
    if passage.writing:
        stages = passage.writing.decoding.stages_from_logits(
            gpt2, looked_at.ids[: looked_at.prompt_length]
        )
    known = tuple(describe_text(trace, max(1, start), stages))
    transcript = session.transcript.changed(number, replace(passage, choices=known))
    return Session(transcript, session.focus)


def checked_passage(session: Session, data: Mapping[str, Any]) -> int:
    """The number of a passage that the browser names."""
    count = len(session.transcript.passages)
    if not count:
        raise Refusal("The transcript is empty; write something first.")
    return int(checked_number("the passage", data.get("passage"), 0, count - 1))


def checked_focus(session: Session, data: Mapping[str, Any]) -> Focus:
    """The token that the browser names."""
    number = checked_passage(session, data)
    count = len(session.transcript.passages[number].ids)
    if not count:
        raise Refusal("That passage is empty; choose a token of another one.")
    return Focus(number, int(checked_number("the token", data.get("offset"), 0, count - 1)))


def _behind(transcript: Transcript) -> Place:
    assert transcript.active is not None
    return Place(transcript.active, len(transcript.passages[transcript.active].ids))
