"""What an inspection is: one idea about GPT-2, in one file.

An inspection takes the `Trace` of a text and shows one thing about it: as a figure, as a table, as
JSON, and as the short transformers code that gives the same numbers. It declares the few controls
that it needs; the page, the API and the tests are made from that declaration, so that a new
inspection is one new file in `inspections/` and one name in its tuple.

The module's docstring is the explanation that the reader sees. The snippet names its variables
after the fields of the result record; those listed in `reproduces` are compared by a test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from gpt2lab.examples import Example
from gpt2lab.models import Gpt2

Kind = Literal["layer", "head", "position", "key", "number", "choice", "switch", "text"]
Group = Literal["Text", "Prediction", "Heads", "Layers", "Causes", "Weights"]
"""What an inspection is about: the tab in which its own tab stands."""


@dataclass(frozen=True)
class Control:
    """One thing that the reader can set.

    The bounds of "layer" and "head" come from the model and those of "position" from the text; all
    tabs share one "position", while a "key" is another one, which belongs to its tab alone;
    "number" has `low` and `high` (both whole: a whole number), "choice" has `choices`, "switch"
    is on or off; "text" is whatever a person types, in a box of so many `lines`, so the inspection
    has to check it. What the endpoint accepts is `accepts`, if that is more than the page offers.
    """

    name: str
    kind: Kind
    help: str
    default: float | str | bool = 0
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    lines: int = 1
    accepts: Any = None

    def highest(self, gpt2: Gpt2) -> float:
        """Largest value that makes sense for this model."""
        of_model = {
            "layer": gpt2.n_layer - 1,
            "head": gpt2.n_head - 1,
            "position": gpt2.n_positions - 1,
            "key": gpt2.n_positions - 1,
        }
        return of_model.get(self.kind, self.high)

    def lowest(self, gpt2: Gpt2) -> float:
        """Smallest value that makes sense; positions may be counted from the end."""
        return -gpt2.n_positions if self.kind == "position" else self.low

    @property
    def type(self) -> type:
        """Python type of a value."""
        if self.kind in {"choice", "text"}:
            return str
        if self.kind == "switch":
            return bool
        return float if isinstance(self.low, float) else int


@dataclass(frozen=True)
class Table:
    """What people read as numbers: one row per line, cells are text or numbers."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str | float | int | bool, ...], ...]


@dataclass(frozen=True)
class Inspection:
    """One inspection; every function takes the controls' values by name.

    compute(trace, **controls) returns the result record, snippet(trace, **controls) its code.
    With `uses_decoding` both also take `decoding` and `prompt_length`: the settings, and how many
    of the traced tokens were the prompt that they were used on.
    figure(result, dark=…) and table(result) show the record, answer(result) is its JSON.

    The endpoint of an inspection that needs no hidden states computes none. It asks of_text(gpt2,
    text, **controls) for the record, so that texts too long to be read, or empty, have an answer
    too, and its parameter has the name that this function gives to the text; or of_model(gpt2), and
    then has no text. One that has of_texts(gpt2, texts, **controls) takes a list of texts instead,
    and of the controls those that this function takes.

    The page shows the end of a text that is too long to be read at once. Where whole(gpt2, tokens)
    says that one of so many tokens can be looked at whole, compute and snippet take it as a `Text`.

    `writes` says that it writes a text of its own, beside the one that is looked at.

    examples(gpt2) are texts, with values of the controls, in which something is to be seen.

    interactive(result) is what the page's own drawing of it needs, as JSON. The page shows that in
    place of the figure, because one can point at it; the figure remains what is taken along.

    arrays(result) are the numbers that one may want to go on with in NumPy, with every digit; the
    page offers them as one .npz archive.
    """

    name: str
    title: str
    group: Group
    idea: str
    compute: Callable[..., Any]
    figure: Callable[..., Figure]
    table: Callable[[Any], Table]
    answer: Callable[[Any], Mapping[str, Any]]
    snippet: Callable[..., str]
    reproduces: tuple[str, ...]
    controls: tuple[Control, ...] = ()
    uses_decoding: bool = False
    of_text: Callable[..., Any] | None = None
    of_model: Callable[[Gpt2], Any] | None = None
    of_texts: Callable[..., Any] | None = None
    whole: Callable[[Gpt2, int], bool] | None = None
    writes: bool = False
    examples: Callable[[Gpt2], tuple[Example, ...]] | None = None
    interactive: Callable[[Any], Mapping[str, Any]] | None = None
    arrays: Callable[[Any], Mapping[str, np.ndarray]] | None = None
