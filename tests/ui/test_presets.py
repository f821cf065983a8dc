"""A preset is the settings its name promises, and a reader's settings are named after it."""

from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, pipeline, set_seed

from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text
from gpt2lab.models import Gpt2
from gpt2lab.ui.limits import allowed
from gpt2lab.ui.presets import OWN, PRESETS, name_of, preset_named

TEXT = "Today we can go to"


def test_the_presets_are_what_their_names_say() -> None:
    assert {name: preset.decoding for name, preset in PRESETS.items()} == {
        "Plain sampling": Decoding(),
        "Greedy": Decoding(strategy="greedy"),
        "The notebook's sampling": Decoding(top_k=5, max_length=50),
        "The notebook's pipeline": Decoding(temperature=0.1, max_new_tokens=256),
        "Balanced": Decoding(temperature=0.8, top_k=0, top_p=0.95),
        "Wild": Decoding(temperature=1.4, top_k=0),
        "Beam 4": Decoding(strategy="beam", num_beams=4),
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_found_by_its_settings_whatever_the_seed(name: str) -> None:
    preset = preset_named(name)
    assert preset is not None
    assert allowed(preset.decoding) == preset.decoding
    assert preset.help
    assert name_of(preset.decoding) == name
    assert name_of(replace(preset.decoding, seed=7)) == name
    assert name_of(replace(preset.decoding, repetition_penalty=1.3)) == OWN
    assert name_of(replace(preset.decoding, stop=("User:",))) == OWN


def test_what_has_no_preset() -> None:
    assert preset_named(OWN) is None
    assert preset_named("<b>") is None
    assert preset_named(["Greedy"]) is None
    assert name_of(Decoding(top_k=5)) == OWN


def test_the_pipelines_preset_writes_what_the_pipeline_writes(random_gpt2: Gpt2) -> None:
    """All 256 tokens of it: the length and what else the pipeline adds by itself are its own.

    A new model's logits differ by about 0.1, so that at this temperature many tokens are drawn.
    """
    torch.manual_seed(5)
    roomy = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=300)).eval()
    gpt2 = replace(random_gpt2, model=roomy)
    writer = pipeline("text-generation", model=roomy, tokenizer=gpt2.tokenizer)
    set_seed(42)
    (expected,) = writer(TEXT, temperature=0.1, return_full_text=False)
    (ours,) = continue_text(gpt2, TEXT, PRESETS["The notebook's pipeline"].decoding)
    assert len(ours.ids) == 256
    assert ours.text == expected["generated_text"]
