"""Find the one token that a person means.

People write " the"; the vocabulary has "Ġthe". Both are understood: what is written is first read
as text, and is found if the tokenizer makes one token of it; if not, it is looked up in the
vocabulary as it stands. A text of several tokens has no probability of its own as *the next token*,
so it is refused, and the refusal says which tokens it is made of.

Where a token is meant by its id, nothing said means the one that the text itself goes on with.
"""

from gpt2lab.inspection import Control
from gpt2lab.models import Gpt2
from gpt2lab.refusal import LONGEST_QUOTE, Refusal, checked_number, quoted
from gpt2lab.tokens import checked_text, describe, encode
from gpt2lab.trace import Trace

MOST_PIECES = 8
"""How many tokens of a longer text a refusal names."""
TEXTS_OWN = -1
"""Instead of an id: the token that follows in the text, at its end the most probable one."""
LARGEST_ID = 50256


def token_control(purpose: str) -> Control:
    """The control for an id; `purpose` says what the token is for."""
    return Control(
        "token",
        "number",
        f"id of the token {purpose}; -1: the one that follows, else the most probable",
        TEXTS_OWN,
        low=TEXTS_OWN,
        high=LARGEST_ID,
    )


def token_behind(trace: Trace, position: int, token: int) -> int:
    """The id that is meant behind a position, which is counted from the start."""
    id = int(checked_number("token", token, TEXTS_OWN, trace.gpt2.vocab_size - 1))
    if id != TEXTS_OWN:
        return id
    at_end = position + 1 == len(trace)
    return int(trace.logits(position).argmax() if at_end else trace.ids[position + 1])


def one_token(gpt2: Gpt2, name: str, text: object) -> int | None:
    """Id of the token that `text` is, or whose vocabulary string it is; None for an empty text.

    `name` is what the refusal calls the setting.
    """
    if not isinstance(text, str):
        raise Refusal(f"{name} is {quoted(text)}, but must be a text.")
    if not checked_text(text, f"The text of {name}"):
        return None
    ids = encode(gpt2, text)
    if len(ids) == 1:
        return ids[0]
    id = gpt2.tokenizer.convert_tokens_to_ids(text)
    # For a string that is not in the vocabulary this is the id of another token.
    if id is not None and gpt2.tokenizer.convert_ids_to_tokens(id) == text:
        return int(id)
    raise Refusal(
        f"{name} is {quoted(text)}, but must be one token, and this is {len(ids):,}: "
        f"{_pieces(gpt2, ids)}; search for {_advice(gpt2, text)}."
    )


def _pieces(gpt2: Gpt2, ids: list[int]) -> str:
    shown = describe(gpt2, ids[:MOST_PIECES]).shown
    more = " and more" if len(ids) > MOST_PIECES else ""
    return " · ".join(one[:LONGEST_QUOTE] for one in shown) + more


def _advice(gpt2: Gpt2, text: str) -> str:
    """With a blank before it, as inside a sentence, many a word is one token."""
    whole = encode(gpt2, f" {text}")
    if len(whole) == 1:
        return f"{describe(gpt2, whole).shown[0]}, with a blank before it, or for one of these"
    return "one of these"
