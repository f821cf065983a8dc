"""The decoding settings as controls, one for each field of `Decoding`, with its one-line help.

Bounds are checked by `Decoding` itself, on the server: a number that does not fit is refused with a
sentence that names it, and stays in its field.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from gpt2lab.decoding import STRATEGIES, Decoding
from gpt2lab.ui.limits import MAX_BEAMS, MAX_SEQUENCES, allowed

SLIDERS = {
    "temperature": (0.05, 3.0, 0.05),
    "top_p": (0.0, 1.0, 0.01),
    "min_p": (0.0, 1.0, 0.01),
    "typical_p": (0.01, 1.0, 0.01),
    "repetition_penalty": (0.5, 3.0, 0.05),
    "num_beams": (1, MAX_BEAMS, 1),
    "num_return_sequences": (1, MAX_SEQUENCES, 1),
}
"""Lowest, highest and step of what is set by feel; the rest is typed."""

BEAMS = 4
"""What beam search begins with; 1 would be greedy decoding."""

GROUPS = {
    "Length": ("max_new_tokens", "max_length", "min_new_tokens"),
    "Sampling": ("temperature", "top_k", "top_p", "min_p", "typical_p", "seed"),
    "Repetition": ("repetition_penalty", "no_repeat_ngram_size"),
    "Several at once": ("num_return_sequences", "num_beams"),
}
SETTINGS = {field.name: field for field in fields(Decoding) if "help" in field.metadata}


@dataclass(frozen=True)
class Sidebar:
    """The controls, in the order in which `decoding` takes their values."""

    names: tuple[str, ...]
    controls: tuple[gr.components.FormComponent, ...]

    def decoding(self, values: Sequence[Any]) -> Decoding:
        """Settings from the controls' values, checked."""
        given = dict(zip(self.names, values, strict=True))
        lines = (given["stop"] or "").split("\n")
        given["stop"] = tuple(line.replace("\\n", "\n") for line in lines if line)
        # The page writes "not used" as 0.
        given["min_p"] = given["min_p"] or None
        if given["max_length"]:
            given["max_new_tokens"] = None
        else:
            given["max_length"] = None
        # A control that is disabled has no effect, whatever it was left at.
        unused = {
            name
            for name, setting in SETTINGS.items()
            if given["strategy"] not in setting.metadata["strategies"]
        }
        return allowed(Decoding(**{name: given[name] for name in given.keys() - unused}))


def build_sidebar() -> Sidebar:
    """Lay the controls out in the current column; those without effect are disabled."""
    controls: dict[str, gr.components.FormComponent] = {
        "strategy": gr.Dropdown(
            STRATEGIES,
            value="sample",
            label="strategy",
            info="greedy: the best token; sample: draw one; beam: the best of several texts",
        )
    }
    for group, names in GROUPS.items():
        with gr.Accordion(group, open=group in {"Length", "Sampling"}):
            for name in names:
                controls[name] = _control(name)
    with gr.Accordion("Stop strings", open=False):
        controls["stop"] = gr.Textbox(
            label="stop",
            info="end when one of these appears; one per line, \\n for a line break",
            lines=2,
        )
    limited = [name for name in controls if name in SETTINGS]

    def follow(strategy: str) -> list[Any]:
        updates: dict[str, dict[str, Any]] = {
            name: {"interactive": strategy in SETTINGS[name].metadata["strategies"]}
            for name in limited
        }
        if strategy == "beam":
            updates["num_beams"]["value"] = BEAMS
        return [gr.update(**updates[name]) for name in limited]

    controls["strategy"].change(
        follow,
        controls["strategy"],
        [controls[name] for name in limited],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    return Sidebar(tuple(controls), tuple(controls.values()))


def _control(name: str) -> gr.components.FormComponent:
    setting = SETTINGS[name]
    value = 40 if name == "max_new_tokens" else setting.default
    unused = " (0: not used)" if setting.default is None and name != "max_new_tokens" else ""
    common: dict[str, Any] = {
        "label": name,
        "info": setting.metadata["help"] + unused,
        "interactive": "sample" in setting.metadata["strategies"],
    }
    if name in SLIDERS:
        low, high, step = SLIDERS[name]
        return gr.Slider(low, high, value=value or 0, step=step, **common)
    return gr.Number(value or 0, precision=0, **common)
