"""The decoding settings as controls, one for each field of `Decoding`, with its one-line help.

What the controls hold is all there is to know: which preset that is, which of them have an effect,
and the call of `generate` that does the same are derived from it after every change. A control
without effect is disabled, says why, and keeps its value for the time when it has one again.

Bounds are checked by `Decoding` itself, on the server: a number that does not fit is refused with a
sentence that names it, and stays in its field.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import gradio as gr

from gpt2lab.decoding import DEFAULT_NEW_TOKENS, STRATEGIES, Decoding
from gpt2lab.refusal import Refusal
from gpt2lab.snippets import call
from gpt2lab.ui.checked_settings import BEAMS, in_effect
from gpt2lab.ui.limits import MAX_BEAMS, MAX_SEQUENCES, QUIET
from gpt2lab.ui.presets import OWN, PRESETS, name_of, preset_named

SLIDERS: dict[str, tuple[float, float, float]] = {
    "temperature": (0.05, 3.0, 0.05),
    "top_p": (0.0, 1.0, 0.01),
    "min_p": (0.0, 1.0, 0.01),
    "typical_p": (0.01, 1.0, 0.01),
    "repetition_penalty": (0.5, 3.0, 0.05),
    "num_beams": (2, MAX_BEAMS, 1),
    "num_return_sequences": (1, MAX_SEQUENCES, 1),
}
"""Lowest, highest and step of what is set by feel; the rest is typed."""

GROUPS = {
    "Length": ("max_new_tokens", "max_length", "min_new_tokens"),
    "Sampling": ("temperature", "top_k", "top_p", "min_p", "typical_p", "seed"),
    "Repetition": ("repetition_penalty", "no_repeat_ngram_size"),
    "Several at once": ("num_return_sequences", "num_beams"),
}
SETTINGS = {field.name: field for field in fields(Decoding) if "help" in field.metadata}
UNSET = ("min_p", "max_length")
"""What can be left out altogether; its control says that with a 0."""

OWN_HELP = "set below, by yourself"
LINE = "the same call in Python"
REFUSED = "these settings do not work"


@dataclass(frozen=True)
class Sidebar:
    """The controls, in the order in which `decoding` takes their values, and what follows them."""

    names: tuple[str, ...]
    controls: tuple[gr.components.FormComponent, ...]
    preset: gr.Dropdown
    line: gr.Textbox

    @property
    def components(self) -> list[gr.components.FormComponent]:
        """Everything, in the order of `updates`."""
        return [self.preset, self.line, *self.controls]

    def settings(self, values: Sequence[Any]) -> dict[str, Any]:
        """What the controls hold, under the names of `Decoding`: also what has no effect now."""
        settings = dict(zip(self.names, values, strict=True))
        settings["stop"] = _stop_strings(settings["stop"])
        for name in UNSET:
            settings[name] = settings[name] or None
        return settings

    def decoding(self, values: Sequence[Any]) -> Decoding:
        """Settings from the controls' values, checked; what has no effect is left out."""
        return in_effect(self.settings(values))

    def values(self, settings: Decoding | Mapping[str, Any]) -> list[Any]:
        """The controls' values for these settings: what `decoding` reads back from them."""
        given = asdict(settings) if isinstance(settings, Decoding) else dict(settings)
        given["stop"] = "\n".join(map(_escaped, given["stop"]))
        for name in UNSET:
            given[name] = given[name] or 0
        if given["max_new_tokens"] is None:
            given["max_new_tokens"] = DEFAULT_NEW_TOKENS
        if given["num_beams"] < 2:
            given["num_beams"] = BEAMS
        return [given[name] for name in self.names]

    def updates(self, settings: Decoding | Mapping[str, Any]) -> list[Any]:
        """Updates that fill the whole sidebar, one for each of `components`."""
        return self._filled(dict(zip(self.names, self.values(settings), strict=True)), {})

    def preset_updates(self, name: str, values: Sequence[Any]) -> list[Any]:
        """Updates that apply a preset to controls with these values.

        It sets what has an effect under it. The seed and what has none stay with the reader.
        """
        preset = preset_named(name)
        chosen: dict[str, Any] = {}
        if preset is not None:
            settings = asdict(preset.decoding)
            chosen = {
                one: value
                for one, value in zip(self.names, self.values(preset.decoding), strict=True)
                if one != "seed" and not _without_effect(one, settings)
            }
        own, *others = self._filled(chosen, dict(zip(self.names, values, strict=True)))
        # Whoever chooses "own settings" has changed none, so they may still be a preset's.
        return [own if preset else gr.update(**_preset(OWN)), *others]

    def _filled(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Any]:
        preset, line, *states = self.derived([{**old, **new}[name] for name in self.names])
        filled = [
            {**state, "value": new[name], **_range(name, new[name])} if name in new else state
            for name, state in zip(self.names, states, strict=True)
        ]
        return [gr.update(**one) for one in (preset, line, *filled)]

    def derived(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        """What follows from the controls' values: properties of each of `components`."""
        settings = self.settings(values)
        try:
            decoding = in_effect(settings)
        except Refusal as refusal:
            name, line = OWN, {"value": str(refusal), "label": REFUSED}
        else:
            name, line = name_of(decoding), {"value": call(decoding), "label": LINE}
        return [_preset(name), line, *(_state(one, settings) for one in self.names)]


def build_sidebar() -> Sidebar:
    """Lay the controls out in the current column, and connect what follows from them."""
    start = asdict(Decoding())
    name = name_of(Decoding())
    preset = gr.Dropdown(
        [*PRESETS, OWN], **_preset(name), label="preset", filterable=False, elem_id="preset"
    )
    controls: dict[str, gr.components.FormComponent] = {
        "strategy": gr.Dropdown(
            STRATEGIES,
            value=start["strategy"],
            label="strategy",
            info="greedy: the best token; sample: draw one; beam: the best of several texts",
            filterable=False,
        )
    }
    for group, names in GROUPS.items():
        with gr.Accordion(group, open=group in {"Length", "Sampling"}):
            for name in names:
                controls[name] = _control(name, start)
    with gr.Accordion("Stop strings", open=False):
        controls["stop"] = gr.Textbox(
            label="stop",
            info="end when one of these appears; one per line, \\n for a line break, "
            "\\\\ for a backslash",
            lines=2,
        )
    line = gr.Textbox(
        call(Decoding()),
        label=LINE,
        lines=2,
        max_lines=7,
        interactive=False,
        buttons=["copy"],
        elem_id="call",
    )
    sidebar = Sidebar(tuple(controls), tuple(controls.values()), preset, line)
    _connect(sidebar)
    return sidebar


def _connect(sidebar: Sidebar) -> None:
    """Let preset, line and the state of every control follow the person's own doing.

    Only a person's doing is an event here: `input`, not `change`, so that what the sidebar sets
    itself starts nothing, and not `select`, which is silent about a choice made by keyboard. All
    controls share one event, so that the last answer is always the one to the last change. Numbers
    come as they were typed, for `Decoding` to judge.
    """

    def follow(*values: Any) -> list[Any]:
        return [gr.update(**one) for one in sidebar.derived(values)]

    def choose(name: str, *values: Any) -> list[Any]:
        return sidebar.preset_updates(name, values)

    quiet: dict[str, Any] = {
        "queue": False,
        "preprocess": False,
        "trigger_mode": "always_last",
        **QUIET,
    }
    controls = list(sidebar.controls)
    gr.on([one.input for one in controls], follow, controls, sidebar.components, **quiet)
    # Leaving a slider's number field moves the number into the slider's bounds, without an `input`
    # and only after `release`; the event behind that one sees where it went.
    released = [one.release for one in controls if isinstance(one, gr.Slider)]
    gr.on(released, None, None, None, js="() => []", **quiet).then(
        follow, controls, sidebar.components, **quiet
    )
    sidebar.preset.input(choose, [sidebar.preset, *controls], sidebar.components, **quiet)


def _control(name: str, start: Mapping[str, Any]) -> gr.components.FormComponent:
    value = BEAMS if name == "num_beams" else start[name] or 0
    common: dict[str, Any] = {"label": name, **_state(name, start)}
    if name in SLIDERS:
        step = SLIDERS[name][2]
        return gr.Slider(value=value, **_range(name, value), step=step, buttons=[], **common)
    return gr.Number(value, **common)


def _preset(name: str) -> dict[str, Any]:
    preset = preset_named(name)
    return {"value": name, "info": preset.help if preset else OWN_HELP}


def _state(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of a control that say whether it has an effect and, if not, why."""
    if name not in SETTINGS:
        return {}
    reason = _without_effect(name, settings)
    unset = " (0: not used)" if name in UNSET else ""
    return {
        "interactive": not reason,
        "info": reason or SETTINGS[name].metadata["help"] + unset,
    }


def _without_effect(name: str, settings: Mapping[str, Any]) -> str:
    """Why a setting has no effect beside the others; "" if it has one."""
    if name == "max_new_tokens" and settings["max_length"] is not None:
        return "no effect while max_length is set: that one counts"
    strategy = settings["strategy"]
    # An unknown strategy is refused elsewhere; what a page shows as help never comes from outside.
    if strategy not in STRATEGIES or name not in SETTINGS:
        return ""
    if strategy in SETTINGS[name].metadata["strategies"]:
        return ""
    if name == "num_beams":
        return "no effect: only beam search uses it"
    if name == "num_return_sequences":
        return f"no effect under {strategy}: there is one result only"
    return f"no effect under {strategy}: nothing is drawn"


def _range(name: str, value: float) -> dict[str, float]:
    """Bounds of a slider, wider than usual if a value from elsewhere needs it."""
    if name not in SLIDERS:
        return {}
    low, high, _ = SLIDERS[name]
    return {"minimum": min(low, value), "maximum": max(high, value)}


_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def _stop_strings(text: Any) -> tuple[str, ...]:
    """The lines of the stop field, with its escapes resolved; empty lines mean nothing."""

    def resolved(line: str) -> str:
        return re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], line)

    return tuple(resolved(line) for line in str(text or "").split("\n") if line)


def _escaped(stop: str) -> str:
    """A stop string as one line of the stop field."""
    for written, meant in _ESCAPES.items():
        stop = stop.replace(meant, written)
    return stop
