"""The endpoints of the text lab through HTTP, on every text, against transformers alone."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from gradio_client import Client
from served import served
from texts import TEXTS
from transformers import GPT2LMHeadModel

from gpt2lab.models import Gpt2
from gpt2lab.ui.page import build_page

WITHIN = 1e-5
LOGITS_WITHIN = 1e-4
every_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


@pytest.fixture(scope="module")
def client(wide_gpt2: Gpt2) -> Iterator[Client]:
    """Of an app whose model reads 1,024 tokens."""
    with served(build_page(wide_gpt2)) as url:
        yield Client(url, verbose=False)


@pytest.fixture(scope="module")
def model(wide_gpt2: Gpt2) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(wide_gpt2.path, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def tokenizer(wide_gpt2: Gpt2) -> Any:
    return wide_gpt2.tokenizer


@torch.no_grad()
def logits_of(model: GPT2LMHeadModel, ids: list[int], **more: Any) -> torch.Tensor:
    return model(torch.tensor([ids]), **more).logits[0]


@every_text
def test_tokens(client: Client, tokenizer: Any, text: str) -> None:
    answer = client.predict(text, api_name="/tokens")
    ids = tokenizer(text).input_ids
    assert answer["ids"] == ids
    assert answer["tokens"] == tokenizer.convert_ids_to_tokens(ids)
    assert (answer["count"], answer["limit"]) == (len(ids), 1024)
    assert answer["round_trip"] is (tokenizer.decode(ids) == text) is True


@every_text
def test_next_token(client: Client, model: GPT2LMHeadModel, tokenizer: Any, text: str) -> None:
    answer = client.predict(text, show=4, api_name="/next_token", top_k=3)
    ids = tokenizer(text).input_ids or [tokenizer.bos_token_id]
    logits = logits_of(model, ids)[-1]
    kept = torch.where(logits >= logits.topk(3).values[-1], logits, -torch.inf)
    for stage, scores in zip(answer["stages"], (logits, kept), strict=True):
        p = scores.softmax(-1)
        assert stage["kept"] == int((p > 0).sum())
        bits = -torch.special.xlogy(p, p).sum() / math.log(2)
        assert stage["entropy_bits"] == pytest.approx(float(bits), abs=WITHIN)
        assert stage["kept_mass"] == pytest.approx(
            float(logits.softmax(-1)[p > 0].sum()), abs=WITHIN
        )
        best = scores.topk(len(stage["top"]))
        assert [one["logit"] for one in stage["top"]] == pytest.approx(
            best.values.tolist(), abs=LOGITS_WITHIN
        )
        for one in stage["top"]:
            assert one["probability"] == pytest.approx(float(p[one["id"]]), abs=WITHIN)
            assert tokenizer.convert_ids_to_tokens(one["id"]) == one["token"]


@every_text
def test_score(client: Client, model: GPT2LMHeadModel, tokenizer: Any, text: str) -> None:
    answer = client.predict(text, api_name="/score")
    ids = tokenizer(text).input_ids or [tokenizer.bos_token_id]
    assert answer["ids"] == ids
    log_p = logits_of(model, ids)[:-1].log_softmax(-1)
    chosen = log_p.gather(-1, torch.tensor(ids[1:])[:, None])
    bits = -(log_p.exp() * log_p).sum(-1) / math.log(2)
    assert answer["logprobs"] == [None, *map(close, chosen[:, 0].tolist())]
    assert answer["entropy_bits"] == [None, *map(close, bits.tolist())]
    # Two logits that are equal but for the last digit may change places.
    surely = (log_p > chosen + WITHIN).sum(-1) + 1
    perhaps = (log_p > chosen - WITHIN).sum(-1)
    ranks = zip(surely.tolist(), answer["ranks"][1:], perhaps.tolist(), strict=True)
    assert all(low <= rank <= max(low, high) for low, rank, high in ranks)
    if len(ids) == 1:
        assert answer["perplexity"] is answer["bits_per_byte"] is None
        return
    with torch.no_grad():
        loss = float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss)
    assert answer["perplexity"] == pytest.approx(math.exp(loss), rel=WITHIN)
    # In the vocabulary's strings each character is one byte, but the special token is its name.
    size = sum(map(len, tokenizer.convert_ids_to_tokens(ids[1:])))
    expected = loss * (len(ids) - 1) / math.log(2) / size
    assert answer["bits_per_byte"] == pytest.approx(expected, rel=WITHIN)


def close(value: float) -> Any:
    return pytest.approx(value, rel=WITHIN, abs=WITHIN)


WRITTEN = [text for text in TEXTS.values() if text]
SHORT, LONG = WRITTEN[:-2], WRITTEN[-2:]
ROWS = [*(SHORT[begin : begin + 6] for begin in range(0, len(SHORT), 6)), LONG]
assert LONG[-1] == TEXTS["1,024 tokens"]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("texts", ROWS, ids=range(len(ROWS)))
def test_batch(
    client: Client, model: GPT2LMHeadModel, tokenizer: Any, side: str, texts: list[str]
) -> None:
    answer = client.predict(
        texts, padding_side=side, strategy="greedy", max_new_tokens=3, api_name="/batch"
    )
    rows = tokenizer(texts).input_ids
    width = max(map(len, rows))
    pads = [torch.full((width - len(row),), tokenizer.eos_token_id) for row in rows]
    order = slice(None, None, 1 if side == "left" else -1)
    ids = torch.stack(
        [torch.cat([pad, torch.tensor(row)][order]) for pad, row in zip(pads, rows, strict=True)]
    )
    mask = torch.stack(
        [
            torch.cat([torch.zeros(len(pad)), torch.ones(len(row))][order]).long()
            for pad, row in zip(pads, rows, strict=True)
        ]
    )
    positions = (mask.cumsum(-1) - 1).clamp(min=0) * mask
    assert answer["input_ids"] == ids.tolist()
    assert answer["attention_mask"] == mask.tolist()
    assert answer["position_ids"] == positions.tolist()

    alone = torch.stack([logits_of(model, row)[-1] for row in rows])
    at_ends = mask.cumsum(-1).argmax(-1)
    with torch.no_grad():
        # All logits of 1,024 tokens would be hundreds of megabytes.
        keep = torch.tensor(sorted({*at_ends.tolist(), width - 1}))
        together = model(
            ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep
        ).logits
        ends = together[range(len(rows)), torch.searchsorted(keep, at_ends)]
        written = model.generate(
            ids, attention_mask=mask, do_sample=False, max_new_tokens=min(3, max(1, 1024 - width)),
            pad_token_id=tokenizer.eos_token_id,
        )[:, width : width + min(3, 1024 - width)]  # fmt: skip
    for name, logits in (("max_logit_error", together[:, -1]), ("text_end_error", ends)):
        errors = (logits - alone).abs().amax(-1)
        assert answer[name] == pytest.approx(errors.tolist(), abs=LOGITS_WITHIN)
    assert answer["outputs"] == tokenizer.batch_decode(written, skip_special_tokens=True)
    for one in answer["configurations"]:
        if one["padding_side"] != side:
            continue
        way = {"attention_mask": mask} if one["use_mask"] else {}
        if one["use_mask"] and one["positions_counted"]:
            way["position_ids"] = positions
        with torch.no_grad():
            last = model(ids, logits_to_keep=1, **way).logits[:, -1]
        error = float((last - alone).abs().max())
        assert one["max_logit_error"] == pytest.approx(error, abs=LOGITS_WITHIN)
    if side == "left":
        assert max(answer["max_logit_error"]) < LOGITS_WITHIN
