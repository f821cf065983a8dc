"""What is wrong with something that came from elsewhere, said in one sentence a piece.

A file or a link may be old, cut short, written by hand, or malicious. It is never refused as a
whole: what is good is used, and each bad piece gets one sentence: what is wrong with it, and what
was done about it.
"""

from collections.abc import Iterable

from gpt2lab.refusal import Refusal, checked_number, quoted

MOST_SENTENCES = 12
"""So many are read by nobody; what is beyond them is counted."""
MOST_NAMES = 5


class Complaints:
    """The sentences, in the order in which the pieces were looked at."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._unknown: dict[str, None] = {}

    def add(self, wrong: str | Refusal, done: str) -> None:
        """One sentence from what is wrong and what was done about it."""
        self._sentences.append(f"{str(wrong).removesuffix('.')}; {done}.")

    def ignore(self, names: Iterable[str]) -> None:
        """Parts that nobody knows; one sentence for all of them."""
        self._unknown.update(dict.fromkeys(names))

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is to be said, never too much to read."""
        said = [*self._sentences]
        if self._unknown:
            names = [quoted(name) for name in list(self._unknown)[:MOST_NAMES]]
            more = len(self._unknown) - len(names)
            rest = f" and {more:,} more" if more else ""
            said.append(f"Not known here and ignored: {', '.join(names)}{rest}.")
        if len(said) > MOST_SENTENCES:
            rest = f"{len(said) - MOST_SENTENCES + 1:,} more pieces were left out or replaced."
            said = [*said[: MOST_SENTENCES - 1], rest]
        return tuple(said)


def described(value: object) -> str:
    """A value for use in a sentence: never long, however large or deeply nested it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return quoted(value)


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """Return a whole number within its bounds; raise `Refusal` naming it if it is none."""
    if high < low:
        raise Refusal(f"{name} is {described(value)}, but there is none to name yet.")
    if isinstance(value, dict | list | tuple):
        raise Refusal(
            f"{name} is {described(value)}, but must be a whole number from {low} to {high}."
        )
    return int(checked_number(name, value, low, high))
