"""What belongs to one visitor: their transcript, and which token of it they look at.

The inspection tabs show what the model reads: the transcript with what is typed behind it, or,
when a token was picked, the text around that token. Texts are token ids throughout: cutting a text
into tokens again could give other tokens than the ones that the model wrote.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gpt2lab import chat
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import checked_number
from gpt2lab.tokens import checked_text, decode, encode, prompt_ids
from gpt2lab.transcript import Transcript

CONTINUE = "continue"
CHAT = "chat"


@dataclass(frozen=True)
class Focus:
    """The token that is looked at: which one of which passage."""

    passage: int
    offset: int


@dataclass(frozen=True, eq=False)
class Session:
    """A visitor's transcript and focus."""

    transcript: Transcript = field(default_factory=Transcript)
    focus: Focus | None = None


@dataclass(frozen=True)
class Writer:
    """The box in which the visitor writes: its text, and how that reaches the model."""

    text: str
    mode: str = CONTINUE
    template: str = chat.TEMPLATE

    def ids(self, gpt2: Gpt2, before: Sequence[int]) -> tuple[int, ...]:
        """Tokens of what is typed, as the model reads it behind `before`."""
        if not checked_text(self.text):
            return ()
        if self.mode == CHAT:
            return tuple(encode(gpt2, chat.line(self.template, self.text, decode(gpt2, before))))
        return tuple(encode(gpt2, self.text))

    @property
    def chat_template(self) -> str | None:
        """The template, if it is in use."""
        return self.template if self.mode == CHAT else None

    def decoding(self, decoding: Decoding) -> dict[str, Any]:
        """What the mode changes about the settings."""
        if self.mode != CHAT:
            return {}
        return {"stop": tuple(dict.fromkeys([*decoding.stop, chat.stop_string(self.template)]))}


@dataclass(frozen=True)
class Subject:
    """The text that is looked at.

    prompt_length: how many of its tokens stood there before the model wrote.
    before, after: the tokens around it, which do not fit into the model's context.
    position: the position whose next token is looked at; -1 is the end of the text.
    """

    ids: tuple[int, ...]
    prompt_length: int
    before: tuple[int, ...] = ()
    position: int = -1
    after: tuple[int, ...] = ()

    @property
    def dropped(self) -> int:
        """How many tokens stood before it."""
        return len(self.before)


def subject(gpt2: Gpt2, session: Session, writer: Writer) -> Subject:
    """The text that the inspection tabs show."""
    if session.focus is None:
        written = session.transcript.ids()
        return fitted(gpt2, (*written, *writer.ids(gpt2, written)), room=0)
    passage = session.transcript.passages[session.focus.passage]
    before = session.transcript.before(session.focus.passage)
    writing = passage.writing
    # What the writing model could see, or as much as this one can; and what the token followed.
    behind = len(before) + session.focus.offset + 1
    dropped = max(writing.dropped if writing else 0, behind - gpt2.n_positions)
    dropped = min(dropped, max(0, behind - 2))
    whole = (*before, *passage.ids)
    ids = whole[dropped : dropped + gpt2.n_positions]
    prompt_length = len(before) - dropped + writing.forced if writing else len(ids)
    position = max(0, behind - dropped - 2)
    after = whole[dropped + len(ids) :]
    return Subject(ids, max(1, prompt_length), whole[:dropped], position, after)


def fitted(gpt2: Gpt2, ids: Sequence[int], room: int) -> Subject:
    """The end of a text that leaves room for so many more tokens in the model's context.

    An empty text is GPT-2's beginning-of-text token.
    """
    room = int(checked_number("the number of new tokens", room, 0, gpt2.n_positions - 1))
    dropped = max(0, len(ids) + room - gpt2.n_positions)
    seen = tuple(ids[dropped:]) or tuple(prompt_ids(gpt2, ""))
    return Subject(seen, len(seen), tuple(ids[:dropped]))
