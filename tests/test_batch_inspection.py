"""The batch inspection: its figure, table and JSON show the record, for texts of any kind."""

import functools
import itertools
import time

import numpy as np
import pytest
import torch
from drawings import save
from matplotlib.figure import Figure
from prompts import HOSTILE
from student import run
from texts import TEXTS
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerBase, set_seed

from gpt2lab.batch_comparison import BatchComparison
from gpt2lab.batches import MOST_ROWS, SIDES, checked_rows, pad
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
from gpt2lab.tokens import decode, readable
from gpt2lab.trace import trace_ids, trace_text

GREEDY = Decoding("greedy", max_new_tokens=5)
TEXT = "Once upon a time, there was a little girl"
END = 50256
LOGITS = 1e-4
"""Largest difference of logits that are computed in two right ways: absolute."""
BROKEN = 1e-2


def words(drawing: Figure) -> list[str]:
    """Everything that is written in a figure."""
    return [text.get_text() for axes in drawing.axes for text in axes.texts]


# --- against plain transformers, on every text ---------------------------------------------------

LINES_LAST = sorted(
    (text for name, text in TEXTS.items() if text and name != "1,024 tokens"),
    key=lambda text: "\n" not in text,
)
GROUPS = -(-len(LINES_LAST) // MOST_ROWS)
ROWS = [
    [first, *LINES_LAST[GROUPS + number :: GROUPS]]
    for number, first in enumerate(LINES_LAST[:GROUPS])
]
"""Up to eight texts a time, of which the first alone may have more than one line."""


class Plain:
    """What transformers alone gives for some rows of ids, padded in one way."""

    def __init__(self, gpt2: Gpt2, pad_token: str) -> None:
        self.tokenizer = tokenizer_of(gpt2.path)
        # A tokenizer that pads with "!" would look it up whole when it cuts a text.
        self.padding = tokenizer_of(gpt2.path, "!" if pad_token == "id 0" else "<|endoftext|>")
        self.model = GPT2LMHeadModel.from_pretrained(gpt2.path, dtype=torch.float32).eval()

    def padded(self, rows: list[list[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self.padding.pad({"input_ids": rows}, padding_side=side, return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"]

    @torch.no_grad()
    def last(self, ids: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        return self.model(ids, **more, logits_to_keep=1).logits[:, -1]

    def alone(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.cat([self.last(torch.tensor([row])) for row in rows])

    def errors(
        self, rows: list[list[int]], side: str, mask: bool, counted: bool = True
    ) -> np.ndarray:
        """Of each row, in the last column."""
        ids, given = self.padded(rows, side)
        more = {"attention_mask": given} if mask else {}
        if mask and counted:
            more["position_ids"] = positions_of(given)
        return (self.last(ids, **more) - self.alone(rows)).abs().amax(-1).numpy()

    def written(self, ids: torch.Tensor, decoding: Decoding, **more: torch.Tensor) -> torch.Tensor:
        set_seed(decoding.seed)
        new = self.model.generate(ids, **more, **decoding.generate_arguments())
        return new[:, ids.shape[1] :]


@functools.cache
def tokenizer_of(path: str, pad_token: str | None = None) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(path, pad_token=pad_token)


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)


@pytest.mark.parametrize(
    ("side", "mask", "token"),
    [
        ("left", True, "eos"),
        ("left", False, "id 0"),
        ("right", True, "id 0"),
        ("right", False, "eos"),
    ],
)
def test_every_text_in_a_batch_is_what_transformers_gives(
    wide_gpt2: Gpt2, side: str, mask: bool, token: str
) -> None:
    """Record, table, JSON, picture and code; greedy with a mask, drawn without one."""
    plain = Plain(wide_gpt2, token)
    decoding = Decoding("greedy" if mask else "sample", max_new_tokens=3, seed=5)
    for number, texts in enumerate(ROWS):
        rows = [plain.tokenizer(text).input_ids for text in texts]
        ids, given = plain.padded(rows, side)
        read = given if mask else torch.ones_like(given)
        controls = {
            "others": "\n".join(texts[1:]), "padding_side": side, "use_mask": mask,
            "pad_token": token, "window": 1024, "decoding": decoding,
        }  # fmt: skip
        trace = trace_text(wide_gpt2, texts[0])
        result = batch(trace, **controls)
        assert np.array_equal(result.input_ids, ids)
        assert np.array_equal(result.attention_mask, read)
        assert np.array_equal(result.position_ids, positions_of(read))
        assert np.array_equal(result.pads, given == 0)
        expected = plain.errors(rows, side, mask)
        assert_close(result.max_logit_error, expected)
        padded = np.array([len(row) < ids.shape[1] for row in rows])
        assert padded.sum() >= len(rows) - 2
        if side == "left" and mask:
            assert expected.max() < LOGITS
            assert result.wrong == ()
        else:
            assert expected[padded].min() > BROKEN
            assert result.wrong == tuple(np.flatnonzero(padded))
        if side == "right":
            assert result.text_end_error.max() < LOGITS
        else:
            assert np.array_equal(result.text_end_error, result.max_logit_error)
        more = {"attention_mask": given} if mask else {}
        new = plain.written(ids, decoding, **more)
        assert np.array_equal(result.output_ids, new)
        assert_shown(plain, result, rows, new, decoding)
        # Each picture in one of the four ways.
        if number % 4 == 2 * (side == "left") + mask:
            configurations = {
                (a_side, a_mask, counted): plain.errors(rows, a_side, a_mask, counted).max()
                for a_side in SIDES
                for a_mask, counted in ((True, True), (True, False), (False, True))
            }
            assert_drawn(plain, result, expected, configurations)
        # The code in two of the ways.
        if number % 2 == (side == "left"):
            names = run(snippet(trace, **controls))
            for name in INSPECTION.reproduces:
                if name == "max_logit_error":
                    assert_close(names[name].numpy(), expected)
                else:
                    assert np.array_equal(names[name], getattr(result, name)), name


def test_a_text_of_1024_tokens_in_a_batch(wide_gpt2: Gpt2) -> None:
    """Of the whole context nothing can be written behind it; of all but three tokens, three."""
    plain = Plain(wide_gpt2, "eos")
    long = plain.tokenizer(TEXTS["1,024 tokens"]).input_ids
    short = plain.tokenizer(TEXTS["skin tones"]).input_ids
    decoding = Decoding("greedy", max_new_tokens=8)
    for side, mask, count in (("left", True, 1024), ("right", False, 1024), ("left", False, 1021)):
        rows = [long[:count], short]
        ids, given = plain.padded(rows, side)
        trace = trace_ids(wide_gpt2, rows[0])
        controls = {
            "others": TEXTS["skin tones"], "padding_side": side, "use_mask": mask, "window": 1024,
            "decoding": decoding,
        }  # fmt: skip
        result = batch(trace, **controls)
        assert result.cut == 0
        assert result.input_ids.shape == (2, count)
        assert np.array_equal(result.input_ids, ids)
        expected = plain.errors(rows, side, mask)
        assert_close(result.max_logit_error, expected)
        assert expected[0] < LOGITS
        assert (expected[1] < LOGITS) == (side == "left" and mask)
        if count == 1024:
            assert result.output_ids.shape == (2, 0)
            assert result.outputs == ("", "")
            new = torch.empty((2, 0), dtype=torch.long)
        else:
            more = {"attention_mask": given} if mask else {}
            new = plain.written(ids, Decoding("greedy", max_new_tokens=3), **more)
            assert np.array_equal(result.output_ids, new)
            names = run(snippet(trace, **controls))
            assert_close(names["max_logit_error"].numpy(), expected)
            assert np.array_equal(names["output_ids"], new)
        assert_shown(plain, result, rows, new, decoding)
        configurations = {
            (one.padding_side, one.use_mask, one.counted): plain.errors(
                rows, one.padding_side, one.use_mask, one.counted
            ).max()
            for one in result.configurations
        }
        assert_drawn(plain, result, expected, configurations)


def assert_close(shown: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(shown, expected, rtol=0, atol=LOGITS)


def assert_shown(
    plain: Plain,
    result: BatchComparison,
    rows: list[list[int]],
    new: torch.Tensor,
    decoding: Decoding,
) -> None:
    """Table and JSON against the rows and what `generate` wrote behind them."""
    shown = answer(result)
    for name in ("input_ids", "attention_mask", "position_ids", "max_logit_error"):
        assert shown[name] == getattr(result, name).tolist()
    assert shown["text_end_error"] == result.text_end_error.tolist()
    for row, cells in enumerate(table(result).rows):
        ids = new[row].tolist()
        count = ids.index(END) + 1 if END in ids else len(ids)
        assert shown["outputs"][row] == plain.tokenizer.decode(
            ids[:count], skip_special_tokens=True
        )
        mark = ""
        if decoding.strategy == "greedy" and ids:
            limit = Decoding("greedy", max_new_tokens=len(ids))
            alone = plain.written(torch.tensor([rows[row]]), limit)[0].tolist()
            pairs = zip(ids[:count], alone, strict=False)
            same = next((at for at, (one, other) in enumerate(pairs) if one != other), count)
            mark = "= " if same == count else f"≠ from token {same + 1}: "
        written = "".join(map(readable, plain.tokenizer.convert_ids_to_tokens(ids[:count])))
        assert cells == (
            row,
            len(rows[row]),
            result.input_ids.shape[1] - len(rows[row]),
            float(result.max_logit_error[row]),
            float(result.text_end_error[row]),
            mark + written,
            "eos" if END in ids else "length",
        )


def assert_drawn(
    plain: Plain,
    result: BatchComparison,
    errors: np.ndarray,
    configurations: dict[tuple[str, bool, bool], float],
) -> None:
    """Every cell and number in the picture; those that are rounded have two digits."""
    drawing = figure(result)
    save(drawing)
    axes, bars = drawing.axes
    shown = [text.get_text() for text in axes.texts]
    columns = window(result.input_ids.shape[1])
    names = ("input_ids", "attention_mask", "position_ids")
    for name in names:
        title = next(text for text in shown if text.startswith(name))
        shown = shown[shown.index(title) + 1 :]
        for row, numbers in enumerate(getattr(result, name).tolist()):
            assert shown.pop(0) == str(row)
            for column in columns:
                cell = shown.pop(0)
                if column is None:
                    assert cell == "⋯"
                elif name == "input_ids":
                    token = plain.tokenizer.decode([numbers[column]])
                    if token.isascii() and token.isprintable() and len(token) <= 8:
                        assert cell == token.replace(" ", "␣")
                    assert shown.pop(0) == str(numbers[column])
                else:
                    assert cell == str(numbers[column])
    cells = [patch for patch in axes.patches if patch.get_fill()]
    each = result.rows * len(columns)
    assert len(cells) == 3 * each
    colours: dict[int, set] = {0: set(), 1: set()}
    for patch, (row, column) in zip(
        cells[each : 2 * each], itertools.product(range(result.rows), columns), strict=True
    ):
        if column is not None:
            colours[result.attention_mask[row, column]].add(patch.get_facecolor())
            assert bool(patch.get_hatch()) == result.pads[row, column]
    assert all(len(one) <= 1 for one in colours.values())
    assert not colours[0] & colours[1]
    assert [rounded(text.get_text()) for text in bars.texts] == [
        pytest.approx(error, rel=0.06, abs=LOGITS) for error in errors
    ]
    for bar, error in zip(bars.patches, errors, strict=True):
        assert bar.get_x() + bar.get_width() == pytest.approx(
            max(error, 1e-7), rel=1e-2, abs=LOGITS
        )
    assert_configurations(result, shown, configurations)
    assert_claims(result, drawing)


def rounded(text: str) -> float:
    return float(text.replace("−", "-"))


def assert_configurations(
    result: BatchComparison, shown: list[str], expected: dict[tuple[str, bool, bool], float]
) -> None:
    """The grid of all ways, and the same in the JSON; the batch's own way is marked."""
    names = {
        "generate with the mask": (True, True),
        "model(ids, mask), no positions": (True, False),
        "no mask": (False, True),
    }
    for name, (mask, counted) in names.items():
        begin = shown.index(name) + 1
        for side, cell in zip(SIDES, shown[begin : begin + 2], strict=True):
            error = expected[side, mask, counted]
            way = (side, mask, counted)
            assert cell.endswith(" ◂") == (way == (result.padding_side, result.use_mask, True))
            sign, number, *_ = cell.split()
            assert sign == ("✓" if error <= LOGITS else "✗")
            assert rounded(number) == pytest.approx(error, rel=0.06, abs=LOGITS)
    answered = {
        (one["padding_side"], one["use_mask"], one["positions_counted"]): one["max_logit_error"]
        for one in answer(result)["configurations"]
    }
    assert answered == {way: pytest.approx(one, abs=LOGITS) for way, one in expected.items()}


def assert_claims(result: BatchComparison, drawing: Figure) -> None:
    """Two columns of lines, the one under its title, the other under another one."""
    texts = drawing.axes[0].texts
    columns = {
        title: next(text.get_position() for text in texts if text.get_text().startswith(title))
        for title in ("often said", "what holds")
    }
    for title, expected in zip(columns, zip(*result.claims, strict=True), strict=True):
        left, top = columns[title]
        lines = [
            text.get_text()
            for text in texts
            if text.get_position()[0] == left and text.get_position()[1] > top
        ]
        assert " ".join(lines) == " ".join(expected)


# --- what is shown -------------------------------------------------------------------------------


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


def test_hostile_texts_can_be_drawn(random_gpt2: Gpt2) -> None:
    texts = [text[:40] for text in HOSTILE.values()]
    for start in (0, 8):
        result = batch_texts(random_gpt2, texts[start : start + 8], decoding=GREEDY)
        save(figure(result, dark=True), "png")


def test_a_full_context_is_drawn_quickly_and_nothing_is_written(pocket: Gpt2) -> None:
    trace = trace_ids(pocket, list(range(1000, 1000 + pocket.n_positions)))
    result = batch(trace, window=1024)
    assert result.input_ids.shape == (4, pocket.n_positions)
    assert result.outputs == ("",) * 4
    assert result.error("left", True) < 1e-4
    begin = time.process_time()
    drawing = figure(result)
    save(drawing, "png")
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
