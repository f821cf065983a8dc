"""The sidebar says what its controls mean, and nothing that a person typed gets lost in it."""

import random
from dataclasses import asdict, replace
from typing import Any

import gradio as gr
import pytest

from gpt2lab.decoding import Decoding
from gpt2lab.refusal import Refusal
from gpt2lab.snippets import call
from gpt2lab.ui.limits import MAX_BEAMS, MAX_SEQUENCES, allowed
from gpt2lab.ui.presets import OWN, PRESETS
from gpt2lab.ui.sidebar import LINE, REFUSED, Sidebar, build_sidebar

STOPS = ("User:", "\n", "\n\n", " the", "\\", "\\n", "\\\n", "\r\n", "C:\\new\\", "😀", "\t ")
EXTREMES = {
    "temperature": (0.01, 1 / 3, 100.0),
    "top_k": (0, 1, 100_000),
    "top_p": (0.0, 0.123),
    "min_p": (0.001, 1.0, None),
    "typical_p": (0.001, 0.5),
    "repetition_penalty": (0.01, 100.0),
    "no_repeat_ngram_size": (2, 1000),
    "min_new_tokens": (1, 2),
    "seed": (0, 2**32 - 1),
}


@pytest.fixture(scope="module")
def sidebar() -> Sidebar:
    with gr.Blocks():
        return build_sidebar()


def started(sidebar: Sidebar) -> dict[str, Any]:
    """What an untouched sidebar holds."""
    values = [control.value for control in sidebar.controls]
    return dict(zip(sidebar.names, values, strict=True))


def shown(sidebar: Sidebar, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the sidebar makes of these values, by the name of the component."""
    names = ("preset", "line", *sidebar.names)
    return dict(zip(names, sidebar.derived(list(values.values())), strict=True))


def after(updates: list[Any], sidebar: Sidebar, values: dict[str, Any]) -> dict[str, Any]:
    """What the controls hold once the page has carried these updates out."""
    changes = zip(sidebar.names, updates[2:], strict=True)
    return values | {name: one["value"] for name, one in changes if "value" in one}


def random_decoding(number: int) -> Decoding:
    """Settings that the app allows, each at its default in about half of them."""
    draw = random.Random(number)
    strategy = draw.choice(["greedy", "sample", "beam"])
    given: dict[str, Any] = {"strategy": strategy}
    for name, values in EXTREMES.items():
        if draw.random() < 0.5:
            given[name] = draw.choice(values)
    if strategy == "beam":
        given["num_beams"] = draw.randint(2, MAX_BEAMS)
    if strategy != "greedy":
        most = given.get("num_beams", MAX_SEQUENCES)
        given["num_return_sequences"] = draw.randint(1, most)
    given[draw.choice(["max_new_tokens", "max_length"])] = draw.randint(2, 200)
    given["stop"] = tuple(draw.sample(STOPS, draw.randint(0, 4)))
    return allowed(Decoding(**given))


def used(decoding: Decoding) -> Decoding:
    """The same with every setting at its default that the strategy does not use."""
    fields = Decoding.__dataclass_fields__
    unused = {
        name: fields[name].default
        for name in asdict(decoding)
        if decoding.strategy not in fields[name].metadata.get("strategies", (decoding.strategy,))
    }
    return replace(decoding, **unused)


# --- values and settings -------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(200))
def test_settings_go_into_the_controls_and_come_back(sidebar: Sidebar, number: int) -> None:
    decoding = random_decoding(number)
    values = sidebar.values(decoding)
    assert sidebar.decoding(values) == used(decoding)
    assert call(sidebar.decoding(values)) == call(decoding)
    # Also what has no effect now is kept for later.
    ours, given = sidebar.settings(values), asdict(decoding)
    given["max_new_tokens"] = given["max_new_tokens"] or 40
    given["num_beams"] = ours["num_beams"] if decoding.num_beams == 1 else decoding.num_beams
    assert ours == given
    assert sidebar.values(ours) == values


def test_the_random_settings_are_of_every_kind() -> None:
    """Else the test above would say little."""
    decodings = [random_decoding(number) for number in range(200)]
    assert {one.strategy for one in decodings} == {"greedy", "sample", "beam"}
    assert {stop for one in decodings for stop in one.stop} == set(STOPS)
    assert sum(one != used(one) for one in decodings) > 20
    assert sum(one.max_length is None for one in decodings) in range(50, 150)
    for name, values in EXTREMES.items():
        assert {getattr(one, name) for one in decodings} >= set(values)


def test_the_page_can_hold_what_the_values_are(sidebar: Sidebar) -> None:
    """Gradio refuses a number outside a slider's bounds, so these widen where it is needed."""
    sliders = {"temperature": 50.0, "repetition_penalty": 0.1, "typical_p": 0.001}
    updates = sidebar.updates(Decoding(**sliders))
    for name, control, update in zip(sidebar.names, sidebar.controls, updates[2:], strict=True):
        if isinstance(control, gr.Slider):
            assert update["minimum"] <= update["value"] <= update["maximum"], name
            if name not in sliders:
                assert update["minimum"] == control.minimum
                assert update["maximum"] == control.maximum
    assert [update["__type__"] for update in updates] == ["update"] * len(sidebar.components)
    assert updates[0]["value"] == OWN
    assert updates[1]["value"] == call(Decoding(**sliders))


def test_the_stop_field_is_read_as_its_help_says(sidebar: Sidebar) -> None:
    values = started(sidebar) | {"stop": "User:\n\n\\n\n\\\\n\na\\b"}
    assert sidebar.decoding(list(values.values())).stop == ("User:", "\n", "\\n", "a\\b")


# --- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["started", "Greedy", "Beam 4", "The notebook's sampling"])
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_exactly_its_settings(sidebar: Sidebar, name: str, before: str) -> None:
    values = started(sidebar) | {"temperature": 2.5, "stop": "User:", "min_new_tokens": 5}
    if before != "started":
        values = after(sidebar.preset_updates(before, list(values.values())), sidebar, values)
    updates = sidebar.preset_updates(name, list(values.values()))
    new = after(updates, sidebar, values)
    assert sidebar.decoding(list(new.values())) == PRESETS[name].decoding
    assert updates[0]["value"] == name
    assert updates[0]["info"] == PRESETS[name].help
    assert updates[1]["value"] == call(PRESETS[name].decoding)


@pytest.mark.parametrize("name", PRESETS)
def test_the_readers_seed_stays_under_a_preset(sidebar: Sidebar, name: str) -> None:
    values = started(sidebar) | {"seed": 7}
    updates = sidebar.preset_updates(name, list(values.values()))
    new = after(updates, sidebar, values)
    assert new["seed"] == 7
    assert updates[0]["value"] == name
    if PRESETS[name].decoding.strategy == "sample":
        assert updates[1]["value"].startswith("set_seed(7); ")


def test_what_a_preset_does_not_use_keeps_what_was_typed(sidebar: Sidebar) -> None:
    values = started(sidebar) | {"temperature": 0.7, "top_k": 12, "max_new_tokens": 99}
    new = after(sidebar.preset_updates("Greedy", list(values.values())), sidebar, values)
    assert (new["temperature"], new["top_k"], new["max_new_tokens"]) == (0.7, 12, 40)
    new = after(
        sidebar.preset_updates("The notebook's sampling", list(values.values())), sidebar, values
    )
    assert (new["temperature"], new["top_k"], new["max_new_tokens"]) == (1.0, 5, 99)


def test_a_change_by_hand_makes_them_own_settings(sidebar: Sidebar) -> None:
    values = started(sidebar)
    assert shown(sidebar, values)["preset"]["value"] == "Plain sampling" == sidebar.preset.value
    assert shown(sidebar, values | {"top_k": 49})["preset"]["value"] == OWN
    assert shown(sidebar, values | {"top_k": -1})["preset"]["value"] == OWN
    assert shown(sidebar, values | {"seed": 5})["preset"]["value"] == "Plain sampling"
    assert shown(sidebar, values | {"num_beams": 5})["preset"]["value"] == "Plain sampling"


def test_choosing_own_settings_sets_nothing(sidebar: Sidebar) -> None:
    values = list(started(sidebar).values())
    updates = sidebar.preset_updates(OWN, values)
    assert updates[0]["value"] == OWN
    assert all("value" not in update for update in updates[2:])
    assert updates[1]["value"] == call(Decoding())


# --- what has no effect --------------------------------------------------------------------------

DRAWN = {"temperature", "top_k", "top_p", "min_p", "typical_p", "seed"}


@pytest.mark.parametrize(
    ("changes", "dead"),
    [
        ({"strategy": "sample"}, {"num_beams"}),
        ({"strategy": "greedy"}, {*DRAWN, "num_beams", "num_return_sequences"}),
        ({"strategy": "beam"}, DRAWN),
        ({"max_length": 50}, {"num_beams", "max_new_tokens"}),
        ({"strategy": "beam", "max_length": 50}, {*DRAWN, "max_new_tokens"}),
    ],
    ids=lambda one: str(sorted(one) if isinstance(one, set) else one),
)
def test_what_has_no_effect_is_disabled(sidebar: Sidebar, changes: dict, dead: set) -> None:
    values = started(sidebar) | changes
    states = shown(sidebar, values)
    assert {name for name in sidebar.names if states[name].get("interactive") is False} == dead
    decoding = sidebar.decoding(list(values.values()))
    for name in dead:
        assert states[name]["info"].startswith("no effect")
        # It is true: no other value would be another call.
        for other in (3, 7):
            changed = sidebar.decoding(list((values | {name: other}).values()))
            assert call(changed) == call(decoding), name
    alive = set(sidebar.names) - dead - {"strategy", "stop"}
    helps = {control.label: control.info for control in sidebar.controls}
    fresh = helps | {"num_beams": "how many continuations are kept side by side"}
    assert {name: states[name]["info"] for name in alive} == {name: fresh[name] for name in alive}
    # Nothing derived touches a value.
    assert all("value" not in states[name] for name in sidebar.names)


def test_every_setting_that_is_enabled_can_change_the_call(sidebar: Sidebar) -> None:
    others = {
        "max_new_tokens": 7,
        "max_length": 9,
        "min_new_tokens": 1,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.5,
        "min_p": 0.5,
        "typical_p": 0.5,
        "seed": 1,
        "repetition_penalty": 1.5,
        "no_repeat_ngram_size": 2,
        "num_return_sequences": 2,
        "num_beams": 3,
        "stop": "x",
    }
    assert {"strategy", *others} == set(sidebar.names)
    for strategy in ("greedy", "sample", "beam"):
        values = started(sidebar) | {"strategy": strategy}
        states = shown(sidebar, values)
        for name, other in others.items():
            line = shown(sidebar, values | {name: other})["line"]["value"]
            enabled = states[name].get("interactive", True)
            assert (line != states["line"]["value"]) == enabled, (strategy, name)


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"strategy": "greedy"}, "temperature", "no effect under greedy: nothing is drawn"),
        ({"strategy": "beam"}, "seed", "no effect under beam: nothing is drawn"),
        ({"strategy": "sample"}, "num_beams", "no effect: only beam search uses it"),
        (
            {"strategy": "greedy"},
            "num_return_sequences",
            "no effect under greedy: there is one result only",
        ),
        (
            {"max_length": 50},
            "max_new_tokens",
            "no effect while max_length is set: that one counts",
        ),
    ],
)
def test_the_reason_is_said_in_words(
    sidebar: Sidebar, changes: dict, name: str, reason: str
) -> None:
    assert shown(sidebar, started(sidebar) | changes)[name]["info"] == reason


# --- the line ------------------------------------------------------------------------------------


def test_the_line_is_the_call_or_the_refusal(sidebar: Sidebar) -> None:
    values = started(sidebar)
    line = shown(sidebar, values | {"top_k": 5, "max_length": 50})["line"]
    assert line == {
        "value": "set_seed(42); model.generate(ids, do_sample=True, max_length=50, top_k=5)",
        "label": LINE,
    }
    assert sidebar.line.value == shown(sidebar, values)["line"]["value"] == call(Decoding())
    for wrong in ({"top_k": -3}, {"top_k": 2.5}, {"top_k": None}, {"strategy": "<b>"}):
        with pytest.raises(Refusal) as refusal:
            sidebar.decoding(list((values | wrong).values()))
        line = shown(sidebar, values | wrong)["line"]
        assert line == {"value": str(refusal.value), "label": REFUSED}


FORGED = ("<img src=x onerror=alert(1)>", ["greedy"], {"a": 1}, True)


@pytest.mark.parametrize("wrong", FORGED, ids=repr)
def test_a_forged_value_is_refused_as_text_and_is_no_help(sidebar: Sidebar, wrong: Any) -> None:
    """The events take values as they come, so they may be anything that JSON can say."""
    # A stop string may be any text, and under sampling the beams have no effect.
    for name in set(sidebar.names) - {"stop", "num_beams"}:
        states = shown(sidebar, started(sidebar) | {name: wrong})
        assert states["preset"]["value"] == OWN, name
        assert states["line"]["label"] == REFUSED
        assert states["line"]["value"].startswith(f"{name} is ")
        for one in sidebar.names:
            assert "img" not in states[one].get("info", "")
    updates = sidebar.preset_updates(wrong, list(started(sidebar).values()))
    assert all("value" not in update for update in updates[2:])
    assert updates[0]["value"] == OWN


def test_only_a_persons_doing_starts_an_event() -> None:
    """Anything else would run in circles, or ask the server once for each control of a preset."""
    with gr.Blocks() as page:
        sidebar = build_sidebar()
    follow, left, after_left, choose = page.fns.values()
    assert follow.targets == [(control._id, "input") for control in sidebar.controls]
    sliders = [one._id for one in sidebar.controls if isinstance(one, gr.Slider)]
    assert left.targets == [(block, "release") for block in sliders]
    assert left.js == "() => []"
    assert not left.outputs
    assert after_left.targets == [(None, "then")]
    assert after_left.trigger_after == left._id
    assert choose.targets == [(sidebar.preset._id, "input")]
    for event in (follow, after_left, choose):
        assert not event.queue
        assert not event.preprocess
        assert event.api_visibility == "private"
        assert event.trigger_mode == "always_last"
        assert event.outputs == sidebar.components
