"""What the playground writes is what transformers' `generate` writes behind the same ids."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from transformers import GPT2LMHeadModel, set_seed

from gpt2lab.beam_tree import BeamTree
from gpt2lab.chat import TEMPLATE
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.step import describe_text
from gpt2lab.tokens import decode, encode
from gpt2lab.trace import trace_ids
from gpt2lab.transcript import MAX_PASSAGES, Passage, Transcript
from gpt2lab.ui import streaming
from gpt2lab.ui import traces as traces_module
from gpt2lab.ui.traces import Traces
from gpt2lab.ui.writing import Draft, Place, write

NUMBERS = 1e-5
"""Log-probabilities and probabilities, absolute; of beams, read in one pass, five times that."""
TEXT = "Today we can go to the town 🎉 and"


def sent(gpt2: Gpt2, text: str = TEXT) -> Transcript:
    return Transcript().continued(Passage("you", tuple(encode(gpt2, text)), text))


def behind(transcript: Transcript, forced: tuple[int, ...] = ()) -> Place:
    assert transcript.active is not None
    return Place(transcript.active, len(transcript.passages[transcript.active].ids), forced)


@pytest.fixture
def every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update for each token, however fast they come."""
    monkeypatch.setattr(streaming, "SECONDS_PER_UPDATE", (0.0, 0.0))


@torch.no_grad()
def generated(gpt2: Gpt2, model: GPT2LMHeadModel, ids: tuple[int, ...], decoding: Decoding):
    """What a student's own cell gives, with all its numbers."""
    prompt = torch.tensor([ids])
    set_seed(decoding.seed)
    return model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        tokenizer=gpt2.tokenizer,
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        **decoding.generate_arguments(),
    )


def assert_same(
    gpt2: Gpt2, model: GPT2LMHeadModel, draft: Draft, decoding: Decoding, forced: int = 0
) -> None:
    """Compare each sample's ids, and each token's numbers, with transformers'."""
    expected = generated(gpt2, model, draft.prompt, decoding)
    passages = draft.transcript.passages[draft.first :]
    assert len(passages) == len(expected.sequences) == decoding.num_return_sequences
    beams = getattr(expected, "beam_indices", None)
    within = NUMBERS if beams is None else 5 * NUMBERS
    for sample, (passage, row) in enumerate(zip(passages, expected.sequences, strict=True)):
        written = passage.ids[forced:]
        width = len(row) - len(draft.prompt)
        padding = [gpt2.tokenizer.eos_token_id] * (width - len(written))
        assert [*draft.prompt, *written, *padding] == row.tolist()
        assert passage.text == decode(gpt2, passage.ids)
        assert passage.writing is not None
        assert passage.writing.sample == sample
        assert len(passage.choices) == len(passage.ids)
        for index, choice in enumerate(passage.choices[forced:]):
            place = sample if beams is None else int(beams[sample, index])
            logprobs = expected.logits[index][place].float().log_softmax(-1)
            probabilities = expected.scores[index][place].float().softmax(-1)
            assert choice.id == written[index]
            assert choice.logprob == pytest.approx(float(logprobs[choice.id]), abs=within)
            final = float(probabilities[choice.id])
            assert choice.probability == pytest.approx(final, abs=within)
            for one in choice.alternatives:
                raw = float(logprobs[one.id].exp())
                assert one.raw_probability == pytest.approx(raw, abs=within)
                final = float(probabilities[one.id])
                assert one.probability == pytest.approx(final, abs=within)


DECODINGS = {
    "greedy": Decoding("greedy", max_new_tokens=8, repetition_penalty=1.2),
    "sample": Decoding(max_new_tokens=8, top_p=0.9, temperature=1.3, seed=7),
    "three samples": Decoding(max_new_tokens=6, num_return_sequences=3),
    "beam": Decoding("beam", num_beams=3, max_new_tokens=5),
    "two of three beams": Decoding("beam", num_beams=3, num_return_sequences=2, max_new_tokens=5),
    "max_length": Decoding(max_length=20),
    "stop": Decoding(max_new_tokens=30, stop=("e",), num_return_sequences=2),
}


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
def test_the_same_text_and_numbers_as_transformers(
    gpt2: Gpt2, plain: GPT2LMHeadModel, decoding: Decoding
) -> None:
    start = sent(gpt2)
    *_, last = write(gpt2, start, behind(start), decoding, Traces())
    assert last.prompt == start.ids()
    assert last.finished
    assert last.transcript.active == last.first == 1
    assert last.transcript.passages[0] == start.passages[0]
    assert_same(gpt2, plain, last, decoding)
    reasons = [one.writing.finish_reason for one in last.transcript.passages[1:]]  # type: ignore[union-attr]
    assert set(reasons) == ({"stop"} if decoding.stop else {"length"})
    assert [one.writing.dropped for one in last.transcript.passages[1:]] == [0] * len(reasons)  # type: ignore[union-attr]
    assert all(one.parent == 0 for one in last.transcript.passages[1:])
    assert isinstance(last.beams, BeamTree) == (decoding.strategy == "beam")


@pytest.mark.parametrize("strategy", ["sample", "beam"])
def test_forced_tokens_stand_first_and_the_model_goes_on_behind_them(
    gpt2: Gpt2, plain: GPT2LMHeadModel, strategy: str
) -> None:
    """Behind the first half of a passage: what stood in its other half is not seen."""
    start = sent(gpt2)
    *_, first = write(gpt2, start, behind(start), DECODINGS["sample"], Traces())
    decoding = Decoding(
        strategy, max_new_tokens=4, num_beams=2, num_return_sequences=2, repetition_penalty=1.3
    )
    forced = (257, 262)
    *_, last = write(gpt2, first.transcript, Place(1, 4, forced), decoding, Traces())
    kept = (*start.ids(), *first.transcript.passages[1].ids[:4])
    assert last.prompt == (*kept, *forced)
    assert_same(gpt2, plain, last, decoding, forced=2)
    for passage in last.transcript.passages[2:]:
        assert passage.ids[:2] == forced
        assert (passage.parent, passage.at) == (1, 4)
        assert passage.writing is not None
        assert passage.writing.forced == 2
        stages = decoding.stages_from_logits(gpt2, last.prompt)
        expected = describe_text(trace_ids(gpt2, last.prompt), len(kept), stages)
        for one, other in zip(passage.choices, expected, strict=False):
            assert one.id == other.id
            assert one.logprob == pytest.approx(other.logprob, abs=NUMBERS)
            assert one.probability == pytest.approx(other.probability, abs=NUMBERS)


@pytest.mark.parametrize("forced", [(), (257,)])
def test_the_oldest_tokens_are_dropped_so_that_what_is_asked_for_fits(
    gpt2: Gpt2, plain: GPT2LMHeadModel, forced: tuple[int, ...]
) -> None:
    ids = tuple((list(range(1000, 2000)) * 2)[: gpt2.n_positions + 40])
    transcript = Transcript().continued(Passage("you", ids[:60], "a"))
    transcript = transcript.continued(Passage("you", ids[60:], "b"))
    decoding = Decoding(max_new_tokens=12, top_k=0)
    *_, last = write(gpt2, transcript, behind(transcript, forced), decoding, Traces())
    dropped = 40 + 12 + len(forced)
    assert last.prompt == (*ids[dropped:], *forced)
    assert len(last.prompt) + 12 == gpt2.n_positions
    passage = last.transcript.passages[2]
    assert passage.writing is not None
    assert passage.writing.dropped == dropped
    assert len(passage.ids) == 12 + len(forced)
    assert_same(gpt2, plain, last, decoding, forced=len(forced))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_of_forced_tokens_that_fill_the_context_those_have_numbers_that_follow_something(
    random_gpt2: Gpt2, count: int
) -> None:
    """126 new tokens leave two of the 128 places."""
    start = sent(random_gpt2, "Today")
    decoding = Decoding(max_new_tokens=126)
    forced = (257, 262, 290, 11, 13)[:count]
    drafts = write(random_gpt2, start, behind(start, forced), decoding, Traces())
    passage = next(one.transcript for one in drafts if one.transcript.active).passages[1]
    seen = (8888, *forced)[-2:]
    assert len(passage.choices) == len(passage.ids) - count + 1
    expected = trace_ids(random_gpt2, seen).logits(0).log_softmax(-1)[seen[1]]
    assert passage.choices[0].id == seen[1]
    assert passage.choices[0].logprob == pytest.approx(float(expected), abs=NUMBERS)


def test_afterwards_every_sample_can_be_looked_into_without_computing_it_again(
    random_gpt2: Gpt2, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = Traces()
    start = sent(random_gpt2)
    decoding = DECODINGS["three samples"]
    *_, last = write(random_gpt2, start, behind(start), decoding, traces)
    assert len({one.ids for one in last.transcript.passages[1:]}) == 3
    monkeypatch.setattr(traces_module, "trace_ids", None)
    for number in (1, 2, 3):
        # The last token was chosen, but the model has not read it.
        ids = last.transcript.ids(number)[:-1]
        found = traces.trace(random_gpt2, ids)
        assert tuple(found.ids.tolist()) == ids
        again = trace_ids(random_gpt2, ids)
        torch.testing.assert_close(found.hidden, again.hidden, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("every_token")
def test_drafts_grow_token_by_token_and_stopping_keeps_what_is_there(random_gpt2: Gpt2) -> None:
    traces = Traces()
    start = sent(random_gpt2)
    decoding = Decoding(max_new_tokens=30)
    drafts = write(random_gpt2, start, behind(start), decoding, traces)
    first = next(drafts)
    assert (first.transcript, first.prompt, first.finished) == (start, start.ids(), False)
    assert first.status == f"random reads {len(start.ids())} tokens"
    seen = [next(drafts).transcript for _ in range(5)]
    assert [len(one.passages[1].ids) for one in seen] == [1, 2, 3, 4, 5]
    for one, more in pairwise(seen):
        assert more.passages[1].ids[:-1] == one.passages[1].ids
        assert more.passages[1].choices[:-1] == one.passages[1].choices
    assert seen[-1].passages[1].writing.finish_reason is None  # type: ignore[union-attr]
    drafts.close()
    found = traces.trace(random_gpt2, seen[-1].ids()[:-1])
    assert len(found) == len(start.ids()) + 4
    assert traces.bytes == found.bytes


@pytest.mark.usefixtures("every_token")
def test_samples_that_have_no_token_yet_are_not_there(random_gpt2: Gpt2) -> None:
    start = sent(random_gpt2)
    decoding = Decoding(max_new_tokens=3, num_return_sequences=3)
    drafts = list(write(random_gpt2, start, behind(start), decoding, Traces()))
    counts = [[len(one.ids) for one in draft.transcript.passages[1:]] for draft in drafts]
    assert counts == [
        [], [1], [1, 1], [1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 2], [3, 2, 2], [3, 3, 2],
        [3, 3, 3],
    ]  # fmt: skip
    assert [draft.finished for draft in drafts] == [False] * 9 + [True]
    assert all(draft.transcript.active == 1 for draft in drafts[1:])
    *_, last = drafts
    assert last.transcript.samples(2) == (1, 2, 3)
    assert last.status.startswith("random: 9 tokens, ")
    assert last.status.endswith("; ended because the length that was asked for is reached.")


def test_in_a_chat_the_text_ends_where_the_template_begins(random_gpt2: Gpt2) -> None:
    """The random model writes none of its words, so one that it does write takes their place."""
    start = sent(random_gpt2)
    decoding = Decoding(max_new_tokens=8)
    *_, plain = write(random_gpt2, start, behind(start), decoding, Traces())
    *_, chat = write(random_gpt2, start, behind(start), decoding, Traces(), TEMPLATE)
    one, other = plain.transcript.passages[1], chat.transcript.passages[1]
    assert one.ids == other.ids
    assert other.text == one.text.strip()


def first_refusal(drafts: Iterator[Draft]) -> str:
    with pytest.raises(Refusal) as caught:
        list(drafts)
    return str(caught.value)


def test_what_cannot_be_written_is_refused(random_gpt2: Gpt2) -> None:
    start = sent(random_gpt2)
    count = len(start.ids())

    def write_with(**settings: int) -> Iterator[Draft]:
        return write(random_gpt2, start, behind(start), Decoding(**settings), Traces())

    assert first_refusal(write_with(max_new_tokens=128)).endswith("whole number from 0 to 127.")
    assert f"the prompt alone has {count} tokens" in first_refusal(write_with(max_length=count))
    assert "room for 128 in all" in first_refusal(write_with(max_length=129))
    full = Transcript((start.passages[0],) * MAX_PASSAGES, 0)
    drafts = write(random_gpt2, full, Place(0, count), Decoding(max_new_tokens=3), Traces())
    assert "save it as a file and clear it" in first_refusal(drafts)
