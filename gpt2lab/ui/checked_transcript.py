"""A transcript that came from elsewhere: a tree that hangs together, and texts that are true.

A passage's token ids are what the model reads; its text is what a person reads. Whoever sends a
transcript could make the two say different things. So a text is always the one that the ids spell,
or differs from it by the words of the chat template alone.

The numbers behind the tokens are not part of it at all: they are computed, never believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gpt2lab.chat import PLACE, without_stop
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import checked_text, decode, encode
from gpt2lab.transcript import MAX_PASSAGES, MAX_TOKENS, Passage, Transcript, Writing
from gpt2lab.ui.complaints import Complaints, described, whole_number
from gpt2lab.ui.limits import allowed

FINISH_REASONS = (None, "length", "eos", "stop")
LONGEST_NAME = 200
_PARTS = {"author", "ids", "text", "parent", "at", "writing"}


def checked_transcript(
    given: object, gpt2: Gpt2, template: str, complaints: Complaints
) -> Transcript:
    """The passages that are sound, and of those only the ones whose beginning is sound too."""
    if given is None:
        return Transcript()
    if not isinstance(given, dict):
        complaints.add(f"transcript is {described(given)}, not an object", "it is left out")
        return Transcript()
    complaints.ignore(f"transcript.{name}" for name in given if name not in {"passages", "active"})
    passages = given.get("passages", [])
    if not isinstance(passages, list):
        complaints.add(f"passages is {described(passages)}, not a list", "it is left out")
        return Transcript()
    if len(passages) > MAX_PASSAGES:
        complaints.add(
            f"The transcript has {len(passages):,} passages, more than the {MAX_PASSAGES} possible",
            "the later ones are left out",
        )
    reading = _Reading(gpt2, template, complaints)
    for number, one in enumerate(passages[:MAX_PASSAGES]):
        try:
            passage = reading.passage(number, one)
        except Refusal as refusal:
            complaints.add(refusal, "the passage is left out")
        else:
            reading.places[number] = len(reading.kept)
            reading.kept.append(passage)
    return Transcript(tuple(reading.kept), reading.active(given))


def spells(gpt2: Gpt2, ids: Sequence[int], text: str, template: str) -> bool:
    """Whether a person who writes this text in a chat with this template writes these ids.

    Then the text is a piece of what the ids say, with the template's words around it, or without
    those that the model had already written; and blanks are no lie.
    """
    before, _, after = template.partition(PLACE)
    for special in (True, False):
        spelled = gpt2.tokenizer.decode(
            list(ids), skip_special_tokens=special, clean_up_tokenization_spaces=False
        )
        if text == spelled:
            return True
        if text not in spelled:
            continue
        for inner in {spelled.strip(), spelled.strip().removesuffix(after.strip())}:
            for words in {before[cut:].strip() for cut in range(len(before) + 1)}:
                if inner.startswith(words) and inner[len(words) :].strip() == text.strip():
                    return True
    return False


@dataclass
class _Reading:
    """What is known while the passages are read one after the other."""

    gpt2: Gpt2
    template: str
    complaints: Complaints
    kept: list[Passage] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    """Where the passages of the file are among those that are kept."""
    before: list[int] = field(default_factory=list)
    """How many tokens stand before each of the kept passages."""
    tokens: int = 0

    def passage(self, number: int, given: object) -> Passage:
        name = f"passages[{number}]"
        if not isinstance(given, dict):
            raise Refusal(f"{name} is not an object with author, ids and text.")
        self.complaints.ignore(f"passages.{part}" for part in given if part not in _PARTS)
        author = given.get("author")
        if author != "you" and author != "model":
            raise Refusal(f"{name}.author is {described(author)}, but must be 'you' or 'model'.")
        parent, at = self._beginning(name, number, given)
        ids = self._ids(name, given)
        before = 0 if parent is None else self.before[parent] + at
        writing = None
        if author == "model":
            writing = self._writing(name, given.get("writing"), len(ids), before)
        elif given.get("writing") is not None:
            self.complaints.add(
                f"{name}.writing is there, but the passage is yours", "it is ignored"
            )
        text = self._text(name, given.get("text"), author, ids)
        self.tokens += len(ids)
        self.before.append(before)
        return Passage(author, ids, text, parent, at, writing)

    def active(self, given: dict[str, object]) -> int | None:
        last = len(self.kept) - 1 if self.kept else None
        active = given.get("active", max(self.places, default=None))
        if active is None:
            return None
        try:
            number = whole_number("active", active, 0, MAX_PASSAGES)
        except Refusal as refusal:
            self.complaints.add(refusal, "the last passage is shown")
            return last
        if number not in self.places:
            self.complaints.add(f"active is {number}, which is not there", "the last one is shown")
            return last
        return self.places[number]

    def _beginning(
        self, name: str, number: int, given: dict[str, object]
    ) -> tuple[int | None, int]:
        """Which of the kept passages this one continues, and behind how many tokens."""
        parent = given.get("parent")
        if parent is None:
            if given.get("at", 0) not in (0, None):
                self.complaints.add(
                    f"{name}.at is not 0 although nothing is before it", "0 is used"
                )
            return None, 0
        if number == 0:
            raise Refusal(f"{name}.parent is {described(parent)}, but nothing is before it.")
        whole = whole_number(f"{name}.parent", parent, 0, number - 1)
        if whole not in self.places:
            raise Refusal(f"{name} continues passages[{whole}], which is left out.")
        place = self.places[whole]
        length = len(self.kept[place].ids)
        at = given.get("at")
        return place, length if at is None else whole_number(f"{name}.at", at, 0, length)

    def _ids(self, name: str, given: dict[str, object]) -> tuple[int, ...]:
        """The token ids; where they are written as a text, or only the text is there, its ids."""
        ids = given.get("ids", given.get("text"))
        if isinstance(ids, str):
            ids = encode(self.gpt2, checked_text(ids, f"{name}.text"))
        if not isinstance(ids, list):
            raise Refusal(f"{name}.ids is {described(ids)}, not a list of token ids.")
        if self.tokens + len(ids) > MAX_TOKENS:
            raise Refusal(f"with {name} the transcript would have more than {MAX_TOKENS:,} tokens.")
        for place, id in enumerate(ids):
            if type(id) is not int or not 0 <= id < self.gpt2.vocab_size:
                raise Refusal(
                    f"{name}.ids[{place}] is {described(id)}, but must be a whole number from 0 "
                    f"to {self.gpt2.vocab_size - 1}."
                )
        return tuple(ids)

    def _text(self, name: str, text: object, author: str, ids: tuple[int, ...]) -> str:
        spelled = decode(self.gpt2, ids)
        if text is None or text == spelled:
            return spelled
        if isinstance(text, str) and (
            text == without_stop(spelled, self.template)
            or (author == "you" and spells(self.gpt2, ids, text, self.template))
        ):
            return text
        self.complaints.add(f"{name}.text is not what its ids say", "the text of the ids is shown")
        return spelled

    def _writing(self, name: str, given: object, length: int, before: int) -> Writing | None:
        if given is None:
            return None
        name += ".writing"
        try:
            if not isinstance(given, dict):
                raise Refusal(f"{name} is {described(given)}, not an object.")
            known = Writing.__dataclass_fields__
            self.complaints.ignore(f"writing.{part}" for part in given if part not in known)
            return checked_writing(name, given, length, before)
        except Refusal as refusal:
            self.complaints.add(refusal, "how the passage was written is left out")
            return None


def checked_writing(name: str, given: dict[str, object], length: int, before: int) -> Writing:
    """How a passage of `length` tokens was written behind `before` others.

    Raises `Refusal` if any of it is not possible.
    """
    if not before:
        raise Refusal(f"{name} is there, but the model cannot write behind nothing.")
    model = checked_text(given.get("model"), f"{name}.model")
    if not 0 < len(model) <= LONGEST_NAME:
        raise Refusal(f"{name}.model has {len(model):,} characters.")
    decoding = checked_decoding(name, given.get("decoding"))
    reason = given.get("finish_reason")
    if isinstance(reason, dict | list) or reason not in FINISH_REASONS:
        raise Refusal(f"{name}.finish_reason is {described(reason)}, which does not exist.")
    samples = decoding.num_return_sequences
    forced = whole_number(f"{name}.forced", given.get("forced", 0), 0, length)
    # The model read something.
    most = before + forced - 1
    dropped = whole_number(f"{name}.dropped", given.get("dropped", 0), 0, most)
    sample = whole_number(f"{name}.sample", given.get("sample", 0), 0, samples - 1)
    return Writing(model, decoding, dropped, forced, reason, sample)


def checked_decoding(name: str, given: object) -> Decoding:
    """The settings of a writing. They are a fact, so none of them is replaced by another."""
    if not isinstance(given, dict):
        raise Refusal(f"{name}.decoding is {described(given)}, not an object.")
    settings = dict(given)
    for setting, value in settings.items():
        if setting not in Decoding.__dataclass_fields__:
            raise Refusal(f"{name}.decoding has a setting {described(setting)}.")
        if isinstance(value, dict | list) and setting != "stop":
            raise Refusal(f"{name}.decoding.{setting} is {described(value)}.")
    try:
        return allowed(Decoding(**settings))
    except Refusal as refusal:
        raise Refusal(f"{name}.decoding: {refusal}") from None
