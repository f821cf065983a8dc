"""How GPT-2 is trained, in small: a lesson that ends with the model in this folder.

    python -m gpt2lab.pocket.train --corpus DIR --work DIR [--minutes N]

**The task.** The model reads a row of tokens and says at every position how probable each of the
50,257 tokens is as the next one. The loss is the mean surprise, -log p(the token that came), in
nats. Nothing else is ever taught; grammar, names and stories are what lowers the surprise.

**The network** is transformers' own GPT-2, only small: 6 layers of 8 heads on vectors of 256
numbers. The embedding E (50,257 x 256) is three quarters of it and serves twice (*weight tying*):
its row turns a token into a vector, and ``hidden @ E.T`` turns the last hidden state into scores.

**Four devices** make it affordable on two CPU cores:

1. *A sampled softmax for rare tokens.* Scoring 50,257 tokens at every position would cost more
   than the whole network. 95 % of any text is made of some 8,000 tokens, so each step scores those
   exactly, the rare tokens that occur in the step exactly, and a random sample of the others,
   which stands for all of them: with log(others / sampled) added to each sampled score, the sum
   under the softmax's fraction is right on average.
2. *A start that knows word frequencies.* GPT-2 has no bias on its scores, but ln_f has one:
   its first coordinate is set to a constant c and the first column of E to log(frequency) / c.
   The untrained model so begins at the entropy of single words, about 7 nats, rather than at
   log(50,257) = 10.8, and a token that never occurs is improbable from the start. The column
   stays as it is; the other 255 learn.
3. *Muon* for the matrices inside the blocks: momentum whose update is made orthogonal, so that
   every direction of a matrix learns at the same pace. Embeddings, biases and norms use AdamW.
4. *Positions that start as waves*, the sines and cosines of the first Transformer, and learn ten
   times more slowly. "One position back" is then the same rotation everywhere, which one head can
   learn; with random vectors it would be 511 facts.

**A little exercise** is mixed in: one row in 16 is of random tokens, each short span given
twice. The second time it is predictable, but only by looking back at what followed the same
token before, and that is the work of *induction heads*. Plain text teaches them too, only later.

**Keeping time.** The learning rate rises for a moment, then falls in a half cosine to zero when
the given minutes are used up. Rows are 256 tokens long at first, because attention to a short
past costs less, and 512 in the last part. Every few minutes everything goes to
``checkpoint.pt``; the same command continues from there, with more ``--minutes`` also after the
end. What a step trains on depends on the seed and its number alone.

On Linux, ``MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=16000000000`` before the command keeps freed
memory at hand for the next step: nearly twice as fast.
"""

import argparse
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, GPT2Config, GPT2LMHeadModel

from gpt2lab.pocket import FOLDER, data
from gpt2lab.pocket.softmax import choose_candidates, sampled_softmax


@dataclass(frozen=True)
class Config:
    """Everything that one would turn."""

    n_layer: int = 6
    n_head: int = 8
    n_embd: int = 256
    n_positions: int = 512

    mix: tuple[tuple[str, int], ...] = (
        ("books", 7),
        ("stories", 1),
        ("wikipedia", 6),
        ("wikinews", 2),
    )  # rows of n_positions tokens in every step, or twice as many of half the length
    long_from: float = 0.6  # progress at which rows become n_positions long
    frequent: int = 8192  # tokens that every step scores
    sampled: int = 2048  # rare tokens that stand for the rest

    learning_rate: float = 4e-3
    position_share: float = 0.1  # of the learning rate, for the positions
    weight_decay: float = 0.05  # of the matrices in the blocks
    warmup_steps: int = 100
    unigram_scale: float = 32.0  # the c of device 2
    wave_height: float = 0.08  # of the positions at the start
    clip: float = 1.0
    seed: int = 1
    save_every: float = 300.0  # seconds


# ------------------------------------------------------------------------------------- the loss


def loss(
    config: Config, model: GPT2LMHeadModel, tokens: Tensor, weights: Tensor, step: int
) -> tuple[Tensor, Tensor]:
    """The loss of one batch, and the surprise at every position (rows, length)."""
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    # Short rows alternate between the first and the second half of the positions.
    halves = config.n_positions // inputs.shape[1]
    places = torch.arange(len(inputs))[:, None] % halves * inputs.shape[1]
    positions = places + torch.arange(inputs.shape[1])
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.transformer(
            inputs, position_ids=positions, use_cache=False
        ).last_hidden_state
    dice = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    table = model.transformer.wte.weight
    candidates = choose_candidates(targets, len(table), config.frequent, config.sampled, dice)
    mean, surprise = sampled_softmax(hidden, table, candidates, targets, weights)
    return mean, surprise


# ------------------------------------------------------------------------- model and optimisers


def gpt2_config(config: Config) -> GPT2Config:
    """GPT-2's configuration, with our sizes and no dropout."""
    return GPT2Config(
        n_layer=config.n_layer, n_head=config.n_head, n_embd=config.n_embd,
        n_positions=config.n_positions, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=data.END_OF_TEXT, eos_token_id=data.END_OF_TEXT, tie_word_embeddings=True,
    )  # fmt: skip


def attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **_: Any
) -> tuple[Tensor, None]:
    """Causal attention as the formula has it; in bfloat16, twice as fast here as the ready one."""
    with torch.autocast("cpu", enabled=False):
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)  # batch, head, from, to
        future = torch.full(scores.shape[-2:], -1e9, dtype=scores.dtype).triu(1)
        return ((scores + future).softmax(-1) @ value).transpose(1, 2).contiguous(), None


def waves(config: Config) -> Tensor:
    """Where the positions start: a sine and a cosine for each of n_embd / 2 wavelengths."""
    position = torch.arange(config.n_positions)[:, None]
    rate = 500.0 ** -torch.linspace(0, 1, config.n_embd // 2)  # radians a position
    return config.wave_height * torch.cat([(position * rate).sin(), (position * rate).cos()], dim=1)


def new_model(config: Config, log_frequency: NDArray[np.float64]) -> GPT2LMHeadModel:
    """GPT-2 at its start: small random numbers, and device 2."""
    torch.manual_seed(config.seed)
    settings = gpt2_config(config)
    settings.activation_function = "gelu_pytorch_tanh"  # gelu_new in one go: same, but faster
    AttentionInterface.register("plain", attention)
    model = GPT2LMHeadModel(settings)
    model.set_attn_implementation("plain")
    with torch.no_grad():
        centred = torch.from_numpy(log_frequency - log_frequency.mean()).float()
        model.transformer.wte.weight[:, 0] = centred / config.unigram_scale
        model.transformer.ln_f.bias[0] = config.unigram_scale
        model.transformer.ln_f.weight[0] = 0.0
        model.transformer.wpe.weight.copy_(waves(config))
    return model


def optimisers(config: Config, model: GPT2LMHeadModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices in the blocks, AdamW for the rest; every rate follows ``pace``."""
    matrices = [p for p in model.transformer.h.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    tokens, positions = model.transformer.wte.weight, model.transformer.wpe.weight
    chosen |= {id(tokens), id(positions)}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    groups: list[dict[str, Any]] = [
        {"params": [tokens]},
        {"params": [positions], "share": config.position_share},
        {"params": rest},
    ]
    return [
        torch.optim.Muon(
            matrices, lr=config.learning_rate, weight_decay=config.weight_decay, momentum=0.95,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.0
        ),
    ]  # fmt: skip


def pace(config: Config, step: int, progress: float) -> float:
    """The learning rate now, as a part of its peak: a short rise, then a half cosine to zero."""
    rise = min(1.0, (step + 1) / config.warmup_steps)
    return rise * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


# ------------------------------------------------------------------------------------- training


def save(path: Path, content: dict[str, Any]) -> None:
    """Write beside, then rename: a checkpoint is whole or not there."""
    torch.save(content, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def export(config: Config, checkpoint: dict[str, Any], to: Path) -> None:
    """Write the model folder: rows back in GPT-2's order, numbers in float16."""
    model = GPT2LMHeadModel(gpt2_config(config))
    model.load_state_dict(checkpoint["model"])
    with torch.no_grad():
        table = model.transformer.wte.weight
        table[checkpoint["order"]] = table.clone()
    model.to(torch.float16).save_pretrained(to)
    (to / "model.safetensors").chmod(0o644)
    effort = {name: checkpoint[name] for name in ("step", "tokens", "seconds")}
    (to / "training.json").write_text(json.dumps(effort, indent=2) + "\n")
    print(f"exported to {to}")


def train(config: Config, batches: data.Batches, work: Path, minutes: float) -> dict[str, Any]:
    """Train, or go on training, until ``minutes`` are used up; returns the last checkpoint."""
    model = new_model(config, batches.log_frequency)
    optimizers = optimisers(config, model)
    step, seconds, tokens_seen, path = 0, 0.0, 0, work / "checkpoint.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        step, seconds, tokens_seen = saved["step"], saved["seconds"], saved["tokens"]
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        if saved["order"].tolist() != batches.order.tolist():
            raise SystemExit(f"{path} was trained on other data; give another --work")
        print(f"continuing at step {step}", flush=True)
    model.train()
    started, last_save, mean = time.perf_counter() - seconds, seconds, 0.0
    while True:
        seconds = time.perf_counter() - started
        progress = seconds / (60 * minutes)
        if progress >= 1.0 or seconds - last_save > config.save_every:
            content = {
                "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers],
                "step": step, "seconds": seconds, "tokens": tokens_seen,
                "order": torch.from_numpy(batches.order),
            }  # fmt: skip
            save(path, content)
            last_save = seconds
            if progress >= 1.0:
                return content
        rate = config.learning_rate * pace(config, step, progress)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
        tokens, weights = batches.batch(step, halves=1 if progress >= config.long_from else 2)
        now, surprise = loss(config, model, tokens, weights, step)
        now.backward()
        table_gradient = model.transformer.wte.weight.grad
        assert table_gradient is not None
        table_gradient[:, 0] = 0.0
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        tokens_seen += weights.numel()
        text = float(surprise[weights == 1].mean())
        mean = 0.98 * mean + 0.02 * text if mean else text
        if step % 25 == 0:
            seconds = time.perf_counter() - started
            print(
                f"step {step}  minute {seconds / 60:.1f}  tokens {tokens_seen / 1e6:.2f} M  "
                f"rate {rate:.2e}  loss {text:.3f}  mean {mean:.3f}"
                f"  exercise {float(surprise[weights > 1].mean()):.2f}",
                flush=True,
            )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train pocket; the same command continues.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the raw texts")
    parser.add_argument("--work", type=Path, required=True, help="folder for ids and checkpoint")
    parser.add_argument("--minutes", type=float, default=110.0, help="length of the whole training")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder for the finished model")
    parser.add_argument("--export-only", action="store_true", help="only the last checkpoint")
    flags = parser.parse_args()
    config = Config()
    if flags.export_only:
        last = torch.load(flags.work / "checkpoint.pt", weights_only=True)
    else:
        data.prepare(flags.corpus, flags.work)
        batches = data.Batches(
            data.load(flags.work, "train"), dict(config.mix), config.n_positions,
            config.frequent, config.seed,
        )  # fmt: skip
        last = train(config, batches, flags.work, flags.minutes)
    export(config, last, flags.to)


if __name__ == "__main__":
    main()
