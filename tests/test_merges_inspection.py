"""The tab about one word: its record, its ladder, its table, and code that gives the same steps."""

import itertools
import json

import pytest
from drawings import boxes, drawn, rows, save
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from pieces import in_hex, is_whole, raw
from prompts import HOSTILE
from texts import EVERY_THIRD, every_text

from gpt2lab.chips import LEFT, RIGHT, SMALL_SIZE, WIDTH, inches
from gpt2lab.figures import label
from gpt2lab.inspections import merges
from gpt2lab.inspections.merges import ids_merged_word, merged_word, text_merged_word
from gpt2lab.ladder import BOX, GAP, MARGIN, TEXT_SIZES
from gpt2lab.merges_figure import FIRST_RUNGS, LAST_RUNGS, MOST_BYTES, window
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode, readable
from gpt2lab.trace import trace_ids, trace_text

LONG = {
    "one letter": "a" * 1000,
    "base64": "TWFuIGlzIGRpcRpbmdaXNoZWQsIGvdCBvbmxIGJIGhpcyByZWFzbQ" * 17,
    "chinese": "你好世界今天我们去哪里" * 20,
    "signs": "=-+*&^%$#@!" * 40,
    "long tokens": "=" * 800,
}


END = 50256


@pytest.fixture(scope="module")
def learned(random_gpt2):
    """Rank of each pair, as the tokenizer itself writes them down."""
    pairs = json.loads(random_gpt2.tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return {tuple(pair): rank for rank, pair in enumerate(pairs, start=1)}


# --- the record and its code ---------------------------------------------------------------------


def test_a_word_step_by_step(random_gpt2):
    result = text_merged_word(random_gpt2, "Say hello!", 1)
    assert result.word.symbols == "Ġhello"
    assert result.pairs == (("h", "e"), ("l", "l"), ("Ġ", "he"), ("Ġhe", "ll"), ("Ġhell", "o"))
    assert result.ranks == (3, 42, 84, 5713, 23493)
    assert [" ".join(pieces) for pieces in result.pieces] == [
        "Ġ h e l l o",
        "Ġ he l l o",
        "Ġ he ll o",
        "Ġhe ll o",
        "Ġhell o",
        "Ġhello",
    ]
    assert result.ids == result.written == (23748,)
    assert result.note == ""
    assert result.joins(1) == (2,)
    assert result.joins(5) == (5,)


@every_text
def test_the_snippet_gives_the_steps_shown(wide_gpt2, text, run_quickly):
    trace = trace_text(wide_gpt2, text)
    position = len(trace) * 2 // 3
    result = merged_word(trace, position)
    names = run_quickly(merges.snippet(trace, position))
    assert tuple(names["pieces"]) == result.pieces
    assert tuple(names["ranks"]) == result.ranks
    assert tuple(names["ids"]) == result.ids == result.written
    assert str(result.pieces[-1]) in names["printed"]
    assert position in result.word.written
    if not result.word.special:
        assert tuple(result.word.symbols) == result.pieces[0]


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_the_snippet_of_a_long_word(wide_gpt2, text, run_quickly):
    trace = trace_text(wide_gpt2, text)
    result, names = merged_word(trace), run_quickly(merges.snippet(trace))
    assert tuple(names["pieces"]) == result.pieces
    assert tuple(names["ranks"]) == result.ranks


@pytest.mark.parametrize("ids", [[236], [51, 4348], [464, 12520, 236], [220, 220, 464]], ids=str)
def test_the_snippet_of_ids_that_no_text_gives(wide_gpt2, ids, run_quickly):
    trace = trace_ids(wide_gpt2, ids)
    for position in range(len(ids)):
        names = run_quickly(merges.snippet(trace, position))
        assert tuple(names["pieces"]) == merged_word(trace, position).pieces
        assert tuple(names["ids"]) == merged_word(trace, position).ids


def test_what_is_unusual_is_said_in_one_sentence(random_gpt2):
    special = text_merged_word(random_gpt2, "The end.<|endoftext|>")
    assert special.pieces == (("<|endoftext|>",),)
    assert special.ids == special.written == (50256,)
    assert special.note.startswith("<|endoftext|> is a special token: it is looked up whole")
    half = ids_merged_word(random_gpt2, [464, 12520, 236])
    assert half.pieces[-1] == ("ĠðŁ", "İ")
    assert half.note.startswith("Some of these bytes are no whole character")
    otherwise = ids_merged_word(random_gpt2, [51, 4348])
    assert (otherwise.ids, otherwise.written) == ((8888,), (51, 4348))
    assert otherwise.note.startswith("The text has other tokens here")
    for result in (special, half, otherwise):
        assert result.note in drawn(merges.figure(result))
        assert merges.answer(result)["note"] == result.note


def test_an_empty_text_is_the_beginning_of_text_token(random_gpt2):
    assert text_merged_word(random_gpt2, "").word.special
    assert merged_word(trace_text(random_gpt2, "")).word.special


def test_a_text_longer_than_the_context_has_words_too(random_gpt2):
    text = " the" * 300 + " end"
    assert text_merged_word(random_gpt2, text).word.symbols == "Ġend"
    assert text_merged_word(random_gpt2, text, 299).word.symbols == "Ġthe"
    with pytest.raises(Refusal, match=r"^position is 301, but must be a whole number from -301 to"):
        text_merged_word(random_gpt2, text, 301)


# --- what is seen --------------------------------------------------------------------------------


def test_the_ladder_shows_bytes_steps_ranks_and_ids(random_gpt2):
    texts = drawn(merges.figure(text_merged_word(random_gpt2, "Say hello!", 1)))
    assert texts[0] == "␣hello:  6 bytes → 5 steps → 1 token"
    assert "the word in which the token at position 1 begins" in texts
    for expected in ("bytes", "␣", "h", "he", "ll", "␣he", "␣hell", "␣hello", "23748"):
        assert expected in texts
    ranks = [text for text in texts if text.startswith("rank ")]
    assert ranks == ["rank 3", "rank 42", "rank 84", "rank 5,713", "rank 23,493"]


def test_bytes_are_hex_until_they_are_a_character(random_gpt2):
    texts = drawn(merges.figure(text_merged_word(random_gpt2, "é🎉", 0)))
    assert {"c3", "a9", "é"} <= set(texts)
    texts = drawn(merges.figure(text_merged_word(random_gpt2, "🎉")))
    assert {"f0", "9f", "8e", "89", "f0 9f"} <= set(texts)
    # What has no shape would be a code point, for which one byte has no room.
    assert {"07", "1b"} <= set(drawn(merges.figure(text_merged_word(random_gpt2, "\x07\x1b"))))


def test_pieces_stand_below_what_they_were_made_of(random_gpt2):
    result = text_merged_word(random_gpt2, " banana")
    rungs = list(rows(merges.figure(result)).values())
    assert [len(row) for row in rungs] == [len(pieces) for pieces in result.pieces]
    first = rungs[0]
    lefts = [box.get_x() for box in first]
    rights = [box.get_x() + box.get_width() for box in first]
    for row, ends in zip(rungs, result.ends, strict=True):
        for box, begin, end in zip(row, (0, *ends), ends, strict=False):
            assert box.get_x() == pytest.approx(lefts[begin])
            assert box.get_x() + box.get_width() == pytest.approx(rights[end - 1])


def test_a_step_in_several_places_says_so(random_gpt2):
    result = text_merged_word(random_gpt2, "a" * 1000)
    assert "rank 6,997 (500 times)" in drawn(merges.figure(result))
    assert [row[3] for row in merges.table(result).rows] == ["", 500, 250]


def test_what_is_left_out_is_counted(random_gpt2):
    result = text_merged_word(random_gpt2, " antidisestablishmentarianism")
    texts = drawn(merges.figure(result))
    left_out = len(result.pieces) - FIRST_RUNGS - LAST_RUNGS
    assert f"{left_out} steps are not drawn, the table has them" in texts
    shown = [text for text in texts if text.startswith("rank ")]
    ranks = [*result.ranks[: FIRST_RUNGS - 1], *result.ranks[-LAST_RUNGS:]]
    assert [text.split()[1] for text in shown] == [f"{rank:,}" for rank in ranks]
    assert len(merges.table(result).rows) == len(result.pieces)


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_long_word_is_drawn_around_the_token(random_gpt2, text):
    for position in (0, len(encode(random_gpt2, text)) // 2):
        result = text_merged_word(random_gpt2, text, position)
        part = window(result)
        assert len(part) == MOST_BYTES
        assert part.start <= result.word.offset < part.stop
        drawing = merges.figure(result, dark=position > 0)
        said = f"drawn: bytes {part.start:,} to {part.stop - 1:,}, and the steps that join them"
        assert said in drawn(drawing)
        assert drawing.get_figheight() < 9
        rungs = rows(drawing)
        for row in rungs.values():
            assert row[0].get_x() == pytest.approx(LEFT)
            for left, right in itertools.pairwise(row):
                assert left.get_x() + left.get_width() < right.get_x()
        # The last row has each token with bytes in the window, and the ids of those all within.
        spans = list(zip(result.ids, (0, *result.ends[-1]), result.ends[-1], strict=False))
        seen = [one for one in spans if one[1] < part.stop and one[2] > part.start]
        assert len(rungs[max(rungs)]) == len(seen)
        ids = {str(id) for id in result.ids}
        assert [text for text in drawn(drawing) if text in ids] == [
            str(id) for id, first, last in seen if part.start <= first and last <= part.stop
        ]
        save(drawing)


def at(x: float, y: float) -> tuple[float, float]:
    return round(x, 3), round(y, 3)


def assert_piece(box: FancyBboxPatch, shown: str, piece: str) -> None:
    """In the box stands the piece as it is read, or its bytes in hex, or nothing if none fits."""
    room, hex = box.get_width() - MARGIN + 1e-9, raw(piece).hex(" ")
    read = label(readable(piece)) if is_whole(piece) else hex
    if piece.isascii() and piece.isprintable():
        assert read == label(piece)
    if inches(read, TEXT_SIZES[-1]) <= room and is_whole(piece):
        assert shown == read
    elif shown:
        assert hex in (shown, in_hex(shown))
    else:
        assert inches(hex, TEXT_SIZES[-1]) > room


def assert_rungs(
    result: merges.Merges, drawing: Figure, tokens: list[str], ids: list[int], ranks: dict
) -> None:
    """From the bytes to the tokens: each piece, below the last ones the ids, at the right ranks."""
    shown = {at(*text.get_position()): text.get_text() for text in drawing.axes[0].texts}
    part, rungs = window(result), rows(drawing)
    for top, rung in rungs.items():
        name = shown[at(LEFT - 0.14, top + BOX / 2)]
        step = 0 if name == "bytes" else int(name)
        pieces = tuple(tokens) if top == max(rungs) else result.pieces[step]
        if not step:
            assert result.pieces[0] == tuple("".join(tokens))
        else:
            rank = next(
                text
                for (_, y), text in shown.items()
                if text.startswith("rank ") and y == round(top + BOX / 2, 3)
            )
            assert rank.split()[1] == f"{ranks[result.pairs[step - 1]]:,}"
        ends = list(itertools.accumulate(map(len, pieces)))
        spans = [
            one
            for one in zip(range(len(ends)), (0, *ends), ends, strict=False)
            if one[1] < part.stop and one[2] > part.start
        ]
        for box, (place, begin, end) in zip(rung, spans, strict=True):
            middle = box.get_x() + box.get_width() / 2
            if begin < part.start or end > part.stop:
                assert shown[at(middle, top + BOX / 2 + 0.005)] in {"…", ""}
                continue
            assert_piece(box, shown[at(middle, top + BOX / 2 + 0.005)], pieces[place])
            if top == max(rungs):
                id, size = str(ids[place]), SMALL_SIZE - 0.5
                fits = inches(id, size) <= box.get_width() + GAP + 1e-9
                assert shown.get(at(middle, top + BOX + 0.08), "") == (id if fits else "")


@every_text
def test_the_ladder_shows_every_piece_and_the_tokenizers_ids(random_gpt2, learned, text):
    """Of the first word and of one in the middle; within the paper, and without a warning."""
    tokenizer = random_gpt2.tokenizer
    ids = tokenizer(text).input_ids or [tokenizer.bos_token_id]
    words = tokenizer.backend_tokenizer.encode(text).word_ids
    for position in sorted({0, len(ids) // 2}):
        result = text_merged_word(random_gpt2, text, position)
        drawing = merges.figure(result, dark=position > 0)
        if result.word.special:
            assert ids[position] == END
            assert {"<|endoftext|>", str(END)} <= set(drawn(drawing))
        else:
            own = [id for id, word in zip(ids, words, strict=True) if word == words[position]]
            tokens = tokenizer.convert_ids_to_tokens(own)
            assert_rungs(result, drawing, tokens, own, learned)
        for one in drawing.axes[0].texts:
            if one.get_ha() == "left":
                assert one.get_position()[0] + inches(one.get_text(), one.get_size()) < WIDTH
        assert all(box.get_x() + box.get_width() < RIGHT for box in boxes(drawing))
    if text in HOSTILE.values():
        save(drawing, "png")
    elif text in EVERY_THIRD.values():
        save(drawing)


def test_the_table_reads_like_the_steps(random_gpt2):
    table = merges.table(text_merged_word(random_gpt2, " 🎉"))
    assert table.headers == ("step", "pair", "rank", "times", "pieces", "pieces after it")
    assert table.rows[0] == (0, "", "", "", 5, "␣ \\xf0 \\x9f \\x8e \\x89")
    assert table.rows[1] == (1, "\\xf0 + \\x9f", 8327, 1, 4, "␣ \\xf0\\x9f \\x8e \\x89")
    long = merges.table(text_merged_word(random_gpt2, LONG["base64"]))
    assert max(len(row[-1]) for row in long.rows) == merges.LONGEST_CELL + 1


@every_text
def test_the_answer_and_the_table_have_every_step(random_gpt2, learned, text):
    result = text_merged_word(random_gpt2, text, 0)
    answer = merges.answer(result)
    assert json.loads(json.dumps(answer)) == answer
    assert answer["word"] == readable(result.word.symbols)
    assert [tuple(step["pieces"]) for step in answer["steps"]] == list(result.pieces[1:])
    assert [step["rank"] for step in answer["steps"]] == [
        learned[tuple(step["pair"])] for step in answer["steps"]
    ]
    ids = random_gpt2.tokenizer(text).input_ids or [END]
    assert answer["ids"] == answer["written"] == ids[: len(answer["ids"])]
    assert answer["tokens"] == random_gpt2.tokenizer.convert_ids_to_tokens(answer["ids"])
    assert (text or "<|endoftext|>").encode().startswith(b"".join(map(raw, answer["tokens"])))
    first, *rows = merges.table(result).rows
    assert first[:5] == (0, "", "", "", len(result.pieces[0]))
    before = first[4]
    for number, (row, step) in enumerate(zip(rows, answer["steps"], strict=True), start=1):
        after = len(step["pieces"])
        assert row[:5] == (
            number, " + ".join(map(readable, step["pair"])), step["rank"], before - after, after,
        )  # fmt: skip
        read = " ".join(map(readable, step["pieces"]))
        assert row[5] == (read if len(read) <= 300 else f"{read[:300]}…")
        before = after


def test_the_examples_are_words_in_which_something_is_joined(random_gpt2):
    found = merges.examples(random_gpt2)
    assert len({one.shows for one in found}) == len(found)
    for one in found:
        assert len(text_merged_word(random_gpt2, one.text, **one.controls).ranks) >= 2
    with_blank = text_merged_word(random_gpt2, found[1].text)
    without = text_merged_word(random_gpt2, found[1].text, **found[1].controls)
    assert with_blank.ids != without.ids
