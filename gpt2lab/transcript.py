"""What was written so far, and by whom: a tree of passages.

A transcript is a text that you and the model write in turns. Nothing that was written is ever
thrown away: to try again, to edit, or to go on from another token starts a new branch, and the old
one can be returned to. So a transcript is a tree:

    0 you    "Once upon a time"
    1 model  ", there was a king"           parent 0
    2 model  ", there was a little girl"    parent 0              a second try
    3 model  " queen who sang"              parent 1, at 4        branches off behind its 4th token

A passage continues its parent behind the first `at` of the parent's tokens. The way from the root
to the *active* passage is the text that the model reads. It is kept as token ids: cutting the text
into tokens again could give other tokens than the ones that the model wrote.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from gpt2lab.decoding import Decoding
from gpt2lab.refusal import Refusal
from gpt2lab.step import Choice

MAX_PASSAGES = 300
MAX_TOKENS = 100_000
"""In all passages together."""

Author = Literal["you", "model"]


@dataclass(frozen=True)
class Writing:
    """How the model wrote a passage.

    model: the name of the model.
    decoding: the settings, with the seed.
    dropped: how many of the transcript's oldest tokens were cut off, to fit into the context.
    forced: how many of the passage's first tokens the reader chose, not the model.
    finish_reason: None if it was stopped, else "length", "eos" or "stop".
    sample: which of `num_return_sequences` it is.
    """

    model: str
    decoding: Decoding
    dropped: int = 0
    forced: int = 0
    finish_reason: str | None = None
    sample: int = 0


@dataclass(frozen=True)
class Passage:
    """A stretch of the transcript by one author.

    ids: what the model reads of it. text: what a person reads of it (in a chat without the
    template's words).
    parent, at: the passage that it continues, and how many of that one's tokens stand before it;
    None and 0 at the beginning.
    writing: for the model's passages, how they came about.
    choices: the numbers behind each of the ids; empty while they are not computed, and one fewer
    than the ids where the passage begins the text: nothing foretells a text's first token.
    """

    author: Author
    ids: tuple[int, ...]
    text: str
    parent: int | None = None
    at: int = 0
    writing: Writing | None = None
    choices: tuple[Choice, ...] = ()


class Piece(NamedTuple):
    """A passage on the active path, of which the first `length` tokens are read."""

    number: int
    passage: Passage
    length: int

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens that are read."""
        return self.passage.ids[: self.length]


@dataclass(frozen=True)
class Transcript:
    """All passages in the order in which they were written, and the one the reader is at."""

    passages: tuple[Passage, ...] = ()
    active: int | None = None

    def path(self, number: int | None = None) -> tuple[Piece, ...]:
        """The pieces from the beginning to a passage, or to the active one."""
        number = self.active if number is None else number
        pieces: list[Piece] = []
        length: int | None = None
        while number is not None:
            passage = self.passages[number]
            pieces.append(Piece(number, passage, len(passage.ids) if length is None else length))
            number, length = passage.parent, passage.at
        return tuple(reversed(pieces))

    def ids(self, number: int | None = None) -> tuple[int, ...]:
        """The tokens from the beginning to the end of a passage, or of the active one."""
        return tuple(id for piece in self.path(number) for id in piece.ids)

    def before(self, number: int) -> tuple[int, ...]:
        """The tokens that stand before a passage."""
        return tuple(id for piece in self.path(number)[:-1] for id in piece.ids)

    def continued(self, passage: Passage, *, behind: int | None = None) -> "Transcript":
        """With a passage added behind another one (the active one), and active."""
        parent = self.active if behind is None else behind
        at = 0 if parent is None else len(self.passages[parent].ids)
        return self.added(replace(passage, parent=parent, at=at))

    def added(self, passage: Passage) -> "Transcript":
        """With a passage added where it says, and active."""
        if len(self.passages) >= MAX_PASSAGES:
            raise Refusal(
                f"The transcript has {MAX_PASSAGES} passages, the most that it can keep; save it "
                "as a file and clear it."
            )
        if sum(len(one.ids) for one in self.passages) + len(passage.ids) > MAX_TOKENS:
            raise Refusal(
                f"The transcript would have more than {MAX_TOKENS:,} tokens; save it as a file "
                "and clear it."
            )
        return Transcript((*self.passages, passage), len(self.passages))

    def changed(self, number: int, passage: Passage) -> "Transcript":
        """With a passage in the place of another: for one that is still being written."""
        passages = (*self.passages[:number], passage, *self.passages[number + 1 :])
        return Transcript(passages, self.active)

    def at(self, number: int | None) -> "Transcript":
        """With another passage active; None is before the first."""
        return Transcript(self.passages, number)

    def branches(self, number: int) -> tuple[int, ...]:
        """The passages that begin where this one begins, itself included, oldest first."""
        one = self.passages[number]
        return tuple(
            index
            for index, other in enumerate(self.passages)
            if (other.parent, other.at) == (one.parent, one.at)
        )

    def samples(self, number: int) -> tuple[int, ...]:
        """The passages that were written in the same run as this one, itself included."""
        one = self.passages[number]
        if one.writing is None:
            return (number,)
        first = number - one.writing.sample
        run = range(max(0, first), first + one.writing.decoding.num_return_sequences)
        return tuple(
            index
            for index in run
            if index < len(self.passages) and _run(self.passages[index], index) == _run(one, number)
        )

    def replaced(self, number: int, ids: Sequence[int], text: str) -> "Transcript":
        """An edited copy of a passage on the active path, and copies of what follows it.

        The copies have no numbers yet, and nobody wrote them there: behind another text the model
        thinks other things.
        """
        path = self.path()
        place = [piece.number for piece in path].index(number)
        old = path[place]
        edited = replace(
            old.passage, author="you", ids=tuple(ids), text=text, writing=None, choices=()
        )
        transcript = self.added(edited)
        for _, passage, _ in path[place + 1 :]:
            # One that is left in the middle is copied whole too, so that its text stays true.
            at = len(edited.ids) if passage.parent == number else passage.at
            parent = transcript.active
            copy = replace(passage, parent=parent, at=at, writing=None, choices=())
            transcript = transcript.added(copy)
        return transcript


def _run(passage: Passage, number: int) -> tuple[object, ...]:
    """What the samples of one run have in common, and no others."""
    if passage.writing is None:
        return (number,)
    first = number - passage.writing.sample
    return first, passage.parent, passage.at, passage.writing.decoding
