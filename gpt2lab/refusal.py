"""What cannot be done is refused in one sentence that says what to do instead.

Every mistake that a person can make, in the page, through the API or in a notebook, ends in a
`Refusal`. Its message is written for that person: it names the setting, its value and what would
work. Everything else that goes wrong is a bug and keeps its own exception.
"""

from numbers import Real
from typing import Any

LONGEST_QUOTE = 80


class Refusal(ValueError):
    """A request that cannot be fulfilled; the message is one sentence for the person who asked."""


def quoted(value: object) -> str:
    """What a person gave, for use in a sentence: as Python writes it, but never long."""
    try:
        text = ascii(value)
    except ValueError:  # a whole number of more digits than Python is willing to write
        text = "an enormous number"
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 1]}…"


def checked_number(name: str, value: Any, low: float, high: float) -> float:
    """Return `value` if it is a number from `low` to `high`; raise `Refusal` naming it if not.

    Where both bounds are whole, the number must be whole too and is returned as an int: 3.0, which
    is how JSON and sliders may write it, becomes 3. NumPy's numbers are numbers; a bool is not.
    """
    whole = isinstance(low, int) and isinstance(high, int)
    number = isinstance(value, Real) and not isinstance(value, bool)
    # NaN is not between any bounds, so it needs no check of its own.
    if not number or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise Refusal(f"{name} is {quoted(value)}, but must be {kind} from {low} to {high}.")
    return int(value) if whole else float(value)
