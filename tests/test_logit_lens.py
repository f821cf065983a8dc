"""The logit lens: its last row is the model, its inner rows are ln_f and E on each state."""

import dataclasses
import io
import json
import re

import numpy as np
import pytest
import torch
from prompts import HOSTILE

import gpt2lab
from gpt2lab.inspections import logit_lens
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_text

TEXT = "to be or not to be or"
LOGITS = 1e-4
"""Logits, absolute; they are about 30 here."""
VALUES = 1e-5
"""Probabilities and bits, absolute."""
POSITIONS = [0, 3, -1]


def reference(plain, gpt2, position: int) -> torch.Tensor:
    """Logits of every layer from transformers' hidden states: (n_layer + 1, vocab_size)."""
    ids = torch.tensor([encode(gpt2, TEXT)])
    with torch.no_grad():
        output = plain(ids, output_hidden_states=True)
        rows = [
            plain.lm_head(plain.transformer.ln_f(state[0, position]))
            for state in output.hidden_states[:-1]
        ]
    return torch.stack([*rows, output.logits[0, position]])


@pytest.mark.parametrize("position", POSITIONS)
def test_each_row_is_ln_f_and_the_embedding_on_that_layer(gpt2, plain, position):
    result = gpt2lab.logit_lens(trace_text(gpt2, TEXT), position)
    expected = reference(plain, gpt2, position).numpy()
    assert result.position == position % 7
    assert result.logits.shape == (gpt2.n_layer + 1, gpt2.vocab_size)
    assert result.logits.dtype == np.float32
    np.testing.assert_allclose(result.logits, expected, rtol=0, atol=LOGITS)


@pytest.mark.parametrize("position", POSITIONS)
def test_the_last_row_is_the_output_normalized_once(gpt2, position):
    trace = trace_text(gpt2, TEXT)
    result = gpt2lab.logit_lens(trace, position)
    output = trace.logits(position)
    assert np.array_equal(result.logits[-1], output.numpy())
    with torch.no_grad():
        twice = gpt2.model.lm_head(gpt2.model.transformer.ln_f(trace.hidden[-1][position]))
    assert (twice - output).abs().max() > 0.1
    assert result.final_id == int(output.argmax())
    assert result.final_ranks[-1] == 1
    assert result.kl_to_final_bits[-1] == 0


@pytest.mark.parametrize("position", POSITIONS)
def test_ranks_and_divergences_are_those_of_the_definition(gpt2, position):
    result = gpt2lab.logit_lens(trace_text(gpt2, TEXT), position)
    shifted = result.logits.astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    p = np.exp(log_p)
    bits = (p[-1] * (log_p[-1] - log_p)).sum(-1) / np.log(2)
    np.testing.assert_allclose(result.kl_to_final_bits, bits, rtol=0, atol=VALUES)
    assert np.all(result.kl_to_final_bits[:-1] > 0)
    for layer, row in enumerate(result.logits):
        assert result.final_ranks[layer] == (row > row[result.final_id]).sum() + 1
        # Torch sums 50,257 float32 numbers, so against float64 it is right to about 2e-5 of them.
        np.testing.assert_allclose(result.probabilities(layer), p[layer], rtol=3e-5, atol=VALUES)


def test_the_divergence_is_the_extra_code_length_under_the_layer(random_gpt2):
    """Two tokens: 1/2 and 1/2 in the end, 1/4 and 3/4 before; worked by hand."""
    gpt2 = random_gpt2

    class TwoTokens:
        position = staticmethod(lambda position: 0)
        ids = torch.tensor([464])

        def __init__(self):
            self.gpt2 = gpt2

        def lens(self, layer, position):
            logits = torch.full((4,), -1e9)
            last = layer == gpt2.n_layer
            logits[:2] = torch.tensor([0.5, 0.5] if last else [0.25, 0.75]).log()
            return logits

    result = gpt2lab.logit_lens(TwoTokens(), show=2)
    expected = 0.5 * np.log2(0.5 / 0.25) + 0.5 * np.log2(0.5 / 0.75)
    np.testing.assert_allclose(result.kl_to_final_bits[:-1], expected, rtol=0, atol=1e-6)
    assert result.final_id == 0  # the lower id first among equals
    assert result.final_ranks.tolist() == [2] * gpt2.n_layer + [1]


@pytest.mark.parametrize("show", [1, 5, 10])
def test_the_answer_and_the_table_show_the_record(gpt2, show):
    result = gpt2lab.logit_lens(trace_text(gpt2, TEXT), 3, show)
    layers = logit_lens.answer(result)["layers"]
    assert [one["layer"] for one in layers] == list(range(gpt2.n_layer + 1))
    rows = iter(logit_lens.table(result).rows)
    for layer, one in enumerate(layers):
        assert one.keys() == {"layer", "top", "kl_to_final_bits", "followed"}
        assert one["followed"]["rank"] == result.followed_ranks[layer]
        assert one["followed"]["probability"] == float(result.followed_probabilities[layer])
        assert one["kl_to_final_bits"] == float(result.kl_to_final_bits[layer])
        expected = torch.from_numpy(result.logits[layer]).topk(show).indices.tolist()
        assert [top["id"] for top in one["top"]] == expected
        for rank, top in enumerate(one["top"], start=1):
            assert top["token"] == gpt2.tokenizer.convert_ids_to_tokens(top["id"])
            assert top["probability"] == float(result.probabilities(layer)[top["id"]])
            row = next(rows)
            assert (row[0], row[1], row[3], row[4]) == (layer, rank, top["id"], top["probability"])
            followed = one["followed"]
            assert row[5:] == (one["kl_to_final_bits"], followed["rank"], followed["probability"])
    assert next(rows, None) is None


@pytest.mark.parametrize("show", [1, 5, 10])
def test_the_figure_has_a_row_per_layer_and_frames_the_winner(gpt2, show):
    result = gpt2lab.logit_lens(trace_text(gpt2, TEXT), show=show)
    grid, distance, of_followed = logit_lens.figure(result).axes
    shares = grid.images[0].get_array()
    assert shares.shape == (gpt2.n_layer + 1, show)
    assert grid.images[0].get_clim() == (0, 1)
    for layer in range(gpt2.n_layer + 1):
        ids = result.top(layer)
        np.testing.assert_allclose(shares[layer], result.probabilities(layer)[ids])
    assert len(grid.texts) == 2 * shares.size
    framed = {(round(box.get_y() + 0.44), round(box.get_x() + 0.48)) for box in grid.patches}
    expected = {
        (layer, result.top(layer).index(result.final_id))
        for layer in range(gpt2.n_layer + 1)
        if result.final_id in result.top(layer)
    }
    assert framed == expected
    lengths = [bar.get_width() for bar in distance.patches]
    assert lengths == result.kl_to_final_bits.tolist()
    assert of_followed.lines[0].get_xdata().tolist() == result.followed_ranks.tolist()
    names = [tick.get_text() for tick in of_followed.get_yticklabels()]
    assert [name.split(" · ")[0] for name in names] == [f"{one:,}" for one in result.final_ranks]
    assert grid.get_ylim() == distance.get_ylim() == of_followed.get_ylim()


@pytest.mark.parametrize("token", [" the", "Ġthe"])
def test_any_token_is_followed_through_the_layers(gpt2, plain, token):
    result = gpt2lab.logit_lens(trace_text(gpt2, TEXT), 3, token=token)
    rows = reference(plain, gpt2, 3)
    assert result.followed_id == 262
    assert result.final_id == int(rows[-1].argmax()) != 262
    expected = rows.double().softmax(-1)[:, 262].numpy()
    np.testing.assert_allclose(result.followed_probabilities, expected, rtol=0, atol=VALUES)
    for layer, row in enumerate(result.logits):
        assert result.followed_ranks[layer] == (row > row[262]).sum() + 1
    grid, _, of_followed = logit_lens.figure(result).axes
    assert "␣the" in of_followed.get_title()
    tops = [result.top(layer) for layer in range(len(rows))]
    assert len(grid.patches) == sum(262 in top for top in tops)


def test_the_formula_is_that_of_the_layer_where_the_token_stands_highest(gpt2, plain):
    result = gpt2lab.logit_lens(trace_text(gpt2, TEXT), 3, token=" the")
    rows = reference(plain, gpt2, 3).double()
    layer = int(result.followed_ranks[:-1].argmin())
    z, total = float(rows[layer, 262]), float(rows[layer].logsumexp(-1))
    p, p_final = float(rows[layer].softmax(-1)[262]), float(rows[-1].softmax(-1)[262])
    named, softmax, divergence = result.formula.replace("−", "-").splitlines()
    assert named.startswith(
        f"layer {layer}, the first with ␣the on rank {result.followed_ranks[layer]:,}:"
    )
    written = [float(one) for one in re.findall(r"-?\d+\.\d+(?:e[+-]\d+)?", named)]
    assert written == [pytest.approx(z, abs=1e-3)]
    written = [float(one) for one in re.findall(r"-?\d+\.\d+(?:e[+-]\d+)?", softmax)]
    assert written == [
        pytest.approx(z, abs=1e-3), pytest.approx(p, rel=1e-3), pytest.approx(total, abs=1e-3)
    ]  # fmt: skip
    written = [float(one) for one in re.findall(r"-?\d+\.\d+(?:e[+-]\d+)?", divergence)]
    bits = result.kl_to_final_bits[layer]
    assert written == pytest.approx([p_final, p_final, p, bits], rel=1e-3)


@pytest.mark.parametrize("token", ["two words", "Ġnothing like it", 7])
def test_what_is_not_one_token_cannot_be_followed(random_gpt2, token):
    with pytest.raises(Refusal, match=r"^token is .* but must be "):
        gpt2lab.logit_lens(trace_text(random_gpt2, TEXT), token=token)


def test_hostile_tokens_can_be_drawn_in_cells(random_gpt2):
    """No text gives such tops, so the logits are raised by hand."""
    result = gpt2lab.logit_lens(trace_text(random_gpt2, TEXT), show=10)
    ids = sorted({id for text in HOSTILE.values() for id in encode(random_gpt2, text)})
    tokens = dict(enumerate(random_gpt2.tokenizer.convert_ids_to_tokens(range(50257))))
    for start in range(0, len(ids), 40):
        logits = result.logits.copy()
        logits[:, ids[start : start + 10]] += 50
        changed = {"logits": logits, "tokens": tokens, "followed_id": ids[start]}
        raised = dataclasses.replace(result, **changed)
        logit_lens.figure(raised, dark=bool(start % 20)).savefig(io.BytesIO(), format="png")
        json.dumps(logit_lens.answer(raised), allow_nan=False)


def test_the_snippet_gives_the_divergences_too(gpt2, capsys, monkeypatch):
    monkeypatch.chdir(gpt2lab.models.POCKET.parent.parent)
    trace = trace_text(gpt2, TEXT)
    names: dict = {}
    exec(logit_lens.snippet(trace, position=-2, token=" the"), names)
    expected = gpt2lab.logit_lens(trace, -2, token=" the")
    for name in ("kl_to_final_bits", "followed_ranks", "followed_probabilities"):
        # Both are exact for their own logits, which differ in the last digit.
        shown = getattr(expected, name)
        np.testing.assert_allclose(names[name].numpy(), shown, rtol=0, atol=LOGITS)
    assert len(capsys.readouterr().out.splitlines()) == gpt2.n_layer + 1


@pytest.mark.parametrize("show", [0, 11, 2.5, "5"])
def test_more_tokens_than_fit_are_refused(random_gpt2, show):
    with pytest.raises(Refusal, match=r"^show is .* from 1 to 10"):
        gpt2lab.logit_lens(trace_text(random_gpt2, TEXT), show=show)
