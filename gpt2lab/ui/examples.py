"""Choosing an example: it begins a new text, and sets the controls so that there is much to see.

The transcript that was there stays, as another branch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from gpt2lab.examples import Example
from gpt2lab.inspection import Control
from gpt2lab.models import Gpt2
from gpt2lab.ui.header import Header
from gpt2lab.ui.session import Session

Examples = Callable[[Gpt2], tuple[Example, ...]]


def example_choice(examples: Sequence[Example], render: bool = True) -> gr.Dropdown:
    """A list of what the examples show; hidden if there are none."""
    return gr.Dropdown(
        [example.shows for example in examples],
        value=None,
        label="Examples",
        info="a new text to begin with",
        scale=1,
        min_width=220,
        render=render,
        visible=bool(examples),
        interactive=True,
        elem_classes="examples",
    )


def connect_examples(
    choice: gr.Dropdown,
    examples: Examples,
    controls: Sequence[tuple[Control, gr.components.FormComponent]],
    header: Header,
    session: gr.State,
    outputs: Sequence[gr.components.Component],
    positions: Sequence[gr.components.Component],
    redraw: str,
) -> None:
    """Let the choice fill the box, set controls and positions anew, and follow the model.

    `outputs` are session, transcript, branches and box, `positions` what all tabs share.
    """
    from gpt2lab.ui.generate_tab import QUIET, drawn

    own = [pair for pair in controls if pair[0].kind != "position"]

    def choose(shows: str, session: Session, name: str) -> list[Any]:
        gpt2 = header.named(name)
        found = [one for one in examples(gpt2) if one.shows == shows]
        if not found:
            return [gr.skip()] * (4 + len(own) + len(positions))
        there = Session(session.transcript.at(None))
        values = [found[0].controls.get(control.name, control.default) for control, _ in own]
        ends = [found[0].controls.get("position", -1)] * len(positions)
        return [there, *drawn(gpt2, there), found[0].text, *values, *ends]

    def follow(name: str) -> Any:
        names = [one.shows for one in examples(header.named(name))]
        return gr.update(choices=names, value=None, visible=bool(names))

    choice.input(
        choose,
        [choice, session, header.model],
        [*outputs, *(component for _, component in own), *positions],
        **QUIET,
    ).then(None, None, None, js=redraw, **QUIET)
    header.model.change(follow, header.model, choice, queue=False, **QUIET)
