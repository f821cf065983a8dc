"""The lens grid: every cell against transformers' hidden states, the window, what is drawn.

Logits agree within 1e-4, as in the other tests, probabilities, entropies and divergences within
1e-5 of what float64 gives for transformers' logits.
"""

import functools
import io
import json
import warnings

import numpy as np
import pytest
import torch
from prompts import HOSTILE
from transformers import GPT2LMHeadModel

import gpt2lab
from gpt2lab import lens
from gpt2lab.examples import REPEATED
from gpt2lab.inspections import lens_grid
from gpt2lab.lens import KEPT, MOVE, SHOWN, window
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

LOGITS = 1e-4
VALUES = 1e-5
LONG = " ".join([REPEATED] * 4)
"""Longer than the window, and not as long as the small model's context."""


@functools.cache
def reference(path: str, text: str, start: int, stop: int) -> torch.Tensor:
    """Logits of all layers and of these positions: (n_layer + 1, positions, vocab_size)."""
    plain = GPT2LMHeadModel.from_pretrained(path, attn_implementation="eager").eval()
    tokenizer = gpt2lab.load_model(path, device="cpu").tokenizer
    with torch.no_grad():
        output = plain(torch.tensor([tokenizer.encode(text)]), output_hidden_states=True)
        inner = torch.cat(output.hidden_states[:-1])[:, start:stop]
        rows = plain.lm_head(plain.transformer.ln_f(inner))
        return torch.cat([rows, output.logits[:, start:stop]])


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", " the"])
def test_every_cell_is_what_transformers_gives(random_gpt2, token):
    trace = trace_text(random_gpt2, LONG)
    result = gpt2lab.lens_grid(trace, 50, token)
    shown = slice(result.start, result.start + SHOWN)
    assert result.start <= 50 < result.start + SHOWN < len(trace) == result.length
    logits = reference(random_gpt2.path, LONG, shown.start, shown.stop)
    cells = (random_gpt2.n_layer + 1, SHOWN)
    assert result.logits.shape == result.top_ids.shape == (*cells, KEPT)

    listed = logits.gather(-1, torch.tensor(result.top_ids)).numpy()
    np.testing.assert_allclose(result.logits, listed, rtol=0, atol=LOGITS)
    np.testing.assert_allclose(result.logits, logits.topk(KEPT).values, rtol=0, atol=LOGITS)

    p = logits.double().softmax(-1)
    own = p.gather(-1, torch.tensor(result.top_ids)).numpy()
    np.testing.assert_allclose(result.probabilities, own, rtol=0, atol=VALUES)
    entropies = torch.special.entr(p).sum(-1).numpy() / np.log(2)
    np.testing.assert_allclose(result.entropy_bits, entropies, rtol=0, atol=VALUES)
    bits = torch.nn.functional.kl_div(
        logits.double().log_softmax(-1), p[-1:].expand_as(p), reduction="none"
    ).sum(-1)
    np.testing.assert_allclose(result.kl_to_final_bits, bits / np.log(2), rtol=0, atol=VALUES)

    winners = logits[-1].argmax(-1)
    followed = torch.full_like(winners, 262) if token else winners
    assert result.followed_ids.tolist() == followed.tolist()
    at = followed.expand(cells)[..., None]
    ids = p.gather(-1, at)[..., 0].numpy()
    np.testing.assert_allclose(result.followed_probabilities, ids, rtol=0, atol=VALUES)
    # The rank of a token among 50,257 may move by one where two logits are all but equal.
    ranks = (logits > logits.gather(-1, at)).sum(-1).numpy() + 1
    assert np.abs(result.followed_ranks - ranks).max() <= 2
    assert (result.followed_ranks == ranks).mean() > 0.95


def test_the_last_row_is_the_output_normalized_once(gpt2):
    trace = trace_text(gpt2, REPEATED)
    result = gpt2lab.lens_grid(trace)
    output = trace.all_logits()
    top = output.topk(KEPT)
    assert np.array_equal(result.logits[-1], top.values.numpy())
    assert np.array_equal(result.top_ids[-1], top.indices.numpy())
    assert np.all(result.kl_to_final_bits[-1] == 0)
    assert np.all(result.kl_to_final_bits[:-1] > 0)
    assert np.all(result.followed_ranks[-1] == 1)
    twice = gpt2.model.lm_head(gpt2.model.transformer.ln_f(trace.hidden[-1])).detach()
    assert (twice.topk(KEPT).values - top.values).abs().max() > 0.1


def test_a_column_is_the_logit_lens_of_its_position(gpt2):
    trace = trace_text(gpt2, REPEATED)
    result = gpt2lab.lens_grid(trace, 5, " the")
    one = gpt2lab.logit_lens(trace, 5, token=" the")
    column = result.column
    assert result.position == result.start + column == 5
    np.testing.assert_allclose(
        result.kl_to_final_bits[:, column], one.kl_to_final_bits, rtol=0, atol=LOGITS
    )
    assert result.top_ids[:, column].tolist() == [one.top(row) for row in range(len(one.logits))]
    assert np.abs(result.followed_ranks[:, column] - one.followed_ranks).max() <= 2
    assert result.formula.splitlines()[0] == one.formula.splitlines()[0]


# --- the window ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, SHOWN, SHOWN + 1, 60, 1024])
def test_the_window_holds_the_position_and_moves_by_halves(length):
    windows = [window(length, position) for position in range(length)]
    for position, shown in enumerate(windows):
        assert position in shown
        assert 0 <= shown.start < shown.stop <= length
        assert len(shown) == min(SHOWN, length)
        # A position of the window's middle, where there is one, leaves the window in place.
        if SHOWN < shown.stop < length and shown.start % MOVE == 0:
            middle = range(shown.start + MOVE // 2, shown.stop - MOVE // 2)
            assert all(windows[one] == shown for one in middle)
    assert {one.start for one in windows} <= {*range(0, length, MOVE), max(0, length - SHOWN)}


def test_what_was_read_is_not_read_again(random_gpt2, monkeypatch):
    trace = trace_text(random_gpt2, LONG)
    result = gpt2lab.lens_grid(trace, 30)

    def never(*arguments):
        raise AssertionError("read again")

    monkeypatch.setattr(lens, "_readings", never)
    # Another colour, another trace of the text, another text behind the window.
    behind = result.start + SHOWN
    for again in (trace, trace_text(random_gpt2, LONG), trace.prefix(behind + 12)):
        assert gpt2lab.lens_grid(again, 30, colour="rank").logits is result.logits
    with pytest.raises(AssertionError, match="read again"):
        gpt2lab.lens_grid(trace, 30, " the")
    with pytest.raises(ValueError, match="read-only"):
        result.logits[0] = 0


@pytest.mark.parametrize("colour", ["", "no such", "Rank"])
def test_other_colours_are_refused(random_gpt2, colour):
    with pytest.raises(Refusal, match=r"^colour is .* but must be one of probability, rank, entr"):
        gpt2lab.lens_grid(trace_text(random_gpt2, "a"), colour=colour)


# --- what is shown -------------------------------------------------------------------------------


def test_colours_say_the_number_of_the_cell(random_gpt2):
    trace = trace_text(random_gpt2, LONG)
    shares = {}
    for colour in lens_grid.COLOURS:
        result = gpt2lab.lens_grid(trace, 30, colour=colour)
        shares[colour] = result.shares
        assert result.shares.min() >= 0
        assert result.shares.max() <= 1
    np.testing.assert_allclose(shares["probability"], result.probabilities[..., 0])
    ranks = 1 - np.log(result.followed_ranks) / np.log(random_gpt2.vocab_size)
    np.testing.assert_allclose(shares["rank"], ranks)
    np.testing.assert_allclose(shares["entropy"], np.maximum(0, 1 - result.entropy_bits / 10))
    bits = np.maximum(0, 1 - result.kl_to_final_bits / 10)
    np.testing.assert_allclose(shares["divergence"], bits)


def test_the_figure_frames_the_followed_token_and_marks_the_position(random_gpt2):
    result = gpt2lab.lens_grid(trace_text(random_gpt2, LONG), 50)
    drawing = lens_grid.figure(result)
    grid = drawing.axes[0]
    np.testing.assert_array_equal(grid.images[0].get_array(), result.shares)
    assert len(grid.texts) == result.shares.size
    framed = {(round(one.get_y() + 0.44), round(one.get_x() + 0.48)) for one in grid.patches[:-1]}
    expected = np.argwhere(result.top_ids[..., 0] == result.followed_ids)
    assert framed == {(row, column) for row, column in expected.tolist()}
    outline = grid.patches[-1]
    assert (outline.get_x() + 0.5, outline.get_width()) == (result.column, 1)
    names = [tick.get_text() for tick in grid.get_xticklabels()]
    assert len(names) == SHOWN
    assert names[result.column].startswith("50 ")
    title = drawing.get_suptitle()
    assert f"positions {result.start} to {result.start + SHOWN - 1} of {result.length}" in title
    assert result.formula in title


def test_the_answer_the_table_and_the_drawing_show_the_record(random_gpt2):
    result = gpt2lab.lens_grid(trace_text(random_gpt2, LONG), 50, " the", "divergence")
    answer, drawn = lens_grid.answer(result), lens_grid.interactive(result)
    rows = {(row[2], row[0]): row for row in lens_grid.table(result).rows}
    assert answer["positions"] == [*range(result.start, result.start + SHOWN)]
    assert len(rows) == result.shares.size
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    tokenizer = random_gpt2.tokenizer
    for layer, column in ((0, 0), (1, result.column), (3, SHOWN - 1)):
        cell = answer["layers"][layer]["cells"][column]
        row = rows[layer, result.start + column]
        ids = result.top_ids[layer, column].tolist()
        assert [one["id"] for one in cell["top"]] == ids == drawn["ids"][layer][column]
        names = tokenizer.convert_ids_to_tokens(ids)
        assert [one["token"] for one in cell["top"]] == names
        shares = result.probabilities[layer, column]
        assert [one["probability"] for one in cell["top"]] == shares.tolist()
        again = np.exp(np.array(drawn["logits"][layer][column]) - drawn["totals"][layer][column])
        np.testing.assert_allclose(again, shares, rtol=1e-6)
        followed = cell["followed"]
        assert (followed["id"], followed["token"]) == (262, "Ġthe")
        assert row[3:6] == (drawn["shown"][str(ids[0])], ids[0], shares[0])
        assert row[6:8] == (cell["entropy_bits"], cell["kl_to_final_bits"])
        assert row[8:] == ("␣the", followed["rank"], followed["probability"])
        assert followed["rank"] == drawn["ranks"][layer][column]


def test_hostile_tokens_can_be_drawn(random_gpt2):
    """The embedding's row repeats the text's own tokens, so they are in the cells."""
    ids = [id for text in HOSTILE.values() for id in encode(random_gpt2, text)]
    for start in range(0, len(ids) - SHOWN, 6 * SHOWN):
        trace = trace_ids(random_gpt2, ids[start : start + SHOWN])
        result = gpt2lab.lens_grid(trace, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawing = lens_grid.figure(result, dark=bool(start))
            drawing.savefig(io.BytesIO(), format="png")


def test_the_snippet_gives_the_rest_too(random_gpt2, run_quickly):
    trace = trace_text(random_gpt2, LONG)
    for token in ("", " the"):
        result = gpt2lab.lens_grid(trace, 50, token)
        names = run_quickly(lens_grid.snippet(trace, 50, token))
        for name in ("top_ids", "followed_ids"):
            assert np.array_equal(names[name].numpy(), getattr(result, name)), name
        bits = names["kl_to_final_bits"].numpy()
        np.testing.assert_allclose(bits, result.kl_to_final_bits, rtol=0, atol=VALUES)
        assert np.abs(names["followed_ranks"].numpy() - result.followed_ranks).max() <= 2
