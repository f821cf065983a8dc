"""Gradients: the slopes of the plain model, and sums that are what the output gained."""

import re
import threading

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import gpt2lab
from gpt2lab import gradients_figure
from gpt2lab.backward import slope
from gpt2lab.gradients import (
    BASELINES,
    INTEGRATED,
    OUTPUTS,
    TIMES_INPUT,
    Output,
    attempts,
    baseline_of,
    embeddings_of,
    first_steps,
    gradient_times_input,
    integrated_gradients,
    is_complete,
    step_work,
)
from gpt2lab.inspections import gradients
from gpt2lab.inspections.gradients import IF_QUICK
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.trace import trace_ids, trace_text

TEXT = "to be or not to be or"
VALUES = 1e-4


@pytest.fixture(scope="module")
def exact(random_gpt2: Gpt2) -> Gpt2:
    """A tiny model in float64, in which differences of close numbers can be trusted."""
    torch.manual_seed(2)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=8, n_positions=16, vocab_size=50)
    config._attn_implementation = "eager"
    model = GPT2LMHeadModel(config).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    return Gpt2(model, random_gpt2.tokenizer, "tiny", "local", "", "")


class Exact(Output):
    """The same number, without its last step to float32."""

    def __call__(self, embeddings: torch.Tensor) -> torch.Tensor:
        logits = self.gpt2.model(inputs_embeds=embeddings[None]).logits[0, -1]
        return (logits.log_softmax(-1) if self.kind == "log-probability" else logits)[self.id]


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_gradient_is_the_slope_of_small_differences(exact, kind):
    output, text = Exact(exact, 7, kind), embeddings_of(exact, [3, 1, 4, 1, 5])
    found = output.gradient(text)
    assert found.dtype == torch.float64
    nudge = 1e-6
    for place in range(text.numel()):
        step = torch.zeros(text.numel(), dtype=torch.float64)
        step[place] = nudge
        ahead, behind = (output.value(text + sign * step.view_as(text)) for sign in (1, -1))
        assert float(found.view(-1)[place]) == pytest.approx(
            (ahead - behind) / (2 * nudge), abs=1e-7
        )
    assert float(found.abs().max()) > 1e-2
    torch.testing.assert_close(Output(exact, 7, kind).gradient(text), found, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_integral_is_that_of_many_small_steps(exact, kind):
    """The middle rule in 200 steps, which has nothing in common with Gauss and Legendre."""
    output, text = Exact(exact, 7, kind), embeddings_of(exact, [3, 1, 4, 1, 5])
    baseline = torch.zeros_like(text)
    total = torch.zeros_like(text)
    for step in range(200):
        point = (baseline + (step + 0.5) / 200 * (text - baseline)).requires_grad_()
        output(point).backward()
        total += point.grad / 200
    gained = output.value(text) - output.value(baseline)
    found, _ = integrated_gradients(output, text, baseline, gained, 10_000)
    expected = (text * total).sum(-1)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01 * float(expected.abs().max()))
    assert float(found.sum()) == pytest.approx(gained, rel=0.01)


def test_points_are_doubled_until_the_sum_is_right(exact):
    text = embeddings_of(exact, [3, 1, 4, 1, 5])
    output, baseline = Exact(exact, 7), torch.zeros_like(text)
    gained = output.value(text) - output.value(baseline)
    _, first = integrated_gradients(output, text, baseline, gained, 1000)
    _, never = integrated_gradients(output, text, baseline, gained + 1, 120)
    assert (first, never) == (16, 64)
    assert [attempts(most) for most in (3, 16, 47, 48, 512)] == [
        [3], [16], [16], [16, 32], [16, 32, 64, 128, 256],
    ]  # fmt: skip
    assert attempts(30, 4) == [4, 8, 16]
    assert all(is_complete(*pair) for pair in ((10.09, 10), (-9.91, -10), (0.0, 0.0)))
    assert not any(is_complete(*pair) for pair in ((10.11, 10), (9.89, 10), (0.01, 0.0)))


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_integrated_gradients_are_complete_within_one_percent(gpt2, plain, output, baseline):
    trace = trace_text(gpt2, TEXT)
    result = gpt2lab.gradients(trace, output=output, baseline=baseline, method=INTEGRATED)
    with torch.no_grad():
        x = plain.transformer.wte(trace.ids)
        nothing = torch.zeros_like(x)
        if baseline == "end-of-text token":
            nothing = plain.transformer.wte.weight[50256].expand_as(x)
        logits = [plain(inputs_embeds=one[None]).logits[0, -1] for one in (x, nothing)]
        if output == "log-probability":
            logits = [one.log_softmax(-1) for one in logits]
    assert result.id == int(plain(trace.ids[None]).logits[0, -1].argmax())
    assert result.value == pytest.approx(float(logits[0][result.id]), abs=VALUES)
    assert result.baseline_value == pytest.approx(float(logits[1][result.id]), abs=VALUES)
    gained = float(logits[0][result.id] - logits[1][result.id])
    assert abs(gained) > 0.1
    assert abs(float(result.attributions.sum()) - gained) <= 0.01 * abs(gained) + VALUES
    assert result.complete
    assert result.method == INTEGRATED
    assert result.steps in {16, 32, 64}


def test_gradient_times_input_is_that_of_a_plain_backward_pass(gpt2, plain):
    trace = trace_text(gpt2, TEXT)
    result = gpt2lab.gradients(trace, 3, method=TIMES_INPUT)
    assert (result.position, result.id) == (3, int(trace.ids[4]))
    x = plain.transformer.wte(trace.ids).detach().requires_grad_()
    slope = torch.autograd.grad(plain(inputs_embeds=x[None]).logits[0, 3, result.id], x)[0]
    expected = (x * slope).sum(-1).detach()
    assert not expected[4:].abs().max()  # no token sees a later one
    np.testing.assert_allclose(result.attributions, expected[:4].numpy(), rtol=1e-4, atol=VALUES)
    assert result.attributions.shape == (4,)
    assert result.steps == 1


@pytest.mark.parametrize("length", [1, 2, 40])
@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_slope_block_by_block_is_that_of_the_whole_model(random_gpt2, kind, length):
    """The plain model under eager attention, all of it remembered; 1e-5 of the largest slope."""
    trace = trace_ids(random_gpt2, [464, 290, 257, 50256, 11] * 8).prefix(length)
    x = embeddings_of(random_gpt2, trace.ids.tolist()).requires_grad_()
    logits = random_gpt2.model(inputs_embeds=x[None]).logits[0, -1]
    (logits.log_softmax(-1) if kind == "log-probability" else logits)[262].backward()
    found = slope(trace, 262, kind == "log-probability")
    assert (found.shape, found.dtype) == (x.shape, torch.float64)
    limit = float(x.grad.abs().max())
    assert limit > 1e-2
    torch.testing.assert_close(found.float(), x.grad, rtol=0, atol=1e-5 * limit)
    assert random_gpt2.model.config._attn_implementation == "eager"
    assert all(one.grad is None for one in random_gpt2.model.parameters())


def test_the_sum_is_written_out_with_the_numbers_of_the_text(random_gpt2):
    result = gpt2lab.gradients(trace_text(random_gpt2, TEXT), method=TIMES_INPUT)
    total, terms = result.formula.replace("−", "-").split(" = ")
    numbers = [float(one) for one in re.findall(r"-? ?[0-9]+\.[0-9]{2}", terms.replace("- ", "-"))]
    order = sorted(result.attributions.tolist(), key=abs, reverse=True)
    assert numbers == pytest.approx([*order[:3], sum(order[3:])], abs=0.006)
    assert float(total) == pytest.approx(result.total, abs=0.006)
    assert sum(numbers) == pytest.approx(result.total, abs=0.03)
    assert "(4 others)" in terms
    drawn = [axes.get_title() for axes in gradients.figure(result).axes]
    assert any(result.formula in one for one in drawn)
    assert gradients.answer(result)["formula"] == result.formula


def test_the_baseline_of_a_long_text_is_left_out_and_it_is_said_so(random_gpt2, monkeypatch):
    trace = trace_text(random_gpt2, TEXT)
    known = gpt2lab.gradients(trace, method=TIMES_INPUT)
    one = step_work(random_gpt2, len(trace)) / 2
    monkeypatch.setattr("gpt2lab.work.UNASKED", 0.49 * one)
    result = gpt2lab.gradients(trace)
    assert (result.method, result.baseline_value, result.gap) == (TIMES_INPUT, None, None)
    assert not result.complete
    assert result.attributions.tolist() == known.attributions.tolist()
    assert "baseline of so long a text: left out" in result.facts
    assert gradients.answer(result)["gap"] is None
    assert [row[4] for row in gradients.table(result).rows] == [""] * (len(trace) + 1)
    gradients.figure(result)
    # Integrated gradients cannot do without it, and begin with fewer points.
    asked = gpt2lab.gradients(trace, method=INTEGRATED)
    assert asked.baseline_value == pytest.approx(known.baseline_value, abs=VALUES)
    monkeypatch.setattr("gpt2lab.work.UNASKED", 1.5 * 2 * one)
    assert first_steps(random_gpt2, len(trace)) == 4
    monkeypatch.setattr("gpt2lab.work.UNASKED", 1.7 * 2 * one)
    assert first_steps(random_gpt2, len(trace)) == 16


def test_the_former_name_of_a_method_still_works(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    former = gpt2lab.gradients(trace, method="integrated gradients if quick")
    assert gradients.answer(former) == gradients.answer(gpt2lab.gradients(trace, method=IF_QUICK))


def test_a_text_that_is_its_own_baseline_has_nothing_to_explain(random_gpt2):
    trace = trace_text(random_gpt2, "")
    result = gpt2lab.gradients(trace, baseline="end-of-text token")
    assert result.attributions.tolist() == [0.0]
    assert result.complete
    assert gradients.table(result).rows[0][-1] == 0
    assert "0 %" in result.facts


def test_no_gradient_is_left_behind(pocket):
    """Nothing on the shared weights, also while somebody else computes."""
    trace = trace_text(pocket, TEXT)
    alone = gpt2lab.gradients(trace).attributions
    found: list[np.ndarray] = []
    jobs = [
        threading.Thread(target=lambda: found.append(gpt2lab.gradients(trace).attributions))
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(found) == 2
    for one in found:
        np.testing.assert_allclose(one, alone, rtol=0, atol=1e-6)
    assert all(one.grad is None and not one.requires_grad for one in pocket.model.parameters())
    assert not trace_text(pocket, TEXT).hidden.requires_grad


def test_what_takes_long_is_done_when_asked_and_what_takes_minutes_is_refused(
    random_gpt2, monkeypatch
):
    trace = trace_text(random_gpt2, TEXT)
    one = step_work(random_gpt2, len(trace))
    monkeypatch.setattr("gpt2lab.work.UNASKED", 47 * one)
    assert gpt2lab.gradients(trace).method == TIMES_INPUT
    assert gpt2lab.gradients(trace, method=INTEGRATED).method == INTEGRATED
    monkeypatch.setattr("gpt2lab.work.UNASKED", 48 * one)
    assert gpt2lab.gradients(trace, method=IF_QUICK).method == INTEGRATED
    monkeypatch.setattr("gpt2lab.work.LARGEST", 7.9 * one)
    with pytest.raises(Refusal, match=r"^Integrated gradients of 7 tokens would take minutes"):
        gpt2lab.gradients(trace, method=INTEGRATED)
    assert gpt2lab.gradients(trace, 5, method=INTEGRATED).method == INTEGRATED


def test_what_is_no_choice_is_refused(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    for name in ("output", "method", "baseline"):
        with pytest.raises(Refusal, match=f"^{name} is 'x', but must be one of "):
            gpt2lab.gradients(trace, **{name: "x"})
    for token in (50257, -2, 1.5):
        with pytest.raises(Refusal, match=r"^token is "):
            gpt2lab.gradients(trace, token=token)


def test_the_table_and_the_answer_sum_to_what_is_shown(random_gpt2):
    result = gpt2lab.gradients(trace_text(random_gpt2, TEXT), token=464)
    *rows, total, difference = gradients.table(result).rows
    assert [row[1] for row in rows] == list(result.pieces.shown)
    assert sum(row[3] for row in rows) == pytest.approx(total[3])
    assert sum(row[4] for row in rows) == pytest.approx(total[4])
    assert difference[3] == pytest.approx(result.value - result.baseline_value)
    told = gradients.answer(result)
    assert (told["id"], told["token"]) == (464, "The")
    assert told["attributions"] == [row[3] for row in rows]
    assert told["gap"] == pytest.approx(told["sum"] - told["value"] + told["baseline_value"])


def test_a_long_text_shows_the_chips_before_the_position(random_gpt2):
    ids = [464, 290, 257] * 41
    ids[3:5] = [236, 188]
    result = gpt2lab.gradients(trace_ids(random_gpt2, ids), method=TIMES_INPUT)
    first = gradients_figure._first_shown(result)
    assert first >= len(ids) - gradients_figure.MOST_CHIPS
    assert result.pieces.starts[first] == first
    drawing = gradients.figure(result)
    assert len([one for one in drawing.axes[0].texts if one.get_text() == "The"]) <= 41
    assert any(f"the first {first} tokens" in one.get_text() for one in drawing.axes[0].texts)


def test_the_baseline_is_one_vector_at_every_position(random_gpt2):
    text = embeddings_of(random_gpt2, [464, 290])
    weights = random_gpt2.model.transformer.wte.weight
    assert torch.equal(text, weights[[464, 290]])
    assert not baseline_of(random_gpt2, "zero", text).any()
    end = baseline_of(random_gpt2, "end-of-text token", text)
    assert torch.equal(end, weights[[50256, 50256]])
    gradient = torch.ones(2, 32, dtype=torch.float64)
    assert gradient_times_input(gradient, text, text).tolist() == [0, 0]
    expected = (text - end).double().sum(-1)
    torch.testing.assert_close(gradient_times_input(gradient, text, end), expected)
