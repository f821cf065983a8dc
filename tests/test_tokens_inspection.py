"""The Tokens tab: bytes, pieces that belong together, round trip, and an honest strip of chips."""

import copy
import dataclasses
import itertools
import re
from random import Random

import pytest
from drawings import drawn, rows, save
from matplotlib.figure import Figure
from pieces import in_hex, is_whole, raw
from prompts import HOSTILE
from texts import EVERY_THIRD, every_text
from tokenizers.normalizers import Lowercase

from gpt2lab.chips import LEFT, MOST_CHIPS, RIGHT, SMALL_SIZE, TEXT_SIZE, Chip, window, wrapped
from gpt2lab.figures import label
from gpt2lab.inspections import tokens
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import character_starts, encode, readable, tokenize
from gpt2lab.trace import trace_ids, trace_text


def pieces_of(gpt2, ids: list[int]) -> tokens.TokenPieces:
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


@every_text
def test_the_table_has_the_tokenizers_tokens_and_their_bytes(random_gpt2, text):
    tokenizer = random_gpt2.tokenizer
    ids = tokenizer(text).input_ids
    strings = tokenizer.convert_ids_to_tokens(ids)
    rows = tokens.table(tokens.text_pieces(random_gpt2, text)).rows
    assert [row[:3] for row in rows] == list(zip(range(len(ids)), ids, strings, strict=True))
    assert [row[4] for row in rows] == [raw(string).hex(" ") for string in strings]
    for _, id, _, shown, _, piece_of in rows:
        decoded = tokenizer.decode([id], clean_up_tokenization_spaces=False)
        if decoded.isascii() and decoded.isprintable():
            assert shown == decoded.replace(" ", "␣")
        assert bool(piece_of) == ("�" in decoded and decoded not in text)
    together = [row[5] for row in rows if row[5]]
    assert len(together) == sum(map(len, joined(text, [raw(string) for string in strings])))


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
    result = pieces_of(random_gpt2, ids)
    assert result.text == "Today"
    assert result.again == (8888,)
    assert result.kept
    assert not result.round_trip
    assert not tokens.answer(result)["round_trip"]
    said = "no round trip: the same text, but 1 token when it is encoded again"
    assert any(said in text for text in drawn(tokens.figure(result)))
    result = pieces_of(random_gpt2, random_gpt2.tokenizer.encode("Today"))
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
    result = pieces_of(random_gpt2, [464, 12520, 236])
    assert result.starts == (0, 1, 2)
    assert result.text == "The �"
    assert not result.kept
    assert not result.round_trip
    texts = drawn(tokens.figure(result))
    assert {"␣ f0 9f", "8e", "�"} <= set(texts)
    assert texts[-1].endswith("�: bytes that are no character")
    # The character that often stands for such bytes is one itself.
    texts = drawn(tokens.figure(tokens.text_pieces(random_gpt2, "a\ufffdb")))
    assert "�" in texts
    assert not any("bytes that are" in text for text in texts)


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


@pytest.mark.parametrize(
    ("length", "position", "first", "last"),
    [
        (1, -1, 0, 0),
        (121, -1, 1, 120),
        (1234, 0, 0, 119),
        (1234, 600, 540, 659),
        (1234, -1, 1114, 1233),
    ],
)
def test_of_a_long_text_the_tokens_around_the_position_are_drawn(
    pocket, length, position, first, last
):
    ids = [1000 + place for place in range(length)]
    result = tokens.id_pieces(pocket, ids, position)
    drawing = tokens.figure(result)
    assert [int(id) for id in written(drawing).ids] == ids[first : last + 1]
    said = f"drawn: {first:,} to {last:,}, the table has all"
    assert (said in drawn(drawing)) == (length > MOST_CHIPS)
    assert any("the table has all" in text for text in drawn(drawing)) == (length > MOST_CHIPS)
    assert [row[1] for row in tokens.table(result).rows] == ids
    assert drawing.get_figheight() < 15


def test_a_position_that_the_text_has_not_is_refused(random_gpt2):
    for position in (-3, 2, 1.5, "1", None, True):
        with pytest.raises(Refusal, match=r"^position is .* but must be a whole number from -2 to"):
            tokens.id_pieces(random_gpt2, encode(random_gpt2, " the end"), position)
    for position in (-1, 0):
        assert tokens.id_pieces(random_gpt2, [], position).ids == ()


@pytest.mark.parametrize("seed", range(8))
def test_the_window_has_the_position_and_whole_characters(seed):
    """About 40 of 300 tokens, of which up to six make up characters together."""
    random = Random(seed)
    groups, count = [], 0
    while count < 300:
        stop = count + random.randint(1, 6)
        groups.append(range(count, stop))
        count = stop
    for position in range(count):
        shown = window(groups, position, 40)
        begin = groups.index(shown[0])
        assert shown == groups[begin : begin + len(shown)]
        assert shown[0].start <= position < shown[-1].stop
        assert 40 <= sum(map(len, shown)) <= 40 + 2 * 5
        before, after = position - shown[0].start, shown[-1].stop - 1 - position
        assert before >= 14 or shown[0].start == 0
        assert after >= 13 or shown[-1].stop == count
    assert window(groups, 3, count) == groups
    assert window([], 0, 40) == []


def test_of_a_character_in_very_many_tokens_a_part_is_drawn(pocket):
    """In this text, each token but the ends completes a character and begins the next one."""
    result = tokens.id_pieces(pocket, encode(pocket, "橶" * 300), 150)
    assert len(result.groups) == 1
    assert [len(part) for part in window(result.groups, 150, 40)] == [50]
    drawing = tokens.figure(result)
    shown = written(drawing)
    # A quarter of 120 before the 120 around the position, which begin at 90, and one behind them.
    assert [int(id) for id in shown.ids] == list(result.ids[60:210])
    # It begins with the rest of a character.
    assert shown.names[0] == "  ".join(["�", *["U+6A76"] * (tokens.MOST_NAMED - 1), "…"])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_chips_lie_side_by_side_within_the_paper(random_gpt2, dark):
    text = "".join(HOSTILE.values())
    result = tokens.text_pieces(random_gpt2, text)
    drawing = tokens.figure(result, dark=dark)
    save(drawing, "png", "svg")
    for row in rows(drawing).values():
        ends = [box.get_x() + box.get_width() for box in row]
        assert max(ends) <= RIGHT + 1e-9
        assert all(box.get_x() >= end for box, end in zip(row[1:], ends, strict=False))


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


@dataclasses.dataclass
class Written:
    """What is written in a strip: in the chips, below and above them, and at the rows' left."""

    pieces: list[str]
    ids: list[str]
    names: list[str]
    positions: list[tuple[int, int]]
    """The position written at each row, and how many ids stand in the rows above it."""


def written(drawing: Figure) -> Written:
    found = Written([], [], [], [])
    for text in drawing.axes[0].texts[3:-1]:
        shown, kind = text.get_text(), (text.get_ha(), text.get_size())
        if kind == ("right", SMALL_SIZE):
            found.positions.append((int(shown.replace(",", "")), len(found.ids)))
        elif kind == ("center", TEXT_SIZE):
            found.pieces.append(shown)
        elif kind == ("center", SMALL_SIZE):
            found.ids.append(shown)
        elif shown:
            found.names.append(shown)
    return found


def joined(text: str, pieces: list[bytes]) -> list[list[bytes]]:
    """Those of the pieces that make up characters together."""
    borders = set(itertools.accumulate(len(one.encode()) for one in text))
    found: list[list[bytes]] = [[]]
    for piece, end in zip(pieces, itertools.accumulate(map(len, pieces)), strict=True):
        found[-1].append(piece)
        if end in borders:
            found.append([])
    return [group for group in found if len(group) > 1]


def code_points(group: list[bytes]) -> list[str]:
    return [f"{ord(one):04X}" for one in b"".join(group).decode() if one > "\x7f"]


@every_text
def test_every_chip_says_what_the_tokenizer_gives(wide_gpt2, text):
    """Ids, pieces, bytes in hex, names of characters, and positions; and it can be drawn."""
    ids = wide_gpt2.tokenizer(text).input_ids
    windows = {-1: (max(0, len(ids) - MOST_CHIPS), len(ids))}
    if len(ids) > 1000:
        windows |= {0: (0, 120), 500: (440, 560)}
    for position, (begin, end) in windows.items():
        drawing = tokens.figure(tokens.id_pieces(wide_gpt2, ids, position))
        shown = written(drawing)
        assert shown.ids == [str(id) for id in ids[begin:end]]
        assert all(place == begin + count for place, count in shown.positions)
        strings = wide_gpt2.tokenizer.convert_ids_to_tokens(ids[begin:end])
        for piece, string, id in zip(shown.pieces, strings, ids[begin:end], strict=True):
            decoded = wide_gpt2.tokenizer.decode([id], clean_up_tokenization_spaces=False)
            if not is_whole(string):
                assert in_hex(piece) == raw(string).hex(" ")
            elif decoded.isascii() and decoded.isprintable() and len(decoded) <= 16:
                assert piece == decoded.replace(" ", "␣")
            else:
                assert piece == label(readable(string))
        if not begin and end == len(ids):
            points = [re.findall(r"U\+(\w+)", name) for name in shown.names]
            groups = joined(text, [raw(string) for string in strings])
            assert points == [code_points(group) for group in groups]
    if text in HOSTILE.values():
        save(drawing, "png", "svg")
    elif text in EVERY_THIRD.values():
        save(drawing)


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
