"""The position that all tabs look at.

Whoever has found the token of interest wants to see its distribution, its attention and its states
without typing its number into each tab. So there is one position: a click in a strip, a click in an
interactive picture, or a number typed into any tab sets it in all of them. Nothing of that needs
the server, since it only moves values between components of the page; only what is drawn does.

A picture can also ask for another tab and for values of its controls, in the same way.
"""

import json
from dataclasses import dataclass

import gradio as gr

from gpt2lab.ui.inspection_tab import PRESS_REDRAW
from gpt2lab.ui.limits import QUIET
from gpt2lab.ui.tabs import Groups


@dataclass(frozen=True)
class Positions:
    """The shared position, and the controls of all tabs that show it."""

    shared: gr.Number
    controls: tuple[gr.components.FormComponent, ...]

    @property
    def components(self) -> list[gr.components.FormComponent]:
        """All that have to be equal."""
        return [self.shared, *self.controls]


def connect_positions(shared: gr.Number, groups: Groups, model: gr.Dropdown) -> Positions:
    """Let the tabs share one position, and let pictures and strips ask for values of controls."""
    controls = [(one.inspection.name, *pair) for one in groups.inspected for pair in one.controls]
    positions = [component for _, control, component in controls if control.kind == "position"]
    for one in positions:
        others = [shared, *(other for other in positions if other is not one)]
        alike = f"(position) => Array({len(others)}).fill(position)"
        one.input(None, one, others, js=alike, **QUIET)

    # The page's own script presses it; it knows what was asked for.
    chosen = gr.Button(visible="hidden", elem_id="chosen")
    tab = gr.Textbox(visible="hidden")
    keys = [["", "", "tab"], ["", "", "position"]]
    keys += [[of, control.name, control.kind] for of, control, _ in controls]
    values = [tab, shared, *(component for _, _, component in controls)]
    take = f"(...values) => window.gpt2lab.chosen({json.dumps(keys)}, values)"
    chosen.click(None, [*values, model], values, js=take, **QUIET).then(
        groups.opened, tab, groups.components, queue=False, **QUIET
    ).then(None, None, None, js=PRESS_REDRAW, **QUIET)
    return Positions(shared, tuple(positions))
