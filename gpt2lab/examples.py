"""Texts to begin with, chosen for the model that reads them.

A small model that has read stories and news continues stories and news; asked for facts or code it
would only show that it is small. GPT-2 knows more, so its examples ask for more.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from gpt2lab.models import Gpt2
from gpt2lab.pocket import FOLDER

REPEATED = (
    "seven green horses walked under the old bridge."
    " seven green horses walked under the old bridge. seven green"
)
"""The second time, what comes next can be read off the first: what an induction head does."""


@dataclass(frozen=True)
class Example:
    """A text, what is to be seen in it, and the values of an inspection's controls for that."""

    shows: str
    text: str
    controls: dict[str, Any] = field(default_factory=dict)


POCKET = (
    Example("a story", "Once upon a time, there was a little girl named Lily."),
    Example("an old book", "The old king said to his daughter,"),
    Example("news", "The President of the United States said today that"),
    Example("an encyclopedia", "The city is located in the north of"),
    Example("someone speaks", '"Where are you going?" asked the rabbit.'),
    Example("a repetition", REPEATED),
)
GPT2 = (
    Example("a colour that is missing", "The American flag's colors are red, blue and"),
    Example("the notebook's beginning", "Today we can go to"),
    Example("a name repeated", "When Mary and John went to the store, John gave a drink to"),
    Example("a bracket to close", "def area(width, height):\n    return (width * height"),
    Example("a list", "Monday, Tuesday, Wednesday,"),
    Example("a repetition", REPEATED),
)


REVEALING_POCKET = (
    Example("a repetition: what followed the first time?", REPEATED),
    Example("a name repeated", 'Mr. Brown met Mrs. Brown. "Good morning, Mrs.'),
    Example("a thing repeated", "Lily had a red ball and Tom had a blue ball. Lily lost her"),
    Example("a bracket to close", "The bird (and its nest"),
    Example("a colour that is missing", "The American flag's colors are red, blue and"),
)
"""Texts that go on with something said before; a small model knows little else."""
REVEALING_GPT2 = tuple(
    Example(shows, next(one.text for one in GPT2 if one.shows == shows))
    for shows in (
        "a colour that is missing",
        "a name repeated",
        "a bracket to close",
        "a repetition",
    )
)


def prompts(gpt2: Gpt2) -> tuple[Example, ...]:
    """Texts that suit the model."""
    return POCKET if gpt2.source == "built-in" else GPT2


def revealing(gpt2: Gpt2) -> tuple[Example, ...]:
    """Texts whose next token hangs on something before it, which can be seen inside the model."""
    return REVEALING_POCKET if gpt2.source == "built-in" else REVEALING_GPT2


def heads(gpt2: Gpt2) -> tuple[Example, ...]:
    """Heads of which it was measured what they do; known for the built-in model only."""
    if gpt2.source != "built-in":
        return ()
    measured = json.loads((FOLDER / "heads.json").read_text())
    names = {
        "induction": ("induction head", "looks at what followed the same token the last time"),
        "previous_token": ("previous-token head", "looks one token back"),
    }
    return tuple(
        Example(
            f"layer {layer}, head {head}: {names[kind][0]}, {names[kind][1]} ({share:.0%} of its "
            "attention, measured on random tokens)",
            REPEATED,
            {"layer": layer, "head": head},
        )
        for kind in names
        for layer, head, share in measured[kind]
    )
