"""Ways to choose the next token that have a name, each with the reason why one would want it.

A preset is nothing but a `Decoding`. The seed is not part of it: which of many texts is drawn is
another question than how they are drawn.
"""

from dataclasses import replace
from typing import NamedTuple

from gpt2lab.decoding import Decoding

OWN = "(own settings)"
"""What is shown where the settings are nobody's but the reader's."""


class Preset(NamedTuple):
    """Settings, and what they are good for in one line."""

    decoding: Decoding
    help: str


PRESETS = {
    "Plain sampling": Preset(
        Decoding(),
        "what the page starts with: generate's defaults, a draw from the 50 most probable tokens",
    ),
    "Greedy": Preset(
        Decoding(strategy="greedy"),
        "always the most probable token: the same text each time, and GPT-2 soon goes in circles",
    ),
    "The notebook's sampling": Preset(
        Decoding(top_k=5, max_length=50),
        "a draw from the five most probable tokens; prompt and answer are 50 tokens together",
    ),
    "The notebook's pipeline": Preset(
        Decoding(temperature=0.1, max_new_tokens=256),
        "pipeline('text-generation') at temperature 0.1: almost greedy, and 256 tokens long",
    ),
    "Balanced": Preset(
        Decoding(temperature=0.8, top_k=0, top_p=0.95),
        "a little bolder than the model, without the improbable rest where GPT-2 loses its thread; "
        "how many tokens that leaves depends on how sure it is",
    ),
    "Wild": Preset(
        Decoding(temperature=1.4, top_k=0),
        "every token may be drawn, and the scores are flattened: surprising words, little sense",
    ),
    "Beam 4": Preset(
        Decoding(strategy="beam", num_beams=4),
        "the most probable text that four continuations side by side find; likely, and often dull",
    ),
}


def preset_named(name: object) -> Preset | None:
    """The preset of that name; None for a reader's own settings."""
    return PRESETS.get(name) if isinstance(name, str) else None


def name_of(decoding: Decoding) -> str:
    """Name of the preset that these settings are, whatever their seed."""
    for name, preset in PRESETS.items():
        if replace(decoding, seed=preset.decoding.seed) == preset.decoding:
            return name
    return OWN
