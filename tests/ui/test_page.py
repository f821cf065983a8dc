"""The page's wiring: what is public, what shares the queue, what an untouched control means."""

import re
from dataclasses import replace

import gradio as gr
import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2lab.decoding import Decoding
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.transcript import Passage, Transcript, Writing
from gpt2lab.ui.header import _who
from gpt2lab.ui.limits import MAX_AT_ONCE, MAX_QUEUED
from gpt2lab.ui.page import build_page
from gpt2lab.ui.session import Focus, Session, Writer, subject
from gpt2lab.ui.sidebar import build_sidebar
from gpt2lab.ui.traces import Traces


@pytest.fixture(scope="module")
def page(random_gpt2: Gpt2) -> gr.Blocks:
    return build_page(random_gpt2)


def test_only_the_endpoints_are_public(page: gr.Blocks) -> None:
    public = {str(one.api_name) for one in page.fns.values() if one.api_visibility == "public"}
    assert public == {"models", "generate", *(one.name for one in INSPECTIONS)}


def test_everything_that_computes_shares_one_bounded_queue(page: gr.Blocks) -> None:
    writing = {"writing", "undoing", "write_on"}
    reading = {"draw", "look", "on_load", "on_file", "pack", "switch"}
    names = writing | reading | {one.name for one in INSPECTIONS} | {"generate"}
    computing = [one for one in page.fns.values() if one.fn and one.fn.__name__ in names]
    assert {one.fn.__name__ for one in computing} == names
    assert len(computing) >= len(writing) + len(reading) + 1 + 2 * len(INSPECTIONS)
    assert {one.concurrency_id for one in computing} == {"model"}
    assert {one.concurrency_limit for one in computing} == {MAX_AT_ONCE}
    assert page._queue.max_size == MAX_QUEUED
    assert not page.api_open


def test_untouched_controls_mean_the_default_decoding() -> None:
    with gr.Blocks():
        sidebar = build_sidebar()
    values = [control.value for control in sidebar.controls]
    assert sidebar.decoding(values) == Decoding()


def test_controls_reach_the_decoding_under_their_names() -> None:
    with gr.Blocks():
        sidebar = build_sidebar()
    values = dict(zip(sidebar.names, (one.value for one in sidebar.controls), strict=True))
    given = values | {"temperature": 0.5, "min_p": 0.1, "max_length": 50, "stop": "User:\n\\n\n"}
    assert sidebar.decoding(list(given.values())) == Decoding(
        temperature=0.5, min_p=0.1, max_length=50, stop=("User:", "\n")
    )


def test_what_a_strategy_does_not_use_is_left_out() -> None:
    with gr.Blocks():
        sidebar = build_sidebar()
    values = dict(zip(sidebar.names, (one.value for one in sidebar.controls), strict=True))
    greedy = values | {"strategy": "greedy", "num_return_sequences": 3, "temperature": 0.2}
    assert sidebar.decoding(list(greedy.values())) == Decoding(strategy="greedy")
    sample = values | {"num_beams": 4}
    assert sidebar.decoding(list(sample.values())) == Decoding()


@pytest.mark.parametrize("n_layer", [1, 2])
def test_the_smallest_models_have_a_page_too(n_layer: int, random_gpt2: Gpt2) -> None:
    config = GPT2Config(n_layer=n_layer, n_head=1, n_embd=8, n_positions=16)
    model = GPT2LMHeadModel(config).eval()
    small = replace(random_gpt2, model=model, name="small")
    sliders = [one for one in build_page(small).blocks.values() if isinstance(one, gr.Slider)]
    layers = [one for one in sliders if one.label == "layer"]
    assert [one.interactive for one in layers] == [n_layer > 1] * len(layers)


@pytest.mark.parametrize("name", ["a_b*c*", "<b>x</b>", "[a](b)", "$x$"])
def test_a_models_name_is_text_in_the_header(name: str, random_gpt2: Gpt2) -> None:
    header = _who(replace(random_gpt2, name=name))
    assert re.sub(r"\\(.)", r"\1", header) == f"**gpt2lab** — {name} · 2 M parameters · " + (
        "local folder · float32 · cpu"
    )
    assert not re.search(r"(?<!\\)[*_<>\[\]$]", header.removeprefix("**gpt2lab**"))


def test_a_number_out_of_bounds_is_refused_by_name() -> None:
    with gr.Blocks():
        sidebar = build_sidebar()
    values = dict(zip(sidebar.names, (one.value for one in sidebar.controls), strict=True))
    with pytest.raises(Refusal, match="top_k is -3"):
        sidebar.decoding(list((values | {"top_k": -3}).values()))


def test_tabs_show_what_is_typed_behind_the_transcript_or_around_the_picked_token(
    random_gpt2: Gpt2,
) -> None:
    writing = Writing("pocket", Decoding(), finish_reason="length")
    transcript = Transcript().continued(Passage("you", (1, 2), '"#'))
    transcript = transcript.continued(Passage("model", (3, 4), "$%", writing=writing))
    typed = Writer("!")
    # What is typed is looked into before anything is written, and behind what is written.
    assert subject(random_gpt2, Session(), typed).ids == (0,)
    assert subject(random_gpt2, Session(transcript.at(0)), typed).ids == (1, 2, 0)
    whole = subject(random_gpt2, Session(transcript), typed)
    assert (whole.ids, whole.prompt_length, whole.position) == ((1, 2, 3, 4, 0), 5, -1)
    # A picked token is shown by its ids, with what was the prompt; whoever wrote it.
    picked = subject(random_gpt2, Session(transcript, Focus(1, 1)), typed)
    assert (picked.ids, picked.prompt_length, picked.position) == ((1, 2, 3, 4), 2, 2)
    of_prompt = subject(random_gpt2, Session(transcript, Focus(0, 1)), typed)
    assert (of_prompt.ids, of_prompt.position) == ((1, 2), 0)
    # A branch is looked into without what it left.
    branch = transcript.added(Passage("model", (5,), "&", parent=1, at=1, writing=writing))
    assert subject(random_gpt2, Session(branch), typed).ids == (1, 2, 3, 5, 0)
    with pytest.raises(Refusal, match="null character"):
        subject(random_gpt2, Session(), Writer("\0"))


def test_ids_that_another_model_has_and_this_one_does_not_are_refused(random_gpt2: Gpt2) -> None:
    """The transcript of a model with a larger vocabulary, looked into with a smaller one."""
    transcript = Transcript().continued(Passage("you", (1, 60_000), "?"))
    looked_at = subject(random_gpt2, Session(transcript), Writer(""))
    with pytest.raises(Refusal, match="A token id is 60000, but must be"):
        Traces().trace(random_gpt2, looked_at.ids)


def test_every_tab_is_told_of_the_picked_token(page: gr.Blocks) -> None:
    """One event for whatever changes transcript or focus fills every position control.

    And one more: the position that all tabs share, which is not visible.
    """
    positions = {
        one._id
        for one in page.blocks.values()
        if isinstance(one, gr.Number) and one.label == "position"
    }
    aiming = [one for one in page.fns.values() if one.fn and one.fn.__name__ == "aim"]
    assert len(positions) == sum(
        control.kind == "position" for one in INSPECTIONS for control in one.controls
    )
    assert len(aiming) >= 8
    for one in aiming:
        filled = {component._id: component for component in one.outputs}
        (shared,) = (filled[id] for id in filled.keys() - positions)
        assert filled.keys() >= positions
        assert isinstance(shared, gr.Number)
        assert shared.visible == "hidden"
