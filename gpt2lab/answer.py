"""Which call writes the last answer again?

A passage says how it came about; the call of `generate` that does the same follows from that and
from where the passage stands. Four things make it more than the settings of the run:

    forced     the reader chose the first tokens, so the call gets them as a part of its prompt
    dropped    the oldest tokens did not fit into the context, so the call does not get them
    stopped    the reader stopped the model, so the call asks only for the tokens that are there
    samples    one call writes several texts, and the passage is one of them
"""

from dataclasses import dataclass, replace

from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.tokens import prompt_ids
from gpt2lab.transcript import Passage, Transcript


@dataclass(frozen=True)
class Answer:
    """The last answer on the active path, and the call of `generate` that writes it.

    prompt: the ids that `generate` gets: all that stands before, and the tokens that the reader
        chose, without the oldest ones that did not fit into the context.
    ids: the answer as far as it is read, the reader's tokens at its beginning included.
    sample: which of the texts that the call writes it is.
    cut: whether it was stopped, or is not read to its end.
    decoding: the settings of the call. If the answer is cut, the call writes only so many tokens;
        but a beam search has to go to its end to know the first.
    """

    passage: Passage
    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    forced: int
    sample: int
    cut: bool
    decoding: Decoding

    @property
    def written(self) -> int:
        """How many of its tokens the model chose."""
        return len(self.ids) - self.forced


def last_answer(gpt2: Gpt2, transcript: Transcript) -> Answer | None:
    """The last passage of the active path that the model wrote; None if there is none.

    A passage of the model without `writing` was written behind another text than stands there now,
    so there is no call that writes it.
    """
    pieces = [piece for piece in transcript.path() if piece.passage.author == "model"]
    if not pieces or pieces[-1].passage.writing is None:
        return None
    number, passage, length = pieces[-1]
    writing = pieces[-1].passage.writing
    if writing.model != gpt2.name:
        raise Refusal(
            f"The last answer was written by {quoted(writing.model)}, but the model chosen now is "
            f"{quoted(gpt2.name)}; choose {quoted(writing.model)} to take its notebook along."
        )
    forced = min(writing.forced, length)
    before = (*transcript.before(number), *passage.ids[:forced])[writing.dropped :]
    decoding, written = writing.decoding, length - forced
    cut = length < len(passage.ids) or writing.finish_reason is None
    if cut and written and decoding.strategy != "beam":
        least = min(decoding.min_new_tokens, written)
        decoding = replace(decoding, max_new_tokens=written, max_length=None, min_new_tokens=least)
    prompt = before or tuple(prompt_ids(gpt2, ""))
    return Answer(passage, prompt, passage.ids[:length], forced, writing.sample, cut, decoding)
