"""The beams, step by step: what is behind an answer that a beam search has written.

The panel is there when there is a search to look at, and closed. It draws when it is opened; while
it is open it draws again when there is another search, or when the reader goes to other steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gradio as gr
from matplotlib.figure import Figure

from gpt2lab import beam_tree
from gpt2lab.beam_tree import STEPS_SHOWN, BeamTree
from gpt2lab.inspection import Table
from gpt2lab.models import Gpt2
from gpt2lab.ui.downloads import build_downloads
from gpt2lab.ui.inspection_tab import WITH_DARK, rounded
from gpt2lab.ui.limits import MODEL_QUEUE, QUIET, sentences

# Not `visible`: when gradio shows a panel it shows all that is hidden inside as well.
ABSENT = ["absent"]


@dataclass(frozen=True, eq=False)
class View:
    """What is on screen: a search from one of its steps on, in the page's mode."""

    tree: BeamTree
    first: int
    dark: bool


class _BeamPicture(NamedTuple):
    """What the buttons under the picture save."""

    name: str
    figure: Callable[..., Figure]
    table: Callable[[View], Table]


BEAM_PICTURE = _BeamPicture(
    "beams",
    lambda view: beam_tree.figure(view.tree, first=view.first),
    lambda view: beam_tree.table(view.tree),
)


def build_beam_panel(
    beams: gr.State, model_named: Callable[[str], Gpt2] | None = None
) -> gr.Accordion:
    """Lay out the panel for the search in `beams`, a `BeamTree` or None.

    With `model_named` it also shows the code that gives the same numbers.
    """
    with gr.Accordion("The beams, step by step", open=False, elem_classes=ABSENT) as panel:
        first = gr.Slider(0, 1, 0, step=1, label="first step shown", visible=False)
        picture = gr.Plot(show_label=False, elem_classes=["picture", "beams"])
        shown = gr.State(None)
        build_downloads(BEAM_PICTURE, shown)
        table = gr.Dataframe(
            interactive=False, show_search="search", buttons=["fullscreen", "copy"], label="Table"
        )
        code = gr.Code(
            language="python",
            interactive=False,
            buttons=["copy"],
            label="the same numbers with transformers",
            visible=model_named is not None,
        )
        dark = gr.Checkbox(visible=False)
        opened = gr.State(False)

    def draw(dark: bool, tree: BeamTree | None, first: int, before: View | None) -> list[Any]:
        """Values for picture, table, code and shown."""
        if tree is None:
            return [None, None, "", None]
        if before and (before.dark, before.tree, before.first) == (dark, tree, first):
            return [gr.skip()] * 4
        with sentences(for_page=True):
            image = beam_tree.figure(tree, dark=dark, first=first)
            if before and before.tree is tree:
                return [image, gr.skip(), gr.skip(), View(tree, first, dark)]
            lines = ""
            if model_named:
                lines = beam_tree.snippet(model_named(tree.model), tree.prompt, tree.decoding)
            return [image, rounded(beam_tree.table(tree)), lines, View(tree, first, dark)]

    def replaced(dark: bool, tree: BeamTree | None, opened: bool) -> list[Any]:
        """Another search, or none: values for the panel, the slider, and what is drawn."""
        drawn = draw(dark, tree if opened else None, 0, None)
        return [gr.update(elem_classes=[] if tree else ABSENT), _steps(tree), *drawn]

    drawn = [picture, table, code, shown]
    beams.change(
        replaced,
        [dark, beams, opened],
        [panel, first, *drawn],
        js=WITH_DARK,
        **QUIET,
        **MODEL_QUEUE,
    )
    panel.expand(lambda: True, None, opened, queue=False, **QUIET)
    panel.collapse(lambda: False, None, opened, queue=False, **QUIET)
    gr.on(
        [panel.expand, first.input],
        draw,
        [dark, beams, first, shown],
        drawn,
        js=WITH_DARK,
        show_progress="minimal",
        show_progress_on=picture,
        trigger_mode="always_last",
        api_visibility="private",
        **MODEL_QUEUE,
    )
    return panel


def _steps(tree: BeamTree | None) -> Any:
    """The slider, if the search has more steps than one picture shows."""
    furthest = len(tree.steps) - STEPS_SHOWN if tree else 0
    return gr.update(value=0, maximum=max(1, furthest), visible=furthest > 0)
