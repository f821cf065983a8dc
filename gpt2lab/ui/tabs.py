"""The tabs: the playground, and the inspections in a tab for each group of them.

All in one row they would not fit, and what does not fit is found by nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import gradio as gr

from gpt2lab.inspection import Group, Inspection
from gpt2lab.ui.inspection_tab import PRESS_REDRAW, InspectionTab
from gpt2lab.ui.limits import QUIET
from gpt2lab.ui.strip_above import build_strip


@dataclass(frozen=True)
class Groups:
    """The tab of each group, which contains the tabs of its inspections."""

    outer: gr.Tabs
    inner: tuple[gr.Tabs, ...]
    inspected: tuple[InspectionTab, ...]

    @property
    def components(self) -> tuple[gr.Tabs, ...]:
        """What `selected` gives values for."""
        return (self.outer, *self.inner)

    def selected(self, name: str) -> list[Any]:
        """Bring the playground, or one inspection, into view."""
        inspections = [one.inspection for one in self.inspected]
        group = next((one.group for one in inspections if one.name == name), None)
        inner = [gr.Tabs(selected=name) if group == one else gr.skip() for one in get_args(Group)]
        return [gr.Tabs(selected=group or name), *inner]

    def opened(self, name: str) -> list[Any]:
        """The same, but "" leaves everything where it is."""
        return self.selected(name) if name else [gr.skip()] * len(self.components)


def build_groups(
    outer: gr.Tabs,
    inspections: Sequence[Inspection],
    build_tab: Callable[[Inspection, gr.HTML], InspectionTab],
) -> Groups:
    """Lay out the groups in the current Tabs, `outer`, each below a strip of tokens.

    `build_tab` lays out one inspection, which draws the strip that it is given as well.
    """
    inner, inspected = [], []
    for group in get_args(Group):
        with gr.Tab(group, id=group, elem_id=f"group-{group.lower()}") as tab:
            strip = build_strip()
            with gr.Tabs() as tabs:
                inspected += [build_tab(one, strip) for one in inspections if one.group == group]
        tab.select(None, None, None, js=PRESS_REDRAW, **QUIET)
        inner.append(tabs)
    return Groups(outer, tuple(inner), tuple(inspected))
