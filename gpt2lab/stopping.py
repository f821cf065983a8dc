"""When to stop writing.

A text is finished when the model itself ends it with `<|endoftext|>`, when one of the stop strings
has appeared, or when the length that was asked for is reached. Transformers checks this with
*stopping criteria* after every token; these are its own.
"""

from functools import lru_cache

from torch import Tensor
from transformers import StoppingCriteriaList, StopStringCriteria

from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2

_REASONS = {
    "EosTokenCriteria": "eos",
    "StopStringCriteria": "stop",
    "MaxLengthCriteria": "length",
}


def stopping_criteria(gpt2: Gpt2, decoding: Decoding, prompt_length: int) -> StoppingCriteriaList:
    """The criteria by which `generate` itself would stop behind a prompt of that many tokens."""
    config = decoding.prepared_config(gpt2, prompt_length)
    config.stop_strings = None
    return gpt2.model._get_stopping_criteria(
        config, stopping_criteria=stop_strings_criteria(gpt2, decoding)
    )


def stop_strings_criteria(gpt2: Gpt2, decoding: Decoding) -> StoppingCriteriaList:
    """The criteria for the stop strings alone; empty if there are none."""
    return StoppingCriteriaList([_stop_strings(gpt2, decoding.stop)] if decoding.stop else [])


@lru_cache(maxsize=8)
def _stop_strings(gpt2: Gpt2, stop: tuple[str, ...]) -> StopStringCriteria:
    """The criterion for these stop strings.

    To make it, transformers compares each string with the whole vocabulary, about a second; its
    own cache misses because the tokenizer lists the vocabulary in an order that changes.
    """
    return StopStringCriteria(gpt2.tokenizer, list(stop))


def finish_reasons(criteria: StoppingCriteriaList, ids: Tensor) -> list[str]:
    """For each row of ids, (rows, n), why it is finished, or "" if it is not.

    Where several criteria hold at once, the text's own reason is named before the length.
    """
    reasons = [""] * len(ids)
    order = list(_REASONS)
    for criterion in sorted(criteria, key=lambda one: -order.index(type(one).__name__)):
        for row, done in enumerate(criterion(ids, None).tolist()):
            if done:
                reasons[row] = _REASONS[type(criterion).__name__]
    return reasons
