"""The built-in model: its files, its tokenizer, its manners with rare tokens, its heads."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerBase

from gpt2lab.pocket import FOLDER, evaluate

VOCABULARY = 50257

PARAGRAPHS = (
    "Once upon a time there was a little boy who lived with his mother in a small house by the "
    "sea. Every morning he went down to the beach and looked for shells. One day he found a big "
    "white shell, and when he held it to his ear he heard a voice.",
    '"Come in," said the old man, and he opened the door. "You must be cold and hungry." The two '
    "children sat down by the fire, and he gave them bread and hot milk. Outside the wind was "
    "blowing, and it had begun to snow.",
    "The town lies on a river in the south of the country and has about two thousand people. It "
    "was first named in the twelfth century. The railway came in the year 1871, and many people "
    "found work in the new factories.",
    "The government said on Monday that it will build a new hospital in the capital. Work is to "
    "begin next year. Members of the opposition said that the plan would cost too much money and "
    "that the old hospital could be repaired.",
)


@pytest.fixture(scope="module")
def model() -> GPT2LMHeadModel:
    """The model as a student loads it."""
    return GPT2LMHeadModel.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer as a student loads it."""
    return AutoTokenizer.from_pretrained(FOLDER)


def test_is_a_gpt2_with_gpt2s_vocabulary(model: GPT2LMHeadModel) -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["GPT2LMHeadModel"]
    assert config["model_type"] == "gpt2"
    assert config["activation_function"] == "gelu_new"
    assert config["vocab_size"] == VOCABULARY
    assert config["n_positions"] >= 512
    assert config["bos_token_id"] == config["eos_token_id"] == VOCABULARY - 1
    assert model.transformer.wte.weight.shape == (VOCABULARY, config["n_embd"])
    assert model.num_parameters() == sum(p.numel() for p in model.parameters())


def test_is_tied(model: GPT2LMHeadModel) -> None:
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr()


def test_is_small_on_disk() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size <= 40e6
    assert not list(FOLDER.glob("*.bin"))


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("vocab.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
        ("merges.txt", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
    ],
)
def test_tokenizer_files_are_gpt2s(name: str, sha256: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == sha256


def test_tokenizer_knows_the_notebooks_ids(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer("Today we can go to").input_ids == [8888, 356, 460, 467, 284]
    assert tokenizer("<|endoftext|>").input_ids == [VOCABULARY - 1]
    assert len(tokenizer) == VOCABULARY
    assert tokenizer.model_max_length == 512


@pytest.mark.parametrize(
    "text",
    [
        "",
        " a  b ,c .",
        "Tab\tand\r\nline",
        "🙂 👩‍👩‍👧",
        "中文和日本語",
        "naïve Ünïcode ẞ",
        "\x00\x7f",
    ],
)
def test_tokenizer_round_trip(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_every_token_can_stand_in_a_prompt(model: GPT2LMHeadModel) -> None:
    """All ids, each once, in rows of 128: finite states, bounded scores, probabilities that add up.

    Scores over the whole vocabulary are looked at for the last position of each row.
    """
    shuffled = torch.randperm(VOCABULARY, generator=torch.Generator().manual_seed(0))
    ids = torch.cat([shuffled, shuffled[: -VOCABULARY % 128]]).view(-1, 128)
    with torch.inference_mode():
        for rows in ids.split(64):
            hidden = model.transformer(rows, use_cache=False).last_hidden_state
            assert hidden.isfinite().all()
            logits = model.lm_head(hidden[:, -1])
            assert logits.isfinite().all()
            assert logits.abs().max() < 1000
            log_p = logits.log_softmax(-1)
            assert log_p.max() < -1e-6, "certain of the next token after random ones"
            assert torch.allclose(log_p.exp().sum(-1), torch.ones(len(rows)), atol=1e-4)


@pytest.mark.parametrize("text", ["🙂🙂🎉", "你好,世界", "Привет, мир", "SolidGoldMagikarp", "�"])
def test_foreign_text_leaves_the_distribution_sane(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    with torch.inference_mode():
        log_p = model(tokenizer(text, return_tensors="pt").input_ids).logits[0, -1].log_softmax(-1)
    assert log_p.isfinite().all()
    assert 0.1 < -(log_p.exp() * log_p).sum() < 10.8


def test_rare_tokens_get_no_more_than_the_text_warrants(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """At temperature 1, over plain English paragraphs.

    Frequency is read off column 0 of the embedding, which holds it. In the held-out text one token
    in ten is outside the 8,192 most frequent and one in a hundred among the 20,000 least frequent
    (in these paragraphs 3 % and none); the last 1,773 never came in training.
    """
    order = model.transformer.wte.weight[:, 0].argsort(descending=True)
    mass = torch.zeros(3)
    count = 0
    with torch.inference_mode():
        for text in PARAGRAPHS:
            ids = tokenizer("<|endoftext|>" + text, return_tensors="pt").input_ids
            p = model(ids).logits[0].softmax(-1)
            mass += torch.stack([p[:, order[rank:]].sum() for rank in (8192, 30257, 48484)])
            count += len(p)
    rare, rarest, never = (mass / count).tolist()
    assert rare < 0.08
    assert rarest < 0.008
    assert never < 0.0003


def test_induction(model: GPT2LMHeadModel) -> None:
    result = evaluate.induction(model)
    assert result.second - result.first >= 1.5
    assert result.to_induction.max() > 0.3
    assert result.to_previous.max() > 0.3


def test_the_card_names_the_best_induction_head(model: GPT2LMHeadModel) -> None:
    scores = evaluate.induction(model).to_induction
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    card = (Path(FOLDER) / "README.md").read_text(encoding="utf-8")
    assert f"layer {layer} head {head} ({scores.max():.0%})" in card


def test_held_out_windows_count_every_token_once(model: GPT2LMHeadModel) -> None:
    """The sliding windows of the evaluation, against one forward pass per token's own window."""
    ids = torch.randint(0, VOCABULARY, (700,), generator=torch.Generator().manual_seed(0))
    rare = torch.zeros(VOCABULARY, dtype=torch.bool)
    result = evaluate.held_out(model, ids.numpy().astype("uint16"), rare)
    with torch.inference_mode():
        first = model(ids[None, :512]).logits[0].log_softmax(-1)
        second = model(ids[None, 256:]).logits[0, 256:-1].log_softmax(-1)
    total = first.gather(1, ids[1:513, None]).sum() + second.gather(1, ids[513:, None]).sum()
    assert result.tokens == 699
    assert result.loss == pytest.approx(-float(total) / 699, abs=1e-4)


def test_loops_are_found() -> None:
    assert evaluate.loops("and he ran and he ran and he ran and he ran")
    assert not evaluate.loops("very very very old")
    assert evaluate.loops("a lulululul")
    assert not evaluate.loops("hahaha")
