"""What a figure shows, and whether it can be drawn without a warning."""

import io
import warnings

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch


def drawn(drawing: Figure) -> list[str]:
    """What is written in a figure of one part."""
    return [text.get_text() for text in drawing.axes[0].texts]


def boxes(drawing: Figure) -> list[FancyBboxPatch]:
    """Its chips, or the pieces on its rungs."""
    return [one for one in drawing.axes[0].patches if isinstance(one, FancyBboxPatch)]


def rows(drawing: Figure) -> dict[float, list[FancyBboxPatch]]:
    """The boxes of each height, in the order in which they are drawn."""
    found: dict[float, list[FancyBboxPatch]] = {}
    for box in boxes(drawing):
        found.setdefault(box.get_y(), []).append(box)
    return found


def save(drawing: Figure, *kinds: str) -> None:
    """Draw with every warning an error; in few dots, since nobody looks.

    Warnings about letters come when the text is laid out, which without any `kinds` is all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if not kinds:
            drawing.draw_without_rendering()
        for kind in kinds:
            drawing.savefig(io.BytesIO(), format=kind, dpi=30)
