"""Switching heads off: probabilities, divergence and continuation are those of a hooked copy."""

import re
import threading

import numpy as np
import pytest
import torch
from test_ablation import hooked
from transformers import set_seed

import gpt2lab
from gpt2lab.ablation import blocks_one_by_one, checked_parts, every_part
from gpt2lab.decoding import Decoding
from gpt2lab.inspections import ablate
from gpt2lab.inspections.ablate import IF_QUICK, OFF, ON
from gpt2lab.refusal import Refusal
from gpt2lab.trace import trace_text
from gpt2lab.work import block_work

TEXT = "seven green horses walked. seven green"
LOGITS = 1e-4
VALUES = 1e-5


@torch.no_grad()
def logits_of(model, ids: torch.Tensor) -> torch.Tensor:
    return model(ids[None]).logits[0, -1]


@pytest.mark.parametrize("position", [2, -1])
@pytest.mark.parametrize("heads", ["0.0", "2.mlp", "1.0, 1.3, 2.2, 0.mlp"])
def test_the_distributions_are_those_of_the_plain_model_and_of_a_hooked_copy(
    gpt2, plain, heads, position
):
    trace = trace_text(gpt2, TEXT)
    result = gpt2lab.ablate(trace, heads, position, steps=0, sweep=OFF)
    ids = trace.ids[: position + 1 or None]
    parts = checked_parts(gpt2, heads)
    before, after = (logits_of(model, ids) for model in (plain, hooked(plain, parts)))
    np.testing.assert_allclose(result.logits_before, before.numpy(), rtol=0, atol=LOGITS)
    np.testing.assert_allclose(result.logits, after.numpy(), rtol=0, atol=LOGITS)
    p, q = before.double().softmax(-1).numpy(), after.double().softmax(-1).numpy()
    np.testing.assert_allclose(np.exp(result.logprobs_before), p, rtol=0, atol=VALUES)
    np.testing.assert_allclose(np.exp(result.logprobs), q, rtol=0, atol=VALUES)
    assert result.kl_bits == pytest.approx(float((p * np.log2(p / q)).sum()), abs=LOGITS)
    assert result.kl_bits > 1e-3
    assert result.off == tuple(part.name for part in parts)
    told = ablate.answer(result)
    assert [one["id"] for one in told["before"]] == before.argsort(descending=True)[:10].tolist()
    assert [one["id"] for one in told["after"]] == after.argsort(descending=True)[:10].tolist()
    for one in told["after"]:
        assert one["probability"] == pytest.approx(q[one["id"]], abs=VALUES)
        assert one["token"] == gpt2.tokenizer.convert_ids_to_tokens(one["id"])
    assert told["kl_bits"] == result.kl_bits


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(strategy="greedy"),
        Decoding(seed=5),
        Decoding(seed=6, temperature=0.8, top_p=0.9, repetition_penalty=1.2, min_new_tokens=30),
        Decoding(strategy="beam", num_beams=3, num_return_sequences=2),
    ],
    ids=["greedy", "sample", "stages", "beam"],
)
def test_the_continuations_are_those_that_generate_writes(gpt2, plain, decoding):
    trace = trace_text(gpt2, TEXT)
    heads, steps = "0.1, 0.mlp, 2.3", 8
    result = gpt2lab.ablate(trace, heads, steps=steps, sweep=OFF, decoding=decoding)
    written = []
    for model in (plain, hooked(plain, checked_parts(gpt2, heads))):
        set_seed(decoding.seed)
        arguments = {**decoding.generate_arguments(), "max_new_tokens": steps}
        if "min_new_tokens" in arguments:
            arguments["min_new_tokens"] = steps
        prompt = trace.ids[None]
        sequence = model.generate(prompt, attention_mask=torch.ones_like(prompt), **arguments)[0]
        written.append(sequence[len(trace) :].tolist())
        with torch.no_grad():
            log_p = model(sequence[None]).logits[0].softmax(-1)
        tokens = result.written if len(written) == 2 else result.written_before
        for place, token in enumerate(tokens, start=len(trace)):
            assert token.probability == pytest.approx(float(log_p[place - 1, token.id]), abs=VALUES)
    assert [one.id for one in result.written_before] == written[0]
    assert [one.id for one in result.written] == written[1]
    differs = [place for place, pair in enumerate(zip(*written, strict=True)) if len({*pair}) > 1]
    assert result.first_difference == min(differs)


def test_two_people_with_different_heads_get_what_each_gets_alone(pocket):
    trace = trace_text(pocket, TEXT)
    controls = [{"heads": "5.1, 4.5"}, {"heads": [[0, 0], [3, "mlp"]]}, {"heads": ""}]
    decoding = Decoding(seed=3)

    def told(number: int) -> dict:
        one = gpt2lab.ablate(trace, steps=4, sweep=OFF, decoding=decoding, **controls[number])
        return ablate.answer(one)

    alone = [told(number) for number in range(3)]
    together: dict[int, dict] = {}
    threads = [
        threading.Thread(target=lambda number=number: together.update({number: told(number)}))
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        assert together[number]["kl_bits"] == pytest.approx(alone[number]["kl_bits"], abs=VALUES)
        for side in ("continuation_before", "continuation_after"):
            ids = [[one["id"] for one in each[number][side]] for each in (alone, together)]
            assert ids[0] == ids[1]
    assert alone[0]["kl_bits"] != pytest.approx(alone[1]["kl_bits"], abs=1e-3)


def test_without_heads_there_is_the_sweep_alone(gpt2):
    trace = trace_text(gpt2, TEXT)
    result = gpt2lab.ablate(trace)
    assert result.kl_bits == 0
    assert (result.written_before, result.written, result.off) == ((), (), ())
    assert result.first_difference is None
    assert result.id == int(trace.logits().argmax())
    assert result.changes.shape == (gpt2.n_layer, gpt2.n_head + 1)
    for part, change in zip(every_part(gpt2), result.changes.ravel(), strict=True):
        if part.layer == 1:
            single = gpt2lab.ablate(trace, part.name, steps=0, sweep=OFF)
            fall = single.logprobs[result.id] - single.logprobs_before[result.id]
            assert change == pytest.approx(fall, abs=LOGITS)


def test_the_table_ranks_what_matters_most(random_gpt2):
    result = gpt2lab.ablate(trace_text(random_gpt2, TEXT), "0.1", token=464, steps=0)
    nothing, chosen, *ranking = ablate.table(result).rows
    assert (nothing[0], nothing[3]) == ("nothing", 0)
    assert nothing[1] == pytest.approx(float(np.exp(result.logprobs_before[464])))
    assert chosen[0] == "0.1"
    assert chosen[2] == pytest.approx(float(result.logprobs[464]))
    changes = [abs(row[3]) for row in ranking]
    assert changes == sorted(changes, reverse=True)
    assert {row[0] for row in ranking} == {f"{part.name} alone" for part in every_part(random_gpt2)}
    alone = next(row for row in ranking if row[0] == "0.1 alone")
    assert alone[1:] == pytest.approx(chosen[1:], abs=VALUES)


def test_the_induction_heads_are_needed_for_a_repetition(pocket):
    falls = []
    for example in ablate.examples(pocket)[:3]:
        trace = trace_text(pocket, example.text)
        result = gpt2lab.ablate(trace, steps=0, sweep=OFF, **example.controls)
        assert result.token == "Ġhorses"
        falls.append(float(result.logprobs[result.id] - result.logprobs_before[result.id]))
    one, all_of_them, none = falls
    assert none == 0
    assert all_of_them < 3 * one < 0
    assert np.exp(all_of_them) < 0.5


def test_other_models_have_the_sweep_as_their_example(random_gpt2):
    example, *others = ablate.examples(random_gpt2)
    assert all(one.controls == {"heads": ""} for one in (example, *others))
    assert gpt2lab.ablate(trace_text(random_gpt2, example.text), **example.controls).changes.size


def test_where_the_text_fills_the_context_nothing_is_written(random_gpt2):
    trace = trace_text(random_gpt2, " the" * 128)
    result = gpt2lab.ablate(trace, "0.1", sweep=OFF)
    assert result.written == ()
    assert len(gpt2lab.ablate(trace, "0.1", -4, sweep=OFF).written) == 3
    assert len(ablate.figure(result).axes) == 1


def test_long_sweeps_are_done_when_asked_and_very_long_ones_refused(random_gpt2, monkeypatch):
    trace = trace_text(random_gpt2, TEXT)
    needed = blocks_one_by_one(random_gpt2) * block_work(random_gpt2, len(trace))
    monkeypatch.setattr("gpt2lab.work.UNASKED", 0.99 * needed)
    assert gpt2lab.ablate(trace, sweep=IF_QUICK).changes is None
    assert gpt2lab.ablate(trace, sweep=ON).changes is not None
    assert gpt2lab.ablate(trace, position=2).changes is not None
    assert gpt2lab.ablate(trace, sweep=OFF, position=2).changes is None
    monkeypatch.setattr("gpt2lab.work.LARGEST", 0.99 * needed)
    with pytest.raises(Refusal, match=r"^The sweep runs .* 15 times on 7 tokens, .* before 6, "):
        gpt2lab.ablate(trace, sweep=ON)
    assert gpt2lab.ablate(trace, position=5, sweep=ON).changes is not None


def _numbers(written: str) -> list[float]:
    """All numbers of a formula; a minus that stands alone belongs to the one behind it."""
    plain = re.sub(r"−\s+(?=[0-9])", "-", written).replace("−", "-").replace("log₂", "")
    return [float(one) for one in re.findall(r"-?[0-9][0-9.]*(?:e-?[0-9]+)?", plain)]


@pytest.mark.parametrize("heads", ["", "0.0, 1.mlp"])
def test_the_formula_has_the_live_numbers(random_gpt2, heads):
    result = gpt2lab.ablate(trace_text(random_gpt2, TEXT), heads, token=262, steps=0, sweep=OFF)
    assert ablate.answer(result)["formula"] == result.formula
    assert ablate.figure(result).get_suptitle().endswith(result.formula)
    before, after = (float(one[262]) for one in (result.logprobs_before, result.logprobs))
    if not heads:
        assert _numbers(result.formula) == pytest.approx([before], abs=6e-4)
        return
    divergence, change = result.formula.split("\n")
    p, again, q, rest, bits = _numbers(divergence)
    assert p == again
    assert (p, q) == pytest.approx((np.exp(before), np.exp(after)), rel=6e-3)
    assert bits == pytest.approx(result.kl_bits, abs=6e-4)
    assert p * np.log2(p / q) + rest == pytest.approx(result.kl_bits, abs=2e-3)
    assert _numbers(change) == pytest.approx([after, before, after - before], abs=6e-4)


@pytest.mark.parametrize("strategy", ["sample", "beam"])
def test_a_long_text_is_continued_from_its_states_with_the_same_tokens(
    random_gpt2, monkeypatch, strategy
):
    beams = {"num_beams": 2} if strategy == "beam" else {}
    trace = trace_text(random_gpt2, TEXT)
    settings = {"steps": 6, "sweep": OFF, "decoding": Decoding(strategy, **beams)}
    read_again = gpt2lab.ablate(trace, "0.1, 1.mlp", **settings)
    monkeypatch.setattr("gpt2lab.outputs.LONG", 2)
    known = gpt2lab.ablate(trace, "0.1, 1.mlp", **settings)
    for name in ("written_before", "written"):
        one, other = getattr(known, name), getattr(read_again, name)
        assert [token.id for token in one] == [token.id for token in other]
        for token, same in zip(one, other, strict=True):
            assert token.probability == pytest.approx(same.probability, abs=VALUES)
    assert len(known.written) == 6
