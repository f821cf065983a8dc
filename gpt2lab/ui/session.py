"""What belongs to one visitor: which text they look at.

A visitor looks into the text of the prompt, or into that text together with what the model wrote
behind it. The answer is remembered as token ids, not as text: cutting the text into tokens again
could give other tokens than the ones that the model wrote.
"""

from dataclasses import dataclass

from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import prompt_ids

PROMPT = "the prompt"
ANSWER = "the prompt and its answer"


@dataclass(frozen=True)
class Run:
    """The last generation of a visitor: what was asked for, and the ids of the (first) answer."""

    model: str
    decoding: Decoding
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    finished: bool


@dataclass(frozen=True)
class Subject:
    """The text that is looked at; its first `prompt_length` tokens were written by the visitor."""

    ids: tuple[int, ...]
    prompt_length: int


def subject(gpt2: Gpt2, prompt: str, source: str, run: Run | None) -> Subject:
    """The text that the inspection tabs show."""
    if source != ANSWER:
        ids = prompt_ids(gpt2, prompt)
        return Subject(tuple(ids), len(ids))
    if run is None or not run.answer:
        raise Refusal("There is no answer yet; generate one or look into the prompt.")
    if run.model != gpt2.name:
        raise Refusal(
            f"The answer was written by {run.model}; generate one with {gpt2.name}, "
            "or look into the prompt."
        )
    return Subject((*run.prompt, *run.answer), len(run.prompt))
