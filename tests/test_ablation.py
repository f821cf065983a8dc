"""Parts switched off: equal to hooks on a copy of the model, on weights that nobody else misses."""

import copy
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from gpt2lab import work
from gpt2lab.ablation import (
    Part,
    ablated,
    blocks_one_by_one,
    checked_parts,
    every_part,
    one_by_one,
    without,
)
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.trace import trace_text

TEXT = "seven green horses walked. seven green"
LOGITS = 1e-4
PROBABILITIES = 1e-5
SETS = ["0.0", "2.3", "1.mlp", "0.1, 0.2, 2.0", "0.mlp 1.1 2.mlp 2.2", "0.0 0.1 0.2 0.3"]


def hooked(model: GPT2LMHeadModel, parts: tuple[Part, ...]) -> GPT2LMHeadModel:
    """A copy with weights of its own, in which hooks zero what goes into the projections."""
    model = copy.deepcopy(model)
    size = model.config.n_embd // model.config.n_head

    def zero(module, start, stop):
        def hook(module, inputs):
            changed = inputs[0].clone()
            changed[..., start:stop] = 0
            return (changed,)

        module.register_forward_pre_hook(hook)

    for layer, head in parts:
        block = model.transformer.h[layer]
        if head is None:
            zero(block.mlp.c_proj, 0, None)
        else:
            zero(block.attn.c_proj, head * size, (head + 1) * size)
    return model


@torch.no_grad()
def expected(plain: GPT2LMHeadModel, parts: tuple[Part, ...], ids: torch.Tensor) -> torch.Tensor:
    return hooked(plain, parts)(ids[None]).logits[0]


@pytest.mark.parametrize("heads", SETS)
def test_the_logits_are_those_of_a_hooked_copy(gpt2: Gpt2, plain, heads):
    parts = checked_parts(gpt2, heads)
    trace = trace_text(gpt2, TEXT)
    reference = expected(plain, parts, trace.ids)
    changed = ablated(trace, parts)
    for found in (changed.all_logits(), trace_text(without(gpt2, parts), TEXT).all_logits()):
        torch.testing.assert_close(found, reference, rtol=0, atol=LOGITS)
        torch.testing.assert_close(
            found.softmax(-1), reference.softmax(-1), rtol=0, atol=PROBABILITIES
        )
    assert float((changed.logits() - trace.logits()).abs().max()) > 1e-2


def test_the_bias_of_the_projection_stays(random_gpt2):
    every = every_part(random_gpt2)
    trace = trace_text(random_gpt2, TEXT)
    changed = ablated(trace, every)
    biases = sum(
        module.c_proj.bias
        for block in random_gpt2.model.transformer.h
        for module in (block.attn, block.mlp)
    )
    alone = random_gpt2.model.transformer.ln_f(trace.hidden[0] + biases)
    torch.testing.assert_close(changed.hidden[-1], alone, rtol=0, atol=1e-5)


def test_the_stream_before_the_first_change_is_kept(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    changed = ablated(trace, [Part(2, 1)])
    assert torch.equal(changed.hidden[:3], trace.hidden[:3])
    assert not torch.equal(changed.hidden[3], trace.hidden[3])
    assert ablated(trace, []) is trace


def test_nothing_is_copied_and_nobody_else_sees_it(gpt2):
    before = trace_text(gpt2, TEXT)
    parameters = {name: id(one) for name, one in gpt2.model.named_parameters()}
    modules = list(map(id, gpt2.model.modules()))
    hooks = [len(module._forward_hooks) for module in gpt2.model.modules()]
    other = without(gpt2, every_part(gpt2))
    trace_text(other, TEXT)
    assert {id(one) for one in other.model.parameters()} == set(parameters.values())
    assert {name: id(one) for name, one in gpt2.model.named_parameters()} == parameters
    assert list(map(id, gpt2.model.modules())) == modules
    assert [len(module._forward_hooks) for module in gpt2.model.modules()] == hooks
    assert torch.equal(trace_text(gpt2, TEXT).hidden, before.hidden)


def test_each_of_several_at_once_equals_itself_alone(random_gpt2, pocket):
    trace = trace_text(pocket, TEXT)
    sets = [checked_parts(pocket, heads) for heads in ("5.1", "0.mlp, 3.2", "", "1.0 1.1 1.2")]
    alone = [ablated(trace, parts).logits() for parts in sets]
    found: dict[int, list[torch.Tensor]] = {number: [] for number in range(len(sets))}
    start = threading.Barrier(len(sets))

    def work_at(number: int) -> None:
        start.wait()
        found[number] = [ablated(trace, sets[number]).logits() for _ in range(5)]

    threads = [threading.Thread(target=work_at, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, logits in found.items():
        assert len(logits) == 5
        for one in logits:
            torch.testing.assert_close(one, alone[number], rtol=0, atol=PROBABILITIES)
    for one, other in pairwise(alone):
        assert float((one - other).abs().max()) > 1e-2


def test_the_sweep_equals_switching_off_each_part_alone(gpt2):
    trace = trace_text(gpt2, TEXT)
    found = one_by_one(trace, 464).numpy()
    assert found.shape == (gpt2.n_layer, gpt2.n_head + 1)
    parts = every_part(gpt2)
    singles = [
        float(ablated(trace, [part]).logits().double().log_softmax(-1)[464]) for part in parts
    ]
    np.testing.assert_allclose(found.ravel(), singles, rtol=0, atol=LOGITS)
    assert np.ptp(found) > 0.1


def test_the_sweep_of_a_long_text_works_in_batches(random_gpt2, monkeypatch):
    trace = trace_text(random_gpt2, TEXT)
    at_once = one_by_one(trace, 464)
    monkeypatch.setattr("gpt2lab.ablation.TOKENS_AT_ONCE", 2 * len(trace))
    torch.testing.assert_close(one_by_one(trace, 464), at_once, rtol=0, atol=1e-5)


def test_parts_are_read_from_text_and_from_pairs(random_gpt2):
    wanted = (Part(0, 1), Part(1, None), Part(2, 3))
    for heads in (
        "0.1, 1.mlp, 2.3",
        " 2.3 1.MLP,0.1,0.1 ",
        [[2, 3], [0, 1], [1, "mlp"]],
        ((0, 1), (2, 3.0), (1, "mlp"), (1, "mlp")),
    ):
        assert checked_parts(random_gpt2, heads) == wanted
    assert [part.name for part in wanted] == ["0.1", "1.mlp", "2.3"]
    for nothing in ("", " , ", [], ()):
        assert checked_parts(random_gpt2, nothing) == ()


@pytest.mark.parametrize(
    "heads",
    ["3.0", "0.4", "0", "0.1.2", "0.1;1.1", "-1.0", "a.b", "0.mlps", "٠.١", "²", "1" * 9999, None,
     1, 0.1, True, [1], [[0]], [[0, 1, 2]], [[0, 4]], [[True, 0]], [[0, None]], [[0.5, 1]], {0: 1},
     ["0.1"], [["²", 0]], [[float("nan"), 0]], [[10**400, 0]], [["0", 1]], [[0, [1]]]],
    ids=lambda value: ascii(value)[:12] if not isinstance(value, list) else None,
)  # fmt: skip
def test_what_names_no_part_is_refused(random_gpt2, heads):
    with pytest.raises(Refusal, match=r"^heads is .* but must be names such as 0\.1"):
        checked_parts(random_gpt2, heads)


def test_the_work_of_a_sweep_is_told_in_advance(random_gpt2, monkeypatch):
    passes = 0
    block = type(random_gpt2.model.transformer.h[0])
    forward = block.forward

    def counting(self, hidden_states, *args, **kwargs):
        nonlocal passes
        passes += len(hidden_states)
        return forward(self, hidden_states, *args, **kwargs)

    trace = trace_text(random_gpt2, TEXT)
    monkeypatch.setattr(block, "forward", counting)
    one_by_one(trace, 0)
    assert passes == blocks_one_by_one(random_gpt2) == 5 * (3 + 2 + 1)
    once = work.block_work(random_gpt2, 10)
    assert once > 10 * 2 * 12 * 32**2
    assert work.most_tokens(random_gpt2, 7, 7 * once) == 10
    assert work.most_tokens(random_gpt2, 7, 7 * once - 1) == 9
    assert work.most_tokens(random_gpt2, 1, 1) == 0
    assert work.most_tokens(random_gpt2, 1, 1e30) == random_gpt2.n_positions
    assert work.largest(random_gpt2) > work.unasked(random_gpt2)
