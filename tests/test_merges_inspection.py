"""The tab about one word: its record, its ladder, its table, and code that gives the same steps."""

import io
import itertools
import json
import warnings

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from prompts import HOSTILE
from texts import EVERY_THIRD, TEXTS

from gpt2lab.chips import LEFT, RIGHT, WIDTH, inches
from gpt2lab.inspections import merges
from gpt2lab.inspections.merges import ids_merged_word, merged_word, text_merged_word
from gpt2lab.merges_figure import FIRST_RUNGS, LAST_RUNGS, MOST_BYTES, window
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode, readable, token_bytes
from gpt2lab.trace import trace_ids, trace_text

EVERY = {**HOSTILE, **TEXTS}
every_text = pytest.mark.parametrize("text", EVERY.values(), ids=EVERY)
LONG = {
    "one letter": "a" * 1000,
    "base64": "TWFuIGlzIGRpcRpbmdaXNoZWQsIGvdCBvbmxIGJIGhpcyByZWFzbQ" * 17,
    "chinese": "你好世界今天我们去哪里" * 20,
    "signs": "=-+*&^%$#@!" * 40,
    "long tokens": "=" * 800,
}


def drawn(drawing: Figure) -> list[str]:
    return [text.get_text() for text in drawing.axes[0].texts]


def boxes(drawing: Figure) -> list[FancyBboxPatch]:
    return [one for one in drawing.axes[0].patches if isinstance(one, FancyBboxPatch)]


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


def test_pieces_stand_below_what_they_were_made_of(random_gpt2):
    result = text_merged_word(random_gpt2, " banana")
    rows: dict[float, list[FancyBboxPatch]] = {}
    for box in boxes(merges.figure(result)):
        rows.setdefault(box.get_y(), []).append(box)
    assert [len(row) for row in rows.values()] == [len(pieces) for pieces in result.pieces]
    first = next(iter(rows.values()))
    lefts = [box.get_x() for box in first]
    rights = [box.get_x() + box.get_width() for box in first]
    for row, ends in zip(rows.values(), result.ends, strict=True):
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
        rows: dict[float, list[FancyBboxPatch]] = {}
        for box in boxes(drawing):
            rows.setdefault(box.get_y(), []).append(box)
        for row in rows.values():
            assert row[0].get_x() == pytest.approx(LEFT)
            for left, right in itertools.pairwise(row):
                assert left.get_x() + left.get_width() < right.get_x()
        # The last row has each token with bytes in the window, and the ids of those all within.
        spans = list(zip(result.ids, (0, *result.ends[-1]), result.ends[-1], strict=False))
        seen = [one for one in spans if one[1] < part.stop and one[2] > part.start]
        assert len(rows[max(rows)]) == len(seen)
        ids = {str(id) for id in result.ids}
        assert [text for text in drawn(drawing) if text in ids] == [
            str(id) for id, first, last in seen if part.start <= first and last <= part.stop
        ]
        save(drawing)


@pytest.mark.parametrize("text", [*HOSTILE.values(), *EVERY_THIRD.values()])
def test_every_text_draws_within_the_paper_without_a_warning(random_gpt2, text):
    result = text_merged_word(random_gpt2, text, 0)
    drawing = merges.figure(result)
    save(drawing, *(("png",) if text in HOSTILE.values() else ()))
    for text in drawing.axes[0].texts:
        left = text.get_position()[0]
        if text.get_ha() == "left":
            assert left + inches(text.get_text(), text.get_size()) < WIDTH
    assert all(box.get_x() + box.get_width() < RIGHT for box in boxes(drawing))


def test_the_table_reads_like_the_steps(random_gpt2):
    table = merges.table(text_merged_word(random_gpt2, " 🎉"))
    assert table.headers == ("step", "pair", "rank", "times", "pieces", "pieces after it")
    assert table.rows[0] == (0, "", "", "", 5, "␣ \\xf0 \\x9f \\x8e \\x89")
    assert table.rows[1] == (1, "\\xf0 + \\x9f", 8327, 1, 4, "␣ \\xf0\\x9f \\x8e \\x89")
    long = merges.table(text_merged_word(random_gpt2, LONG["base64"]))
    assert max(len(row[-1]) for row in long.rows) == merges.LONGEST_CELL + 1


@pytest.mark.parametrize("text", [*HOSTILE.values(), *EVERY_THIRD.values()])
def test_the_answer_has_every_step(random_gpt2, text):
    result = text_merged_word(random_gpt2, text, 0)
    answer = merges.answer(result)
    assert json.loads(json.dumps(answer)) == answer
    assert answer["word"] == readable(result.word.symbols)
    assert [tuple(step["pieces"]) for step in answer["steps"]] == list(result.pieces[1:])
    assert [step["rank"] for step in answer["steps"]] == list(result.ranks)
    assert answer["tokens"] == random_gpt2.tokenizer.convert_ids_to_tokens(answer["ids"])
    assert b"".join(map(token_bytes, answer["tokens"])) in (text or "<|endoftext|>").encode()


def test_the_examples_are_words_in_which_something_is_joined(random_gpt2):
    found = merges.examples(random_gpt2)
    assert len({one.shows for one in found}) == len(found)
    for one in found:
        assert len(text_merged_word(random_gpt2, one.text, **one.controls).ranks) >= 2
    with_blank = text_merged_word(random_gpt2, found[1].text)
    without = text_merged_word(random_gpt2, found[1].text, **found[1].controls)
    assert with_blank.ids != without.ids
