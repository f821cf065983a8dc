"""Everything derived from the residual stream equals what transformers' own passes return."""

import hashlib

import pytest
import torch
from prompts import PROMPTS
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode, prompt_ids
from gpt2lab.trace import Trace, trace_ids, trace_text

ATTENTION = 1e-5
"""Weights between 0 and 1, absolute."""
STATES = 1e-5
"""Hidden states, keys and values: relative, and absolute in units of their largest value."""
LOGITS = 1e-4
"""Absolute, in float32."""
BFLOAT16 = 0.03
"""Attention weights in bfloat16, whose numbers have 8 bits."""

LONG = "It was the best of times, it was the worst of times, and nobody knew which. "


@torch.no_grad()
def forward(model: GPT2LMHeadModel, ids: list[int], **options):
    return model(torch.tensor([ids]), **options)


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    absolute = STATES * float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=STATES, atol=absolute)


def checksum(model: GPT2LMHeadModel) -> str:
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def hooks(model: GPT2LMHeadModel) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


@pytest.fixture(params=[*PROMPTS, "long"])
def ids(request, gpt2) -> list[int]:
    if request.param == "long":
        return encode(gpt2, LONG * 100)[: gpt2.n_positions]
    return prompt_ids(gpt2, PROMPTS[request.param])


# --- against the reference -----------------------------------------------------------------------


def test_states_logits_and_attentions_are_those_of_a_full_pass(gpt2, plain, ids):
    trace = trace_ids(gpt2, ids)
    assert trace.ids.tolist() == ids

    expected = forward(plain, ids, output_hidden_states=True)
    assert trace.hidden.shape == (gpt2.n_layer + 1, len(ids), gpt2.n_embd)
    for layer, states in enumerate(expected.hidden_states):
        assert_close(trace.hidden[layer], states[0])
    for position in {0, len(ids) // 2, len(ids) - 1}:
        torch.testing.assert_close(
            trace.logits(position), expected.logits[0, position], rtol=0, atol=LOGITS
        )

    attentions = forward(plain, ids, output_attentions=True).attentions
    assert len(attentions) == gpt2.n_layer
    for layer, weights in enumerate(attentions):
        derived = trace.attention(layer)
        assert derived.shape == (gpt2.n_head, len(ids), len(ids))
        torch.testing.assert_close(derived, weights[0], rtol=0, atol=ATTENTION)
        torch.testing.assert_close(
            derived.sum(-1), torch.ones(gpt2.n_head, len(ids)), rtol=0, atol=ATTENTION
        )
        assert not derived.triu(1).any()


def test_the_lens_is_the_last_norm_and_the_head_on_an_inner_state(gpt2, plain):
    ids = encode(gpt2, PROMPTS["ordinary"])
    trace = trace_ids(gpt2, ids)
    states = forward(plain, ids, output_hidden_states=True).hidden_states
    norm, head = plain.transformer.ln_f, plain.lm_head
    for position in range(len(ids)):
        for layer in range(gpt2.n_layer):
            with torch.no_grad():
                expected = head(norm(states[layer][0, position]))
            torch.testing.assert_close(trace.lens(layer, position), expected, rtol=0, atol=LOGITS)
        assert torch.equal(trace.lens(gpt2.n_layer, position), trace.logits(position))


def test_keys_and_values_are_those_that_generation_caches(gpt2, plain, ids):
    cache = trace_ids(gpt2, ids).key_values()
    expected = forward(plain, ids, use_cache=True).past_key_values
    assert cache.get_seq_length() == len(ids)
    for layer, reference in zip(cache.layers, expected.layers, strict=True):
        assert_close(layer.keys, reference.keys)
        assert_close(layer.values, reference.values)


def test_a_prefix_is_the_trace_of_the_shorter_text(gpt2):
    ids = encode(gpt2, PROMPTS["code"])
    whole = trace_ids(gpt2, ids)
    for length in range(1, len(ids) + 1):
        shorter = trace_ids(gpt2, ids[:length])
        prefix = whole.prefix(length)
        assert prefix.ids.tolist() == ids[:length]
        assert_close(prefix.hidden, shorter.hidden)
        torch.testing.assert_close(prefix.logits(), shorter.logits(), rtol=0, atol=LOGITS)
    assert whole.prefix(3).hidden.data_ptr() == whole.hidden.data_ptr()


@pytest.mark.parametrize("cut", [1, 4, -1])
def test_an_extended_trace_is_that_of_the_whole_text(gpt2, ids, cut):
    ids = ids if len(ids) > 5 else ids * 6
    extended = trace_ids(gpt2, ids[:cut]).extended(ids[cut:])
    whole = trace_ids(gpt2, ids)
    assert extended.ids.tolist() == ids
    assert_close(extended.hidden, whole.hidden)
    torch.testing.assert_close(extended.logits(), whole.logits(), rtol=0, atol=LOGITS)


def test_extending_leaves_the_trace_as_it_was(gpt2):
    trace = trace_text(gpt2, "Today we")
    before = trace.hidden.clone()
    longer = trace.extended([460, 467])
    assert trace.ids.tolist() == [8888, 356]
    assert torch.equal(trace.hidden, before)
    assert len(longer) == 4
    assert trace.extended([]) is trace


def test_a_trace_does_not_need_gradients_and_knows_its_size(gpt2):
    trace = trace_text(gpt2, "Today we")
    assert torch.is_grad_enabled()
    for tensor in (trace.hidden, trace.logits(), trace.attention(0), trace.lens(0)):
        assert not tensor.requires_grad
    assert trace.bytes == (gpt2.n_layer + 1) * 2 * gpt2.n_embd * 4


def test_looking_changes_no_weight_and_leaves_no_hook(gpt2):
    trace_text(gpt2, "warm")
    before, hooked = checksum(gpt2.model), hooks(gpt2.model)
    trace = trace_text(gpt2, LONG).extended([1, 2, 3])
    trace.attention(0)
    trace.lens(1)
    trace.key_values()
    assert checksum(gpt2.model) == before
    assert hooks(gpt2.model) == hooked


# --- other configurations ------------------------------------------------------------------------


def variant(gpt2: Gpt2, dtype: torch.dtype, **settings) -> tuple[Gpt2, GPT2LMHeadModel]:
    """A random model with other settings, and the same weights under eager attention."""
    torch.manual_seed(3)
    shape = {"n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 64}
    model = GPT2LMHeadModel(GPT2Config(**shape, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn_like(parameter)
    reference = GPT2LMHeadModel(GPT2Config(**shape, **settings, attn_implementation="eager")).eval()
    reference.load_state_dict(model.state_dict())
    own = Gpt2(model.to(dtype), gpt2.tokenizer, "variant", "local", "", "")
    return own, reference.to(dtype)


CONFIGURATIONS = [
    {"scale_attn_by_inverse_layer_idx": True},
    {"reorder_and_upcast_attn": True},
    {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    {"scale_attn_weights": False},
    {"n_inner": 48, "activation_function": "relu"},
    {"tie_word_embeddings": False},
]


@pytest.mark.parametrize("settings", CONFIGURATIONS, ids=str)
def test_unusual_configurations(random_gpt2, settings):
    gpt2, reference = variant(random_gpt2, torch.float32, **settings)
    ids = encode(gpt2, LONG)
    trace = trace_ids(gpt2, ids)
    expected = forward(reference, ids, output_attentions=True, output_hidden_states=True)
    for layer, weights in enumerate(expected.attentions):
        torch.testing.assert_close(trace.attention(layer), weights[0], rtol=0, atol=ATTENTION)
    assert_close(trace.hidden, torch.cat(expected.hidden_states))
    torch.testing.assert_close(trace.logits(), expected.logits[0, -1], rtol=0, atol=LOGITS)
    extended = trace_ids(gpt2, ids[:5]).extended(ids[5:])
    assert_close(extended.hidden, trace.hidden)


@pytest.mark.parametrize("settings", [{}, {"reorder_and_upcast_attn": True}], ids=str)
def test_half_precision(random_gpt2, settings):
    gpt2, reference = variant(random_gpt2, torch.bfloat16, **settings)
    ids = encode(gpt2, LONG)
    trace = trace_ids(gpt2, ids)
    assert trace.hidden.dtype == torch.bfloat16
    assert trace.logits().dtype == torch.float32
    with torch.no_grad():
        exact = gpt2.model(torch.tensor([ids])).logits[0, -1].float()
    assert torch.equal(trace.logits(), exact)
    attentions = forward(reference, ids, output_attentions=True).attentions
    for layer, weights in enumerate(attentions):
        torch.testing.assert_close(
            trace.attention(layer).float(), weights[0].float(), rtol=0, atol=BFLOAT16
        )
    torch.testing.assert_close(trace.lens(gpt2.n_layer), trace.logits(), rtol=0, atol=0)


# --- refusals ------------------------------------------------------------------------------------


def test_an_empty_text_is_traced_from_the_beginning_of_text(gpt2):
    assert trace_text(gpt2, "").ids.tolist() == [gpt2.tokenizer.bos_token_id]
    with pytest.raises(Refusal, match="no token ids"):
        trace_ids(gpt2, [])


@pytest.fixture(scope="module")
def trace(random_gpt2) -> Trace:
    return trace_text(random_gpt2, "Today we can go to")


@pytest.mark.parametrize("index", [3, -1, 1.5, float("nan"), float("inf"), True, "0", None, [0]])
def test_a_layer_that_is_not_there(trace, index):
    with pytest.raises(Refusal) as caught:
        trace.attention(index)
    assert str(caught.value) == f"layer is {index!r}, but must be a whole number from 0 to 2."


@pytest.mark.parametrize("index", [5, -6, 0.5, float("nan"), False, "1", None])
def test_a_position_that_is_not_there(trace, index):
    message = f"position is {index!r}, but must be a whole number from -5 to 4."
    for look in (trace.logits, trace.position, lambda position: trace.lens(0, position)):
        with pytest.raises(Refusal) as caught:
            look(index)
        assert str(caught.value) == message


def test_positions_count_from_either_end(trace):
    for position in range(5):
        assert trace.position(position) == trace.position(position - 5) == position
        assert torch.equal(trace.logits(position), trace.logits(position - 5))
    assert trace.position(2.0) == 2


def test_the_lens_counts_one_more_layer_than_attention(trace):
    trace.lens(3)
    with pytest.raises(Refusal, match="layer is 4, but must be a whole number from 0 to 3"):
        trace.lens(4)


def test_a_text_cannot_be_extended_beyond_the_context(random_gpt2):
    trace = trace_ids(random_gpt2, [464] * 127)
    assert len(trace.extended([464])) == 128
    with pytest.raises(Refusal, match="129 tokens, but random reads at most 128"):
        trace.extended([464, 464])


# --- logits of many positions --------------------------------------------------------------------


def test_logits_of_many_positions_are_those_of_each(gpt2, plain):
    ids = encode(gpt2, PROMPTS["code"])
    trace = trace_ids(gpt2, ids)
    expected = forward(plain, ids).logits[0]
    for start, stop in [(0, None), (0, 1), (2, 5), (len(ids) - 1, len(ids)), (3, None)]:
        found = trace.all_logits(start, stop)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        torch.testing.assert_close(found, expected[start:stop], rtol=0, atol=LOGITS)
    torch.testing.assert_close(trace.all_logits()[4], trace.logits(4), rtol=0, atol=LOGITS)
