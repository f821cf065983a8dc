"""What a tab reads of the text that is looked at: a trace, or the whole of a long text.

The model reads no more than its context at once, so of a longer text the tabs show the end. But the
tokens of a text can be counted, and the text be scored in windows, however long it is.
"""

from dataclasses import dataclass
from typing import Any

import torch

from gpt2lab.inspection import Inspection
from gpt2lab.models import Gpt2
from gpt2lab.trace import Text, Trace
from gpt2lab.ui.session import Subject
from gpt2lab.ui.traces import Traces


@dataclass(frozen=True)
class Reading:
    """The text that an inspection is given.

    first: position in it of the first token that the strip above the tabs shows.
    """

    text: Text
    first: int = 0

    @property
    def whole(self) -> bool:
        """Whether it is longer than what the model reads at once."""
        return not isinstance(self.text, Trace)

    def arguments(self, inspection: Inspection, values: dict[str, Any]) -> dict[str, Any]:
        """The controls' values, with positions of the strip as positions of this text."""
        names = [control.name for control in inspection.controls if control.kind == "position"]
        counted = (name for name in names if isinstance(values[name], int) and values[name] >= 0)
        return values | {name: values[name] + self.first for name in counted}


def reading(inspection: Inspection, gpt2: Gpt2, looked_at: Subject, traces: Traces) -> Reading:
    """The trace of what is looked at; or all tokens of a long text, if the inspection takes them.

    A text that fits into the context may be cut as well, as it was when the model wrote behind it.
    """
    whole = (*looked_at.before, *looked_at.ids, *looked_at.after)
    long = len(whole) > gpt2.n_positions
    if long and inspection.whole and inspection.whole(gpt2, len(whole)):
        return Reading(Text(gpt2, torch.tensor(whole)), looked_at.dropped)
    return Reading(traces.trace(gpt2, looked_at.ids))
