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
from gpt2lab.ui.header import _who
from gpt2lab.ui.limits import MAX_AT_ONCE, MAX_QUEUED
from gpt2lab.ui.page import build_page
from gpt2lab.ui.session import ANSWER, PROMPT, Run, subject
from gpt2lab.ui.sidebar import build_sidebar


@pytest.fixture(scope="module")
def page(random_gpt2: Gpt2) -> gr.Blocks:
    return build_page(random_gpt2)


def test_only_the_endpoints_are_public(page: gr.Blocks) -> None:
    public = {str(one.api_name) for one in page.fns.values() if one.api_visibility == "public"}
    assert public == {"models", "generate", *(one.name for one in INSPECTIONS)}


def test_everything_that_computes_shares_one_bounded_queue(page: gr.Blocks) -> None:
    names = {"write", "draw", "answer", "stream", *(one.name for one in INSPECTIONS), "generate"}
    computing = [one for one in page.fns.values() if one.fn and one.fn.__name__ in names]
    assert len(computing) >= 1 + 2 * len(INSPECTIONS)
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


def test_the_subject_is_the_prompt_or_the_ids_of_the_answer(random_gpt2: Gpt2) -> None:
    run = Run(random_gpt2.name, Decoding(), (1, 2), (3,), finished=True)
    assert subject(random_gpt2, "!", PROMPT, run).ids == (0,)
    with_answer = subject(random_gpt2, "!", ANSWER, run)
    assert (with_answer.ids, with_answer.prompt_length) == ((1, 2, 3), 2)
    begun = Run(random_gpt2.name, Decoding(), (1, 2), (), finished=False)
    for without in (None, begun):
        with pytest.raises(Refusal, match="no answer yet"):
            subject(random_gpt2, "!", ANSWER, without)
    with pytest.raises(Refusal, match="written by pocket"):
        subject(random_gpt2, "!", ANSWER, Run("pocket", Decoding(), (1,), (2,), finished=True))
