"""Padding, passes and continuations of a batch are those of plain transformers."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerBase, set_seed

from gpt2lab.batch_comparison import WITHIN, BatchComparison, _tolerance, compare
from gpt2lab.batches import (
    MOST_WRITTEN,
    PAD_TOKENS,
    SIDES,
    PaddedBatch,
    checked_rows,
    checked_work,
    end_logits,
    fitted,
    last_logits,
    pad,
    same_as_alone,
    write,
)
from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode
from gpt2lab.trace import trace_ids, trace_text

LOGITS = 1e-4
"""Largest difference of logits that are computed in two right ways: absolute."""
BROKEN = 1e-2
ONE_TOKEN = Decoding("greedy", max_new_tokens=1)
THREE = ["Hello dear!", "Today we can go to", "The old man sat by the fire and told the"]
ALL = list(itertools.product(SIDES, (True, False), PAD_TOKENS))
each_way = pytest.mark.parametrize(("side", "mask", "token"), ALL)


def plain_batch(gpt2: Gpt2, texts: list[str], side: str, token: str) -> dict[str, torch.Tensor]:
    """What the tokenizer itself makes of the texts: a new one, since it is told the pad token."""
    pad_token = "!" if token == "id 0" else "<|endoftext|>"
    tokenizer = plain_tokenizer(gpt2.path, pad_token)
    return tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")


@functools.cache
def plain_tokenizer(path: str, pad_token: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(path, pad_token=pad_token)


@each_way
def test_padding_is_the_tokenizers(random_gpt2: Gpt2, side: str, mask: bool, token: str) -> None:
    batch = pad(random_gpt2, checked_rows(random_gpt2, THREE), side, mask, token)
    expected = plain_batch(random_gpt2, THREE, side, token)
    assert torch.equal(batch.input_ids, expected["input_ids"])
    assert torch.equal(batch.pads, expected["attention_mask"] == 0)
    given = expected["attention_mask"]
    assert torch.equal(batch.attention_mask, given if mask else torch.ones_like(given))
    lengths = [len(encode(random_gpt2, text)) for text in THREE]
    ends = [batch.width - 1] * 3 if side == "left" else [length - 1 for length in lengths]
    assert batch.text_ends.tolist() == ends
    for row, length in enumerate(lengths):
        pads = [0] * (batch.width - length)
        counted = [*pads, *range(length)] if side == "left" else [*range(length), *pads]
        positions = counted if mask else list(range(batch.width))
        assert batch.position_ids[row].tolist() == positions


def test_the_shared_tokenizer_gets_no_pad_token(random_gpt2: Gpt2) -> None:
    before = random_gpt2.tokenizer.pad_token
    for token in PAD_TOKENS:
        pad(random_gpt2, [[1, 2], [3]], pad_token=token)
    assert random_gpt2.tokenizer.pad_token == before
    assert random_gpt2.tokenizer.padding_side == "right"


@each_way
def test_logits_are_those_of_the_first_step_of_generate(
    gpt2: Gpt2, plain: GPT2LMHeadModel, side: str, mask: bool, token: str
) -> None:
    batch = pad(gpt2, checked_rows(gpt2, THREE), side, mask, token)
    given = {"attention_mask": batch.attention_mask} if mask else {}
    output = plain.generate(
        batch.input_ids,
        **given,
        max_new_tokens=1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    last, text_end = end_logits(gpt2, batch)
    torch.testing.assert_close(last, output.logits[0], rtol=0, atol=LOGITS)
    with torch.no_grad():
        forward = plain(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
        ).logits
        columns = plain(batch.input_ids, attention_mask=batch.attention_mask).logits
    expected = forward[range(3), batch.text_ends]
    torch.testing.assert_close(text_end, expected, rtol=0, atol=LOGITS)
    chosen = torch.tensor([True, False, True])
    found = last_logits(gpt2, [batch, batch.uncounted()], chosen)
    expected = torch.stack([forward[chosen, -1], columns[chosen, -1]])
    torch.testing.assert_close(found, expected, rtol=0, atol=LOGITS)


DECODINGS = {
    "greedy": Decoding("greedy", max_new_tokens=6),
    "greedy with penalties": Decoding(
        "greedy", max_new_tokens=6, repetition_penalty=1.5, no_repeat_ngram_size=1
    ),
    "sample": Decoding(max_new_tokens=6, seed=7),
    "sample with every stage": Decoding(
        max_new_tokens=6,
        repetition_penalty=1.5,
        no_repeat_ngram_size=2,
        min_new_tokens=2,
        temperature=1.5,
        top_k=300,
        top_p=0.95,
        min_p=0.001,
        typical_p=0.95,
    ),
    "sample and stop": Decoding(max_new_tokens=6, temperature=3.0, seed=3, stop=("e",)),
    "beam": Decoding("beam", num_beams=3, max_new_tokens=4),
}


@pytest.mark.parametrize(
    ("side", "mask", "token"),
    [
        ("left", True, "eos"),
        ("left", False, "id 0"),
        ("right", True, "id 0"),
        ("right", False, "eos"),
    ],
)
@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
def test_ids_are_those_of_generate(
    random_gpt2: Gpt2, side: str, mask: bool, token: str, decoding: Decoding
) -> None:
    batch = pad(random_gpt2, checked_rows(random_gpt2, THREE), side, mask, token)
    settings = fitted(random_gpt2, 3, batch.width, decoding)
    assert settings is not None
    state = torch.get_rng_state()
    written = write(random_gpt2, batch, settings)
    if decoding.strategy == "sample":
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(written.ids, _generated(random_gpt2, batch, decoding, mask))
    for row, count, reason in zip(
        written.ids.tolist(), written.counts, written.finish_reasons, strict=True
    ):
        assert set(row[count:]) <= {50256}
        assert 50256 not in row[: count - 1]
        assert reason in {"length", "eos", "stop"}
        assert (reason == "eos") == (row[count - 1] == 50256)
        if reason == "length":
            assert count == decoding.max_new_tokens
        if reason == "stop":
            assert "e" in random_gpt2.tokenizer.decode(row[count - 1])


def _generated(gpt2: Gpt2, batch: PaddedBatch, decoding: Decoding, mask: bool) -> torch.Tensor:
    """What `generate` writes for the batch: without a mask it is given none."""
    given = {"attention_mask": batch.attention_mask} if mask else {}
    arguments = decoding.generate_arguments()
    if decoding.stop:
        arguments["tokenizer"] = gpt2.tokenizer
    set_seed(decoding.seed)
    return gpt2.model.generate(batch.input_ids, **given, **arguments)[:, batch.width :]


def test_drawn_batches_end_as_they_should(random_gpt2: Gpt2) -> None:
    """The tests above would not notice if no row ever met its stop string."""
    batch = pad(random_gpt2, checked_rows(random_gpt2, THREE))
    reasons = write(random_gpt2, batch, DECODINGS["sample and stop"]).finish_reasons
    assert "stop" in reasons


def test_told_a_pad_token_that_is_not_eos_generate_guesses_the_mask(random_gpt2: Gpt2) -> None:
    batch = pad(random_gpt2, checked_rows(random_gpt2, THREE), pad_token="id 0")
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    guessed = random_gpt2.model.generate(batch.input_ids, **options)
    ids_alone = (batch.input_ids != 0).long()
    given = random_gpt2.model.generate(batch.input_ids, attention_mask=ids_alone, **options)
    assert torch.equal(guessed, given)
    # "Hello dear!" ends in id 0, so its last token is taken for a pad.
    assert ids_alone[0, -1] == 0
    assert batch.attention_mask[0, -1] == 1


@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_rows_are_compared_with_the_text_alone(pocket: Gpt2, penalty: float) -> None:
    decoding = Decoding("greedy", max_new_tokens=6, repetition_penalty=penalty)
    alone = [continue_text(pocket, text, decoding)[0].ids for text in THREE]
    seen = set()
    for side, mask, token in ALL:
        batch = pad(pocket, checked_rows(pocket, THREE), side, mask, token)
        written = write(pocket, batch, decoding)
        for row, text in enumerate(THREE):
            ids = written.ids[row].tolist()[: written.counts[row]]
            pairs = zip(ids, alone[row], strict=False)
            expected = next((i for i, (a, b) in enumerate(pairs) if a != b), len(ids))
            assert same_as_alone(trace_text(pocket, text), decoding, ids) == expected
            seen.add(expected)
            if side == "left" and mask:
                assert ids == list(alone[row])
    assert len(seen) > 1


# --- a row and its text alone --------------------------------------------------------------------


def compared(
    gpt2: Gpt2, texts: list[str], *way: object, decoding: Decoding = ONE_TOKEN
) -> BatchComparison:
    traces = [trace_ids(gpt2, row) for row in checked_rows(gpt2, texts)]
    return compare(traces, *way, decoding=decoding)


@each_way
def test_only_left_with_a_mask_is_right(gpt2: Gpt2, side: str, mask: bool, token: str) -> None:
    result = compared(gpt2, THREE, side, mask, token)
    assert result.padded.tolist() == [True, True, False]
    assert result.max_logit_error[2] < LOGITS
    if side == "left" and mask:
        assert result.max_logit_error.max() < LOGITS
        assert result.wrong == ()
        assert result.verdict.startswith("All 3 rows agree with the text alone within ")
        assert "the mask hides the pads" in result.verdict
    else:
        assert result.max_logit_error[:2].min() > BROKEN
        assert result.wrong == (0, 1)
        assert result.verdict.startswith("2 of 3 rows differ from the text alone by up to ")
        reason = "generate goes on behind" if side == "right" else "the pads are read as text"
        assert reason in result.verdict
    if side == "right":
        assert result.text_end_error.max() < LOGITS


def test_errors_are_those_of_plain_transformers(gpt2: Gpt2, plain: GPT2LMHeadModel) -> None:
    with torch.no_grad():
        alone = torch.stack(
            [plain(torch.tensor([encode(gpt2, text)])).logits[0, -1] for text in THREE]
        )
        for side in SIDES:
            batch = plain_batch(gpt2, THREE, side, "eos")
            mask = batch["attention_mask"]
            positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 0)
            ways = {
                (True, True): {"attention_mask": mask, "position_ids": positions},
                (True, False): {"attention_mask": mask},
                (False, True): {},
            }
            result = compared(gpt2, THREE, side)
            for (use_mask, counted), given in ways.items():
                logits = plain(batch["input_ids"], **given).logits[:, -1]
                errors = (logits - alone).abs().amax(-1)
                shown = result.error(side, use_mask, counted)
                assert shown == pytest.approx(float(errors.max()), abs=LOGITS)
                if (use_mask, counted) == (True, True):
                    np.testing.assert_allclose(
                        result.max_logit_error, errors.numpy(), rtol=0, atol=LOGITS
                    )
    # A plain forward pass counts columns, so a mask alone does not help on the left.
    assert result.error("left", True, False) > BROKEN
    assert result.error("left", True) < LOGITS


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_the_logits_compared_are_those_that_generate_begins_with(
    random_gpt2: Gpt2, side: str, strategy: str
) -> None:
    """Whatever the stages make of them afterwards."""
    beams = 2 if strategy == "beam" else 1
    decoding = Decoding(
        strategy, max_new_tokens=2, repetition_penalty=1.5, min_new_tokens=1, num_beams=beams
    )
    result = compared(random_gpt2, THREE, side, decoding=decoding)
    rows = checked_rows(random_gpt2, THREE)
    batch = pad(random_gpt2, rows, side)
    begun = random_gpt2.model.generate(
        batch.input_ids,
        attention_mask=batch.attention_mask,
        max_new_tokens=1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    ).logits[0]
    with torch.no_grad():
        alone = [random_gpt2.model(torch.tensor([row])).logits[0, -1] for row in rows]
    expected = (begun - torch.stack(alone)).abs().amax(-1)
    np.testing.assert_allclose(result.max_logit_error, expected, rtol=0, atol=LOGITS)


def test_the_words_turn_where_an_error_is_more_than_rounding(random_gpt2: Gpt2) -> None:
    result = compared(random_gpt2, THREE)
    assert result.tolerance == WITHIN == 1e-4
    for error, agrees in ((0.99e-4, True), (1.01e-4, False)):
        errors = np.array([0.0, error, 0.0])
        changed = dataclasses.replace(result, max_logit_error=errors)
        assert (changed.wrong == ()) == agrees
        assert changed.verdict.startswith("All 3 rows agree " if agrees else "1 of 3 rows differs ")
    # The place where the words turn moves with the size of the logits and of their last digit.
    logits = torch.tensor([[-180.0, 20.0]])
    assert _tolerance(random_gpt2, logits) == pytest.approx(8 * 2**-23 * 180)
    assert _tolerance(random_gpt2, logits / 100) == 1e-4


def test_what_needs_no_padding_is_never_wrong(random_gpt2: Gpt2) -> None:
    for side, mask, token in ALL:
        result = compared(random_gpt2, ["Hello dear!", "Today we can"], side, mask, token)
        assert result.wrong == ()
        assert "no row has padding" in result.verdict
        one = compared(random_gpt2, ["Hello dear!"], side, mask, token)
        assert one.verdict.startswith("The one row agrees")


def test_the_claims_follow_the_numbers(pocket: Gpt2) -> None:
    direction, zero, forward = (holds for _, holds in compared(pocket, THREE).claims)
    result = compared(pocket, THREE)
    assert (
        f"2 of these 3 texts end before it (error {result.error('right', True):.2g})" in direction
    )
    assert f"(error {result.error('left', True):.2g})" in direction
    assert "“!”: 1 of the tokens of these texts is it" in zero
    assert f"(error {result.error('left', True, False):.2g})" in forward
    without = compared(pocket, ["a b", "a b c"]).claims[1][1]
    assert "“!”: 0 of the tokens of these texts are it" in without


# --- what cannot be done -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ([], "texts has 0 texts, but must have 1 to 8."),
        (["a"] * 9, "texts has 9 texts, but must have 1 to 8."),
        ("a text", "texts is 'a text', but must be a list of strings."),
        (None, "texts is None, but must be a list of strings."),
        (["a", 5], "Row 1: The text must be a string, not int."),
        (["a", "b", ""], "Row 2: The text is empty"),
        (["a b" * 200], "Row 0: The text has 201 tokens, but random reads at most 128"),
        (["a\0b"], "Row 0: The text has a null character at position 1"),
    ],
)
def test_texts_that_cannot_be_rows_are_refused(
    random_gpt2: Gpt2, texts: object, sentence: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        checked_rows(random_gpt2, texts)
    assert sentence in str(refusal.value)
    assert str(refusal.value).endswith(".")


def test_what_is_too_much_is_refused(random_gpt2: Gpt2) -> None:
    assert fitted(random_gpt2, 8, 28, Decoding(max_new_tokens=100)) is not None
    with pytest.raises(Refusal, match=f"ask for {MOST_WRITTEN // 64} or fewer"):
        fitted(random_gpt2, 8, 28, Decoding("beam", num_beams=8, max_new_tokens=100))
    found = fitted(random_gpt2, 2, 28, Decoding(num_return_sequences=2))
    assert found is not None
    assert found.num_return_sequences == 1
    with pytest.raises(Refusal, match="give fewer or shorter texts"):
        checked_work(random_gpt2, 8, 128, 10_000)


def test_no_more_is_written_than_the_context_has_room_for(random_gpt2: Gpt2) -> None:
    settings = fitted(random_gpt2, 2, 100, Decoding(max_new_tokens=40))
    assert settings is not None
    assert settings.max_new_tokens == 28
    assert fitted(random_gpt2, 2, 128, Decoding(max_new_tokens=40)) is None
    longer = fitted(random_gpt2, 2, 100, Decoding(max_length=110))
    assert longer is not None
    assert longer.new_tokens(100) == 10
