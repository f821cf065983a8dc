"""The model writes a passage of the transcript, or several samples of it side by side.

What the model reads is the transcript up to the place where it goes on. If that and the tokens
that are asked for do not fit into its context together, the oldest tokens are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gpt2lab.beam_tree import BeamTree
from gpt2lab.chat import without_stop
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.step import Choice, Step, describe_text
from gpt2lab.tokens import decode
from gpt2lab.transcript import Passage, Transcript, Writing
from gpt2lab.ui.session import fitted
from gpt2lab.ui.streaming import written
from gpt2lab.ui.traces import Traces

ENDINGS = {
    "length": "the length that was asked for is reached",
    "eos": "the model ended the text with <|endoftext|>",
    "stop": "a stop string appeared",
}


@dataclass(frozen=True)
class Place:
    """Where the model goes on: behind so many tokens of a passage, and with which tokens.

    forced: the tokens with which the reader makes it begin.
    """

    parent: int
    at: int
    forced: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Draft:
    """What is written so far.

    first: the number of the first sample's passage; the samples' numbers follow each other.
    prompt: the ids that the model reads.
    finished: whether it ended by itself.
    beams: after a beam search, how it went.
    """

    transcript: Transcript
    first: int
    prompt: tuple[int, ...]
    status: str
    finished: bool = False
    beams: BeamTree | None = None


def write(
    gpt2: Gpt2,
    transcript: Transcript,
    place: Place,
    decoding: Decoding,
    traces: Traces,
    template: str | None = None,
) -> Iterator[Draft]:
    """Yield the transcript with the growing passages, the first sample active.

    template: in a chat, so that the passages' texts end where the template's words begin.
    """
    before = (*transcript.ids(place.parent), *place.forced)
    cut = len(transcript.passages[place.parent].ids) - place.at
    if cut:
        before = (*transcript.ids(place.parent)[:-cut], *place.forced)
    prompt = fitted(gpt2, before, room=decoding.max_new_tokens or 0)
    start = Passage("model", place.forced, "", place.parent, place.at)
    writing = Writing(gpt2.name, decoding, prompt.dropped, len(place.forced))
    base, first = transcript, len(transcript.passages)
    forced: tuple[Choice, ...] = ()
    steps: list[list[Step]] = []
    yield Draft(base, first, prompt.ids, f"{gpt2.name} reads {len(prompt.ids):,} tokens")
    try:
        for progress in written(gpt2, list(prompt.ids), decoding):
            steps = [one for one in progress.sequences if one]
            if place.forced and not forced:
                forced = _forced(gpt2, steps[0][0], len(place.forced), decoding)
            rate = f"{progress.rate:.{1 if progress.rate < 100 else 0}f}"
            line = f"{gpt2.name}: {progress.count:,} tokens, {rate} per second"
            if progress.finished:
                reasons = [one[-1].finish_reason or "" for one in steps]
                said = dict.fromkeys(ENDINGS[reason] for reason in reasons)
                line += f"; ended because {', or '.join(said)}."
            transcript = base
            for sample, one in enumerate(steps):
                ids = (*place.forced, *(step.id for step in one))
                text = decode(gpt2, ids)
                transcript = transcript.added(
                    replace(
                        start,
                        ids=ids,
                        text=without_stop(text, template) if template else text,
                        writing=replace(
                            writing, finish_reason=one[-1].finish_reason, sample=sample
                        ),
                        choices=(*forced, *(step.choice for step in one)),
                    )
                )
            beams = steps[0][-1].beams if steps else None
            done = progress.finished
            yield Draft(transcript.at(first), first, prompt.ids, line, done, beams)
    finally:
        for one in steps:
            traces.add(one[-1].trace)


def _forced(gpt2: Gpt2, step: Step, count: int, decoding: Decoding) -> tuple[Choice, ...]:
    """The numbers of the tokens that the reader chose: the last ones before the first step."""
    stages = decoding.stages_from_logits(gpt2, step.trace.ids.tolist())
    return tuple(describe_text(step.trace, max(1, len(step.trace) - count), stages))
