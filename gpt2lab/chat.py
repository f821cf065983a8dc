r"""Talking with a model that can only continue.

GPT-2 was never taught to converse. What looks like a conversation is one text that it continues: a
*template* writes what you say as one speaker's line and begins the next speaker's, so that the most
natural continuation is an answer. The model would then go on and write your next line too; so
generation stops at the string with which your lines begin.

>>> line("User: {text}\nGPT-2:", "Hello", before="")
'User: Hello\nGPT-2:'
>>> line("User: {text}\nGPT-2:", "Why?", before="User: Hello\nGPT-2: Hi.\nUser:")
' Why?\nGPT-2:'
"""

from gpt2lab.refusal import Refusal
from gpt2lab.tokens import checked_text

TEMPLATE = "User: {text}\nGPT-2:"
PLACE = "{text}"
LONGEST_TEMPLATE = 500  # characters


def checked_template(template: object) -> str:
    """Return the template if it can be used; raise `Refusal` with the reason if not."""
    text = checked_text(template, "The chat template")
    if len(text) > LONGEST_TEMPLATE:
        raise Refusal(
            f"The chat template has {len(text):,} characters; at most {LONGEST_TEMPLATE} are used."
        )
    if text.count(PLACE) != 1:
        raise Refusal(f"The chat template must contain {PLACE} once: there stands what you write.")
    if not text.partition(PLACE)[0].strip():
        raise Refusal(
            f"The chat template needs a word before {PLACE}, such as User:, where the answer stops."
        )
    return text


def stop_string(template: str) -> str:
    r"""Where the model's answer ends: your next line's beginning, such as "\nUser:"."""
    return "\n" + checked_template(template).partition(PLACE)[0].lstrip("\n").rstrip()


def line(template: str, text: str, before: str) -> str:
    """What you say, as the model reads it behind the conversation `before`.

    A beginning that the model has already written is not written a second time.
    """
    opening, _, closing = checked_template(template).partition(PLACE)
    if before:
        opening = "\n" + opening
    for overlap in range(len(opening), 0, -1):
        begun = opening[:overlap]
        # Of several line breaks the model may have written one.
        if before.endswith((begun, "\n" + begun.lstrip("\n")) if begun.strip() else begun):
            opening = opening[overlap:]
            break
    return opening + text + closing


def without_stop(text: str, template: str) -> str:
    """An answer without the beginning of your next line, and what came with it in its last token.

    >>> without_stop(" I am fine.\\nUser:", "User: {text}\\nGPT-2:")
    'I am fine.'
    """
    return text.partition(stop_string(template))[0].strip()


def reworded(spelled: str, old: str, new: str, template: str) -> str:
    """A passage that spells `spelled`, with other words of the speaker; the template's stay.

    >>> reworded("User: Hello\\nGPT-2:", "Hello", "Bye", "User: {text}\\nGPT-2:")
    'User: Bye\\nGPT-2:'
    """
    if not old:
        return new + spelled
    closing = template.partition(PLACE)[2]
    if closing and spelled.endswith(old + closing):
        return spelled.removesuffix(old + closing) + new + closing
    before, found, behind = spelled.partition(old)
    return before + new + behind if found else new
