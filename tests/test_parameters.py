"""The Parameters tab: every tensor, sums that hold, and what is shared told but not counted."""

import shutil

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from prompts import PROMPTS
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2lab.architectures import ARCHITECTURES, count_parameters
from gpt2lab.inspections import parameters
from gpt2lab.models import Gpt2, load_model
from gpt2lab.trace import trace_text


@pytest.fixture(scope="module")
def untied(random_folder, tmp_path_factory) -> Gpt2:
    """The random model with a head of its own."""
    folder = tmp_path_factory.mktemp("models") / "untied"
    shutil.copytree(random_folder, folder)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    model.config.tie_word_embeddings = False
    head = model.transformer.wte.weight.detach().clone()
    model.lm_head.weight = torch.nn.Parameter(head + 1)
    model.save_pretrained(folder)
    return load_model(str(folder), device="cpu")


def test_every_tensor_is_listed_under_every_name(gpt2, plain):
    result = parameters.parameters(gpt2)
    expected = dict(plain.named_parameters(remove_duplicate=False))
    assert [one.name for one in result.tensors] == list(expected)
    for one in result.tensors:
        assert one.shape == tuple(expected[one.name].shape)
        assert one.numel == expected[one.name].numel() == np.prod(one.shape)
        assert one.dtype == "float32"
    assert set(plain.state_dict()) == set(expected)


def test_the_head_is_the_embedding_and_counted_once(gpt2, plain):
    result = parameters.parameters(gpt2)
    shared = {one.name: one.shares_storage_with for one in result.tensors}
    assert shared.pop("lm_head.weight") == "transformer.wte.weight"
    assert set(shared.values()) == {None}
    assert result.total == gpt2.parameters == plain.num_parameters()
    assert sum(one.numel for one in result.owners) == result.total
    assert result.total == count_parameters(gpt2.model.config.to_dict())


def test_a_head_of_its_own_is_counted_and_named(untied):
    result = parameters.parameters(untied)
    assert all(one.shares_storage_with is None for one in result.tensors)
    assert result.total == untied.parameters
    assert result.parts["head (not tied)"] == result.parts["token embedding"] == 50257 * 32
    drawing = parameters.figure(result)
    labels = [tick.get_text() for tick in drawing.axes[1].get_yticklabels()]
    assert labels[-1] == "head (not tied)"


def test_the_parts_are_those_of_the_formula(gpt2):
    config = gpt2.model.config
    d, layers = config.n_embd, config.n_layer
    result = parameters.parameters(gpt2)
    assert result.parts == {
        "token embedding": config.vocab_size * d,
        "position embedding": config.n_positions * d,
        "attention": layers * (4 * d * d + 4 * d),
        "MLP": layers * (8 * d * d + 5 * d),
        "layer norms": layers * 4 * d + 2 * d,
    }
    total = (config.vocab_size + config.n_positions) * d + layers * (12 * d * d + 13 * d) + 2 * d
    assert result.total == total == sum(result.parts.values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_idea_formula_holds_for_the_family(name):
    """On the meta device, where a model of 6 GB takes no memory."""
    layers, heads, d = ARCHITECTURES[name]
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=heads, n_embd=d))
    total = (50257 + 1024) * d + layers * (12 * d * d + 13 * d) + 2 * d
    assert sum(one.numel() for one in model.parameters()) == total
    if name == "gpt2":
        assert f"{total:,}" in parameters.INSPECTION.idea


def test_the_picture_is_to_scale_and_says_the_numbers(gpt2):
    result = parameters.parameters(gpt2)
    strip, chart = parameters.figure(result).axes
    assert strip.get_title() == f"{result.total:,} parameters, to scale"
    tensors = [patch for patch in strip.patches if isinstance(patch, Rectangle)]
    assert [patch.get_width() for patch in tensors] == [one.numel for one in result.owners]
    assert [patch.get_x() for patch in tensors] == [
        0, *np.cumsum([one.numel for one in result.owners])[:-1]
    ]  # fmt: skip
    assert [patch.get_width() for patch in chart.patches] == list(result.parts.values())
    assert strip.get_xlim() == chart.get_xlim()
    for text, (_, count) in zip(chart.texts, result.parts.items(), strict=True):
        number, share = text.get_text().split(" · ")
        assert number == f"{count:,}"
        assert float(share.rstrip("%")) == pytest.approx(100 * count / result.total, abs=0.05)


def test_the_blocks_are_named_with_their_size(pocket):
    strip = parameters.figure(parameters.parameters(pocket), dark=True).axes[0]
    labels = [tick.get_text() for tick in strip.get_xticklabels()]
    assert labels == ["wte", f"6 blocks of {12 * 256**2 + 13 * 256:,}"]


def test_the_answer_is_that_of_the_design(random_gpt2):
    answer = parameters.answer(parameters.parameters(random_gpt2))
    assert set(answer) == {"total", "tensors"}
    assert answer["tensors"][0] == {
        "name": "transformer.wte.weight",
        "shape": [50257, 32],
        "count": 50257 * 32,
        "dtype": "float32",
        "shares_storage_with": None,
    }


def test_half_precision_says_so(random_folder):
    result = parameters.parameters(load_model(str(random_folder), device="cpu", dtype="float16"))
    assert {one.dtype for one in result.tensors} == {"float16"}
    assert result.tensors[-1].shares_storage_with == "transformer.wte.weight"


def test_the_text_changes_nothing(random_gpt2):
    results = [
        parameters.INSPECTION.compute(trace_text(random_gpt2, text)) for text in PROMPTS.values()
    ]
    assert all(one.tensors == results[0].tensors for one in results)
    assert parameters.parameters(random_gpt2).total == results[0].total
