"""Transcripts that were really written, by the random model, for the tests of files and links."""

from dataclasses import asdict, replace
from functools import cache

from prompts import HOSTILE, PROMPTS

from gpt2lab import chat
from gpt2lab.decoding import Decoding
from gpt2lab.generation import generate
from gpt2lab.models import Gpt2
from gpt2lab.tokens import decode, encode, prompt_ids
from gpt2lab.transcript import Passage, Transcript, Writing
from gpt2lab.ui.document import Document

SHORT = Decoding(max_new_tokens=5)


def sent(gpt2: Gpt2, transcript: Transcript, text: str, *, in_chat: bool = False) -> Transcript:
    """The transcript with what a person sends, as the playground puts it there."""
    before = decode(gpt2, transcript.ids())
    if in_chat:
        ids = encode(gpt2, chat.line(chat.TEMPLATE, text, before))
    else:
        ids = encode(gpt2, text) or prompt_ids(gpt2, "")
    return transcript.continued(Passage("you", tuple(ids), text))


def answered(
    gpt2: Gpt2,
    transcript: Transcript,
    decoding: Decoding = SHORT,
    *,
    parent: int | None = None,
    at: int | None = None,
    forced: tuple[int, ...] = (),
    dropped: int = 0,
    sample: int = 0,
    stopped_after: int | None = None,
) -> Transcript:
    """With what the model writes there, one of the samples being active."""
    parent = transcript.active if parent is None else parent
    assert parent is not None
    at = len(transcript.passages[parent].ids) if at is None else at
    start = Passage("model", forced, "", parent, at)
    read = transcript.added(start).ids()[dropped:]
    steps = list(generate(gpt2, read, decoding))[:stopped_after]
    first = len(transcript.passages)
    for number in range(decoding.num_return_sequences):
        own = [step for step in steps if step.sequence == number]
        ids = (*forced, *(step.id for step in own))
        writing = Writing(gpt2.name, decoding, dropped, len(forced), own[-1].finish_reason, number)
        choices = tuple(step.choice for step in own)
        transcript = transcript.added(
            replace(start, ids=ids, text=decode(gpt2, ids), writing=writing, choices=choices)
        )
    return transcript.at(first + sample)


@cache
def documents(gpt2: Gpt2) -> dict[str, Document]:
    """One document for each thing that can have happened, by a name for it."""
    found: dict[str, Document] = {"nothing": Document(gpt2.name, gpt2.revision)}
    empty = Transcript()

    def keep(name: str, transcript: Transcript, **parts: object) -> None:
        found[name] = Document(gpt2.name, gpt2.revision, transcript=transcript, **parts)

    for name, text in {**PROMPTS, **HOSTILE}.items():
        decoding = replace(SHORT, seed=len(name))
        keep(f"answer to {name}", answered(gpt2, sent(gpt2, empty, text), decoding))
        keep(f"typed {name}", empty, prompt=text)
    once = sent(gpt2, empty, "Once upon a time & after = that #1 50% + more")
    for name, decoding in DECODINGS.items():
        keep(f"written with {name}", answered(gpt2, once, decoding))
    samples = replace(SHORT, num_return_sequences=3, seed=5)
    keep("second of three samples", answered(gpt2, once, samples, sample=1), focus=(2, 1))
    beams = Decoding("beam", max_new_tokens=4, num_beams=3, num_return_sequences=2)
    keep("second of two beams", answered(gpt2, once, beams, sample=1))

    first = answered(gpt2, once)
    branch = answered(gpt2, first, replace(SHORT, seed=9), at=3, forced=(257,))
    keep("branch", branch, focus=(2, 3), tab="attention")
    keep("the old branch, with its side branch kept", branch.at(1), focus=(1, 4))
    keep("focus beside the path", answered(gpt2, once.at(0)), focus=None)
    more = answered(gpt2, first, replace(SHORT, seed=77))
    keep("more tokens", more, prompt="typed, not sent", tab="logit_lens", focus=(1, 2))
    turns = answered(gpt2, sent(gpt2, branch, "\nAnd then? مرحبا 🎉"), replace(SHORT, seed=3))
    keep("several turns", turns, focus=(4, 2))
    keep("before the last answer", turns.at(3))
    edited = more.replaced(0, encode(gpt2, "Long ago"), "Long ago")
    keep("edited", edited)
    keep("edited, and written on", answered(gpt2, edited, replace(SHORT, seed=1)))
    keep("stopped", answered(gpt2, once, Decoding(seed=2), stopped_after=3))
    keep("the oldest tokens dropped", answered(gpt2, more, dropped=7))
    keep("half a character first", answered(gpt2, empty.continued(_half_a_character(gpt2))))

    talk = replace(SHORT, stop=(chat.stop_string(chat.TEMPLATE), "\n\n"), max_new_tokens=8)
    hello = answered(gpt2, sent(gpt2, empty, "Hello", in_chat=True), talk)
    keep("chat", hello, mode="chat")
    # As if the model had begun your line: then the template's beginning is not written again.
    begun = hello.continued(Passage("model", tuple(encode(gpt2, "\nUser:")), "\nUser:"))
    for name, start in {"chat, long": hello, "chat, line begun": begun}.items():
        why = answered(gpt2, sent(gpt2, start, "Why?", in_chat=True), talk)
        keep(name, why, mode="chat", prompt="And")
    ended = replace(SHORT, stop=(_a_stop_string(gpt2, once),), max_new_tokens=30)
    keep("ended by a stop string", answered(gpt2, once, ended))
    assert found["ended by a stop string"].transcript.passages[1].writing.finish_reason == "stop"
    return found


DECODINGS = {
    "greedy": Decoding("greedy", max_new_tokens=4, repetition_penalty=1.3),
    "beams": Decoding("beam", num_beams=3, max_new_tokens=4, no_repeat_ngram_size=2),
    "everything": Decoding(
        max_new_tokens=6,
        min_new_tokens=3,
        temperature=0.7,
        top_k=0,
        top_p=0.9,
        min_p=0.01,
        typical_p=0.95,
        repetition_penalty=1.1,
        seed=2**32 - 1,
        stop=("&a=b", "\n#", "é😀"),
    ),
    "a length in all": Decoding(max_length=25, top_k=5, seed=0),
}


def settings_of(decoding: Decoding) -> dict[str, object]:
    """The settings of a decoding, as the controls have them."""
    return asdict(decoding)


def _half_a_character(gpt2: Gpt2) -> Passage:
    ids = tuple(encode(gpt2, "a🎉"))[:-1]
    assert "�" in decode(gpt2, ids)
    return Passage("you", ids, decode(gpt2, ids))


def _a_stop_string(gpt2: Gpt2, transcript: Transcript) -> str:
    """What the model will write there as its third token."""
    written = answered(gpt2, transcript).passages[-1]
    text = decode(gpt2, written.ids[2:3])
    assert text
    assert "�" not in text
    return text
