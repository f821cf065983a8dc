"""The batch inspection: its figure, table and JSON show the record, for texts of any kind."""

import io
import time
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from prompts import HOSTILE
from texts import TEXTS

from gpt2lab.batches import checked_rows, pad
from gpt2lab.decoding import Decoding
from gpt2lab.inspections.batch import (
    INSPECTION,
    OTHERS,
    answer,
    batch,
    batch_texts,
    figure,
    snippet,
    table,
)
from gpt2lab.matrices import MOST_COLUMNS, window
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import decode
from gpt2lab.trace import trace_ids, trace_text

GREEDY = Decoding("greedy", max_new_tokens=5)
TEXT = "Once upon a time, there was a little girl"


def save(drawing: Figure) -> None:
    """Draw with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.savefig(io.BytesIO(), format="png")


def words(drawing: Figure) -> list[str]:
    """Everything that is written in a figure."""
    return [text.get_text() for axes in drawing.axes for text in axes.texts]


def test_the_default_texts_show_what_padding_breaks(pocket: Gpt2) -> None:
    trace = trace_text(pocket, TEXT)
    for side, mask in (("left", True), ("left", False), ("right", True), ("right", False)):
        result = batch(trace, padding_side=side, use_mask=mask, decoding=GREEDY)
        assert result.rows == 4
        padded = result.max_logit_error[result.padded]
        assert len(padded) == 3
        if side == "left" and mask:
            assert result.max_logit_error.max() < 1e-4
            assert result.same == result.counts
        else:
            assert padded.min() > 1e-2
            assert result.same != result.counts
        shown = words(figure(result))
        title = "input_ids · hatched: padding · framed: generate goes on behind it"
        assert " ".join(shown[: shown.index(title)]) == result.verdict


def test_the_first_row_is_the_text_that_all_tabs_look_at(random_gpt2: Gpt2) -> None:
    trace = trace_text(random_gpt2, TEXT)
    result = batch(trace, decoding=GREEDY)
    texts = [TEXT, *OTHERS.split("\n")]
    expected = pad(random_gpt2, checked_rows(random_gpt2, texts))
    assert np.array_equal(result.input_ids, expected.input_ids.numpy())
    assert answer(result) == answer(batch_texts(random_gpt2, texts, decoding=GREEDY))
    short = batch(trace, window=4, decoding=GREEDY)
    assert short.cut == len(trace) - 4
    assert short.input_ids[0][~short.pads[0]].tolist() == trace.ids[-4:].tolist()
    assert short.max_logit_error.max() < 1e-4
    assert any(
        f"{short.cut} tokens before row 0 are left out" in one for one in words(figure(short))
    )


def test_an_empty_text_is_the_beginning_of_text_token(random_gpt2: Gpt2) -> None:
    result = batch(trace_text(random_gpt2, ""), decoding=GREEDY)
    assert result.input_ids[0, -1] == 50256
    assert not result.pads[0, -1]
    assert result.pads[0, :-1].all()


def test_lines_are_rows_and_empty_lines_are_none(random_gpt2: Gpt2) -> None:
    trace = trace_text(random_gpt2, TEXT)
    assert batch(trace, others="\n a\n\nb\n", decoding=GREEDY).rows == 3
    assert batch(trace, others="", decoding=GREEDY).rows == 1
    with pytest.raises(Refusal, match="others has 8 lines with a text, but at most 7 fit"):
        batch(trace, others="a\n" * 8)
    with pytest.raises(Refusal, match="Row 1: The text has 151 tokens"):
        batch(trace, others="a b" * 150)


@pytest.mark.parametrize("strategy", ["greedy", "sample"])
def test_the_table_and_the_answer_show_the_record(random_gpt2: Gpt2, strategy: str) -> None:
    decoding = Decoding(strategy, max_new_tokens=5)
    result = batch(trace_text(random_gpt2, TEXT), use_mask=False, decoding=decoding)
    shown = answer(result)
    for name in ("input_ids", "attention_mask", "position_ids", "max_logit_error"):
        assert shown[name] == getattr(result, name).tolist()
    assert shown["outputs"] == [decode(random_gpt2, row) for row in result.output_ids.tolist()]
    assert shown["verdict"] == result.verdict
    assert [one["max_logit_error"] for one in shown["configurations"]] == [
        one.error for one in result.configurations
    ]
    for number, row in enumerate(table(result).rows):
        place, tokens, pads, error, end, written, reason = row
        assert place == number
        assert (tokens, pads) == ((~result.pads[number]).sum(), result.pads[number].sum())
        assert error == result.max_logit_error[number]
        assert end == result.text_end_error[number]
        assert result.shown[number] in written
        assert written.startswith(("=", "≠")) == (strategy == "greedy")
        assert reason == result.finish_reasons[number]


def test_every_cell_of_a_small_batch_is_drawn(random_gpt2: Gpt2) -> None:
    texts = ["Hello dear!", "Today we can go to"]
    result = batch_texts(random_gpt2, texts, padding_side="right", decoding=GREEDY)
    drawing = figure(result)
    shown = words(drawing)
    for cell in ("Hello", "␣dear", "!", "Today", "␣we", "15496", "13674", "50256", "<|endof…"):
        assert cell in shown
    assert shown.count("50256") == result.pads.sum() == 2
    assert "–" not in " ".join(shown)
    hatched = [one for one in drawing.axes[0].patches if one.get_hatch()]
    assert len(hatched) == 3 * result.pads.sum()


def test_wide_matrices_show_both_ends() -> None:
    assert window(MOST_COLUMNS) == list(range(MOST_COLUMNS))
    columns = window(1024)
    assert len(columns) == MOST_COLUMNS
    assert columns[:5] == [0, 1, 2, 3, None]
    assert columns[5:] == list(range(1015, 1024))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_texts_of_all_kinds_can_be_drawn(random_gpt2: Gpt2, dark: bool) -> None:
    texts = [text[:40] for text in (TEXTS if dark else HOSTILE).values() if text][-16:]
    for start in range(0, len(texts), 8):
        result = batch_texts(
            random_gpt2, texts[start : start + 8], decoding=Decoding(max_new_tokens=4, top_k=0)
        )
        save(figure(result, dark=dark))


def test_a_full_context_is_drawn_quickly_and_nothing_is_written(pocket: Gpt2) -> None:
    trace = trace_ids(pocket, list(range(1000, 1000 + pocket.n_positions)))
    result = batch(trace, window=1024)
    assert result.input_ids.shape == (4, pocket.n_positions)
    assert result.outputs == ("",) * 4
    assert result.error("left", True) < 1e-4
    begin = time.process_time()
    drawing = figure(result)
    save(drawing)
    assert time.process_time() - begin < 2
    shown = words(drawing)
    assert any(f"⋯: {pocket.n_positions - MOST_COLUMNS + 1:,} of" in one for one in shown)
    assert any("nothing, for the context is full" in one for one in shown)
    assert any("not computed for so large a batch" in one for one in shown)
    assert "the context is full" in snippet(trace, window=1024)


def test_the_endpoint_takes_texts_and_no_control_of_the_page() -> None:
    names = {control.name for control in INSPECTION.controls}
    assert {"others", "window", "steps", "padding_side", "use_mask", "pad_token"} == names
    assert INSPECTION.of_texts is batch_texts
