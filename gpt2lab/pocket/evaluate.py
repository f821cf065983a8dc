"""From weights to figures: everything that the model card claims, printed.

    python -m gpt2lab.pocket.evaluate --corpus DIR --work DIR [--card]

- **Held-out loss**: the mean of -log p(next token), p over all 50,257 tokens, on documents that
  training never saw; and its exponential, the *perplexity*: as unsure as between so many equally
  likely tokens. Windows of 512 tokens move on by 256 and only the second half of each is
  counted, so that every token has at least 256 tokens before it (where the text has them).
- **Rare tokens**: the probability that the model gives to all tokens outside the 8,192 most
  frequent ones together, beside how often such a token really came. They should agree.
- **Induction**: 25 random tokens, then the same again. The second copy can be foretold by a head
  that looks at what followed the last time. Such a head attends from position p of the second
  copy to position p - 25 + 1, the *induction position*.
- **Samples**: 20 fixed prompts, unselected, with a count of words that the training text does
  not contain and of loops.

``--card`` writes the same text into README.md, between its two markers, and the heads that it
names into ``heads.json``, from where the page takes its examples.
"""

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerBase, set_seed

from gpt2lab.pocket import FOLDER, data
from gpt2lab.pocket.data import VOCABULARY
from gpt2lab.pocket.train import Config

NOTABLE = 0.3
"""Attention on one place from which on a head is named."""

PROMPTS = (
    "Once upon a time, there was a little girl named Lily.",
    "One day, Tom and his dog went to the park.",
    "The old woman lived in a small house near the forest.",
    '"Where are you going?" asked the rabbit.',
    "The king had three sons, and the youngest",
    "It was a cold winter morning, and",
    "The ship sailed for many days until",
    '"I am not afraid of you," said',
    "The boys ran down to the river to",
    "When the sun went down, the children",
    "The city is located in the north of",
    "He was born in London in",
    "The band released their first album in",
    "The United States is a country in",
    "Water is a chemical substance that",
    "The war began when",
    "The President of the United States said today that",
    "At least ten people were killed when",
    "Police in Australia have",
    "Scientists have discovered a new",
)


# ------------------------------------------------------------------------------- held-out loss


@dataclass(frozen=True)
class HeldOut:
    """One source's held-out text: tokens counted, nats per token, mass of the rare tokens."""

    tokens: int
    loss: float
    rare_probability: float
    rare_share: float


@torch.inference_mode()
def held_out(model: GPT2LMHeadModel, ids: data.Ids, rare: Tensor) -> HeldOut:
    """The loss over the whole vocabulary; ``rare`` marks the rare ids (VOCABULARY,)."""
    window = model.config.n_positions
    stride = window // 2
    total = rare_probability = rare_share = 0.0
    count = 0
    for start in range(0, len(ids) - 1, stride):
        row = torch.from_numpy(ids[start : start + window + 1].astype(np.int64))
        fresh = 0 if start == 0 else window - stride  # what the window before has not counted
        if len(row) - 1 <= fresh:
            break
        hidden = model.transformer(row[None, :-1], use_cache=False).last_hidden_state[0, fresh:]
        log_p = model.lm_head(hidden).log_softmax(-1)
        targets = row[1 + fresh :]
        total -= float(log_p.gather(1, targets[:, None]).double().sum())
        rare_probability += float(log_p.exp_()[:, rare].sum())
        rare_share += int(rare[targets].sum())
        count += len(targets)
    return HeldOut(count, total / count, rare_probability / count, rare_share / count)


def held_out_report(model: GPT2LMHeadModel, work: Path) -> list[str]:
    """The table of losses, by source and over the mix."""
    config = Config()
    order = np.argsort(-data.frequencies(data.load(work, "train"), dict(config.mix)))
    rare = torch.zeros(VOCABULARY, dtype=torch.bool)
    rare[torch.from_numpy(order[config.frequent :])] = True
    lines = [
        "| held-out text | share of the mix | tokens | loss, nats | perplexity "
        "| rare tokens: probability | really |",
        "|---|---|---|---|---|---|---|",
    ]
    parts = sum(share for _, share in config.mix)
    mean = np.zeros(3)
    for source, ids in data.load(work, "held").items():
        share = dict(config.mix)[source] / parts
        result = held_out(model, ids, rare)
        figures = np.array([result.loss, result.rare_probability, result.rare_share])
        mean += share * figures
        lines.append(_row(source, share, f"{result.tokens:,}", figures))
    return [*lines, _row("**the mix**", 1.0, "", mean)]


def _row(name: str, share: float, tokens: str, figures: NDArray[np.float64]) -> str:
    loss, probability, really = figures
    return (
        f"| {name} | {share:.1%} | {tokens} | {loss:.3f} | {np.exp(loss):.1f} "
        f"| {probability:.2%} | {really:.2%} |"
    )


# ----------------------------------------------------------------------------------- induction


@dataclass(frozen=True)
class Induction:
    """The result of the induction test; attention by (layer, head)."""

    first: float
    """Mean log-probability of the first copy's tokens, nats."""
    second: float
    """The same of the second copy's."""
    to_induction: NDArray[np.float64]
    """Mean attention from the second copy on the induction position (n_layer, n_head)."""
    to_previous: NDArray[np.float64]
    """Mean attention on the token just before (n_layer, n_head)."""


@torch.inference_mode()
def induction(model: GPT2LMHeadModel, sequences: int = 50, length: int = 25) -> Induction:
    """Random tokens of the whole vocabulary after <|endoftext|>, then the same again."""
    rng = np.random.default_rng(0)
    spans = rng.integers(0, VOCABULARY - 1, size=(sequences, length))
    start = np.full((sequences, 1), data.END_OF_TEXT)
    ids = torch.from_numpy(np.concatenate([start, spans, spans], axis=1))
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the others do not hand out their attention
    out = model(ids, output_attentions=True)
    model.set_attn_implementation(before)
    log_p = out.logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    attention = torch.stack(out.attentions).double()  # layer, sequence, head, from, to
    queries = torch.arange(length + 1, 2 * length)
    return Induction(
        first=float(log_p[:, :length].mean()),
        second=float(log_p[:, length:].mean()),
        to_induction=attention[..., queries, queries - length + 1].mean((1, 3)).numpy(),
        to_previous=attention[..., queries, queries - 1].mean((1, 3)).numpy(),
    )


def induction_report(model: GPT2LMHeadModel) -> list[str]:
    """The gain, and the heads by name."""
    result = induction(model)
    found = notable_heads(result)
    return [
        f"- mean log-probability of the first copy {result.first:.2f} nats, of the second "
        f"{result.second:.2f} nats: gain **{result.second - result.first:.2f} nats**",
        "- attention on the induction position, all heads over 30 % (counted from 0): "
        + _heads(found["induction"], result.to_induction),
        "- attention on the previous token, all heads over 30 %: "
        + _heads(found["previous_token"], result.to_previous),
    ]


def notable_heads(result: Induction) -> dict[str, list[tuple[int, int, float]]]:
    """Layer, head and share of every head with over 30 % on the place it looks for, best first."""
    kinds = {"induction": result.to_induction, "previous_token": result.to_previous}
    return {
        kind: sorted(
            ((*place, float(share)) for place, share in np.ndenumerate(shares) if share > NOTABLE),
            key=lambda head: -head[-1],
        )
        for kind, shares in kinds.items()
    }


def _heads(found: list[tuple[int, int, float]], shares: NDArray[np.float64]) -> str:
    names = [f"layer {layer} head {head} ({share:.0%})" for layer, head, share in found]
    return ", ".join(names) or f"none; the highest is {shares.max():.0%}"


# ------------------------------------------------------------------------------------- samples


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"[a-z]+", text.lower()))


def loops(text: str) -> bool:
    """Whether up to twelve words, or some letters in a word, come more than three times in a row.

    >>> loops("and he ran and he ran and he ran and he ran"), loops("very very very old")
    (True, False)
    >>> loops("a lulululul"), loops("hahaha")
    (True, False)
    """
    parts = text.split()
    return bool(re.search(r"([a-z]{2,}?)\1{3,}", text)) or any(
        parts[i : i + n] * 4 == parts[i : i + 4 * n]
        for n in range(1, 13)
        for i in range(len(parts) - 4 * n + 1)
    )


def sample(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, prompt: str, seed: int = 0
) -> str:
    """What plain ``generate`` writes after the prompt: top_k 40, temperature 0.8, 60 tokens."""
    inputs = tokenizer(prompt, return_tensors="pt")
    set_seed(seed)
    ids = model.generate(
        **inputs, do_sample=True, top_k=40, temperature=0.8, max_new_tokens=60,
        pad_token_id=data.END_OF_TEXT,
    )  # fmt: skip
    return str(tokenizer.decode(ids[0, inputs.input_ids.shape[1] :]))


def samples_report(model: GPT2LMHeadModel, work: Path) -> list[str]:
    """All samples, and what an impartial reader would count in them."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    known: set[str] = set()
    for ids in data.load(work, "train").values():
        for part in np.array_split(ids, max(1, len(ids) // 1_000_000)):
            known |= words(tokenizer.decode(part.tolist()))
    lines, unknown_in, loops_in = [], 0, 0
    for prompt in PROMPTS:
        text = sample(model, tokenizer, prompt)
        unknown = sorted(words(prompt + text) - known)
        unknown_in += bool(unknown)
        loops_in += loops(text)
        shown = text.replace("\n", " ↵ ").replace("<|endoftext|>", " ∎ ")
        note = f" [words not in the training text: {', '.join(unknown)}]" if unknown else ""
        lines += [f"> **{prompt}**{shown}{note}", ""]
    return [
        f"Samples with a word that the training text does not contain: {unknown_in} of "
        f"{len(PROMPTS)}; with a loop of more than three repeats: {loops_in}. "
        "↵ stands for a new paragraph, ∎ for `<|endoftext|>`, after which a new text begins.",
        "",
        *lines,
    ]


# ---------------------------------------------------------------------------------------- all


def report(work: Path) -> str:
    """All figures, as Markdown."""
    model = GPT2LMHeadModel.from_pretrained(FOLDER, dtype=torch.float32).eval()
    last = json.loads((FOLDER / "training.json").read_text())
    size = (FOLDER / "model.safetensors").stat().st_size / 1e6
    return "\n".join(
        [
            f"Parameters: {model.num_parameters():,}; weights on disk: {size:.1f} MB. "
            f"Training: {last['step']:,} steps, {last['tokens'] / 1e6:.1f} M tokens, "
            f"{last['seconds'] / 60:.0f} minutes.",
            "",
            "### Held-out loss",
            "",
            *held_out_report(model, work),
            "",
            "### Induction",
            "",
            *induction_report(model),
            "",
            "### Samples",
            "",
            *samples_report(model, work),
        ]
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Print the figures of the model card.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the raw texts")
    parser.add_argument("--work", type=Path, required=True, help="the folder used in training")
    parser.add_argument("--card", action="store_true", help="write them into README.md, too")
    flags = parser.parse_args()
    data.prepare(flags.corpus, flags.work)
    figures = report(flags.work)
    print(figures)
    if flags.card:
        model = GPT2LMHeadModel.from_pretrained(FOLDER, dtype=torch.float32).eval()
        (FOLDER / "heads.json").write_text(
            json.dumps(notable_heads(induction(model)), indent=2) + "\n"
        )
        card = FOLDER / "README.md"
        start, end = "<!-- figures -->\n", "<!-- end of figures -->"
        text = card.read_text(encoding="utf-8")
        before, after = text.split(start)[0], text.split(end)[1]
        card.write_text(f"{before}{start}\n{figures}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
