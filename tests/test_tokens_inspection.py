"""The Tokens tab: bytes, pieces that belong together, round trip, and an honest strip of chips."""

import copy
import dataclasses
import io
import itertools
import warnings

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from prompts import HOSTILE
from texts import EVERY_THIRD, TEXTS
from tokenizers.normalizers import Lowercase

from gpt2lab.chips import LEFT, RIGHT, Chip, wrapped
from gpt2lab.inspections import tokens
from gpt2lab.tokens import character_starts, readable, tokenize
from gpt2lab.trace import trace_ids, trace_text

EVERY = {**HOSTILE, **TEXTS}
every_text = pytest.mark.parametrize("text", EVERY.values(), ids=EVERY)


def drawn(drawing: Figure) -> list[str]:
    return [text.get_text() for text in drawing.axes[0].texts]


def save(drawing: Figure, *kinds: str) -> None:
    """Draw with every warning an error; in few dots, since nobody looks.

    Warnings about letters come when the text is laid out, which without any `kinds` is all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if not kinds:
            drawing.draw_without_rendering()
        for kind in kinds:
            drawing.savefig(io.BytesIO(), format=kind, dpi=30)


def pieces(gpt2, ids: list[int]) -> tokens.TokenPieces:
    return tokens.token_pieces(trace_ids(gpt2, ids))


@every_text
def test_the_bytes_are_those_of_the_text_and_the_ids_lead_back_to_it(random_gpt2, text):
    result = tokens.text_pieces(random_gpt2, text)
    assert bytes.fromhex("".join(result.hex)) == text.encode()
    assert result.text == text
    assert result.round_trip
    assert list(result.ids) == random_gpt2.tokenizer(text).input_ids
    assert [position for group in result.groups for position in group] == list(
        range(len(result.ids))
    )


@every_text
def test_a_group_ends_exactly_where_a_character_does(random_gpt2, text):
    """Decoding the tokens up to a group's end gives the text so far, and within a group a `�`."""
    result = tokens.text_pieces(random_gpt2, text)
    ends = {group.stop for group in result.groups}
    for length in range(1, len(result.ids) + 1):
        begin = bytes.fromhex("".join(result.hex[:length]))
        whole = begin.decode("utf-8", "replace")
        assert (text.startswith(whole) and begin == whole.encode()) == (length in ends)
    shown = "".join(result.read(group) for group in result.groups)
    assert shown == readable("".join(result.tokens))


@every_text
def test_the_endpoint_answers_with_what_tokenize_gives(random_gpt2, text):
    expected = tokenize(random_gpt2, text)
    assert tokens.answer(tokens.text_pieces(random_gpt2, text)) == {
        "ids": list(expected.ids),
        "tokens": list(expected.tokens),
        "shown": list(expected.shown),
        "count": expected.count,
        "limit": 128,
        "round_trip": True,
    }


@pytest.mark.parametrize(
    ("cut", "starts"),
    [
        ([], ()),
        (["a", "b"], (0, 1)),
        (["Hi", "ĠðŁ", "İ", "ī", "!"], (0, 1, 1, 1, 4)),
        (["ðŁ"], (0,)),
        (["ðŁ", "a"], (0, 1)),
        (["İ", "ī"], (0, 1)),
        (["ðŁ", "ðŁ", "İ", "ī"], (0, 1, 1, 1)),
        (["Ã", "©Ã", "©", "x"], (0, 0, 0, 3)),
        (["Ã", "©x", "y"], (0, 0, 2)),
        (["<|endoftext|>", "Ã", "©"], (0, 1, 1)),
    ],
)
def test_pieces_of_a_character_begin_where_it_begins(cut, starts):
    assert character_starts(cut) == starts


def test_the_table_has_a_row_per_token_and_names_the_character_of_each_piece(random_gpt2):
    table = tokens.table(tokens.text_pieces(random_gpt2, "Hi 🎉!"))
    assert table.headers == ("position", "id", "token", "read as", "bytes (hex)", "piece of")
    assert table.rows == (
        (0, 17250, "Hi", "Hi", "48 69", ""),
        (1, 12520, "ĠðŁ", "␣\\xf0\\x9f", "20 f0 9f", "␣🎉 (1 of 3)"),
        (2, 236, "İ", "\\x8e", "8e", "␣🎉 (2 of 3)"),
        (3, 231, "ī", "\\x89", "89", "␣🎉 (3 of 3)"),
        (4, 0, "!", "!", "21", ""),
    )


def test_ids_that_the_tokenizer_would_not_cut_are_told(random_gpt2):
    ids = random_gpt2.tokenizer.convert_tokens_to_ids(["T", "oday"])
    result = pieces(random_gpt2, ids)
    assert result.text == "Today"
    assert result.again == (8888,)
    assert result.kept
    assert not result.round_trip
    assert not tokens.answer(result)["round_trip"]
    said = "no round trip: the same text, but 1 token when it is encoded again"
    assert any(said in text for text in drawn(tokens.figure(result)))
    result = pieces(random_gpt2, random_gpt2.tokenizer.encode("Today"))
    assert result.round_trip
    assert tokens.answer(result)["round_trip"]


def test_a_text_that_the_tokenizer_changes_does_not_come_back(random_gpt2):
    tokenizer = copy.deepcopy(random_gpt2.tokenizer)
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    small = dataclasses.replace(random_gpt2, tokenizer=tokenizer)
    for text, comes_back in (("today", True), ("Today", False)):
        result = tokens.text_pieces(small, text)
        assert result.text == "today"
        assert result.round_trip == comes_back
        assert tokens.answer(result)["round_trip"] == comes_back


@pytest.mark.parametrize(
    ("length", "title"),
    [
        (1, "1 of 128 tokens"),
        (128, "128 of 128 tokens"),
        (131, "131 of 128 tokens: 3 too many to be read at once"),
    ],
)
def test_the_count_stands_against_the_models_limit(random_gpt2, length, title):
    assert title in drawn(tokens.figure(tokens.id_pieces(random_gpt2, [464] * length)))


@every_text
def test_the_snippet_gives_the_tokens_shown(wide_gpt2, text, run_quickly):
    trace = trace_text(wide_gpt2, text)
    result, names = tokens.token_pieces(trace), run_quickly(tokens.snippet(trace))
    assert tuple(names["ids"]) == result.ids
    assert tuple(names["tokens"]) == result.tokens
    assert names["text"] == result.text == (text or "<|endoftext|>")
    assert names["round_trip"] is result.round_trip is True
    assert names["limit"] == result.limit == 1024
    assert f"{len(result.ids)} of 1024 tokens" in names["printed"]


@pytest.mark.parametrize("ids", [[236], [51, 4348], [464, 12520, 236], [236] * 30], ids=str)
def test_the_snippet_of_ids_that_do_not_come_back_says_so(wide_gpt2, ids, run_quickly):
    trace = trace_ids(wide_gpt2, ids)
    names = run_quickly(tokens.snippet(trace))
    assert names["ids"] == ids
    assert tuple(names["again"]) == tokens.token_pieces(trace).again
    assert names["again"] != ids
    assert names["round_trip"] is tokens.token_pieces(trace).round_trip is False


def test_half_a_character_stands_alone(random_gpt2):
    result = pieces(random_gpt2, [464, 12520, 236])
    assert result.starts == (0, 1, 2)
    assert result.text == "The �"
    assert not result.kept
    assert not result.round_trip
    texts = drawn(tokens.figure(result))
    assert {"␣ f0 9f", "8e", "�"} <= set(texts)
    assert texts[-1].endswith("�: bytes that are no character")


def test_the_strip_shows_blanks_ids_and_joined_bytes(random_gpt2):
    drawing = tokens.figure(tokens.text_pieces(random_gpt2, "Today we\n\t🎉 ح é"))
    texts = drawn(drawing)
    for expected in ("Today", "8888", "␣we", "356", "↵", "⇥", "f0 9f", "8e", "89", "U+1F389"):
        assert expected in texts
    assert "U+062D ح" in texts
    assert "␣é" in texts
    assert (
        "15 characters · 20 bytes · round trip: decoded and encoded again, the ids are the same"
        in texts
    )
    assert texts[-1].startswith("left: the position of the row's first token")
    assert "joined" in texts[-1]
    assert "joined" not in drawn(tokens.figure(tokens.text_pieces(random_gpt2, "we")))[-1]


@pytest.mark.parametrize(("length", "shown"), [(1, 1), (200, 200), (201, 200), (500, 200)])
def test_a_long_text_is_cut_and_says_so(pocket, length, shown):
    result = pieces(pocket, [464] * length)
    drawing = tokens.figure(result)
    chips = [patch for patch in drawing.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert len(chips) == shown
    said = f"the first {shown} of {length} are drawn, the table has all"
    assert (said in drawn(drawing)) == (shown < length)
    assert len(tokens.table(result).rows) == length
    assert drawing.get_figheight() < 15


def test_no_character_is_cut_where_the_strip_ends(pocket):
    ids = [464] * (tokens.MOST_CHIPS - 1) + pocket.tokenizer.encode("🎉") + [464] * 5
    texts = drawn(tokens.figure(pieces(pocket, ids)))
    assert f"the first 199 of {len(ids)} are drawn, the table has all" in texts
    assert "8e" not in texts


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_chips_lie_side_by_side_within_the_paper(random_gpt2, dark):
    text = "".join(HOSTILE.values())
    result = tokens.text_pieces(random_gpt2, text)
    drawing = tokens.figure(result, dark=dark)
    save(drawing, "png", "svg")
    rows: dict[float, list[tuple[float, float]]] = {}
    for patch in drawing.axes[0].patches:
        rows.setdefault(patch.get_y(), []).append((patch.get_x(), patch.get_width()))
    for row in rows.values():
        ends = [left + width for left, width in row]
        assert max(ends) <= RIGHT + 1e-9
        assert all(left >= end for (left, _), end in zip(row[1:], ends, strict=False))


def test_a_chip_longer_than_a_row_is_cut():
    texts, ids = ("e4 bd",) * 90, tuple(map(str, range(90)))
    rows = wrapped(
        [Chip(0, ("a",), ("1",)), Chip(1, texts, ids, "U+4F60"), Chip(91, ("b",), ("2",))]
    )
    chips = [chip for row in rows for chip in row]
    assert [id for chip in chips for id in chip.below] == ["1", *ids, "2"]
    assert all(sum(chip.widths) <= RIGHT - LEFT for chip in chips)
    for before, after in itertools.pairwise(chips):
        assert after.position == before.position + len(before.texts)
    assert chips[1].name == "U+4F60"
    assert {chip.name for chip in chips[2:-1]} == {"…"}


@pytest.mark.parametrize("text", [*HOSTILE.values(), *EVERY_THIRD.values()])
def test_every_text_draws_without_a_warning(wide_gpt2, text):
    kinds = ("png", "svg") if text in HOSTILE.values() else ()
    save(tokens.figure(tokens.text_pieces(wide_gpt2, text)), *kinds)


def test_every_token_of_the_vocabulary_can_be_drawn_and_none_looks_empty(random_gpt2):
    for start in range(0, random_gpt2.vocab_size, 128):
        ids = list(range(start, min(start + 128, random_gpt2.vocab_size)))
        described = tokens.id_pieces(random_gpt2, ids)
        for position in range(len(ids)):
            assert tokens._chip_text(described, position).strip()


def test_texts_that_cannot_be_traced_have_tokens_too(random_gpt2):
    assert len(tokens.text_pieces(random_gpt2, "word " * 5000).ids) > 5000
    assert tokens.text_pieces(random_gpt2, "").ids == ()
    assert tokens.table(tokens.text_pieces(random_gpt2, "")).rows == ()
