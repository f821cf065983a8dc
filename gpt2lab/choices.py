"""How likely a model finds each of several endings of a text.

An ending is as probable as all its tokens together, each behind the text and the tokens before it:

    log p(ending | context) = sum of log p(token | context, tokens of the ending before it)

The context is read once. What stands behind its last token already says how probable each ending's
first token is; for the others the model reads the ending behind the kept keys and values of the
context, which are cut back to it before the next ending is read.

Context and ending are cut into tokens each for itself, and their ids put together, so that all
endings stand behind the very same tokens. The tokenizer might cut the joined text differently, when
the ending goes on with the context's last word: "un" and "happy" are two tokens, "unhappy" may have
others. Such an ending is marked, since the model has hardly ever seen it written in this way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache

from gpt2lab.refusal import Refusal, quoted
from gpt2lab.step import POSITIONS_AT_ONCE
from gpt2lab.tokens import checked_text, encode
from gpt2lab.trace import Trace

MOST_ENDINGS = 8


@dataclass(frozen=True, eq=False)
class Ending:
    """One ending, scored behind a context.

    text: as it was given.
    ids: (tokens,), its own token ids.
    logprobs: (tokens,) float64, log-probability of each behind all that stands before it, in nats.
    joined_alike: whether the tokenizer cuts context and ending, written as one text, into the same
        tokens as each for itself; None if no text is cut into the context's tokens, which may end
        in the middle of a character.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: np.ndarray
    joined_alike: bool | None

    @property
    def logprob(self) -> float:
        """Log-probability of the whole ending, in nats."""
        return float(self.logprobs.sum())

    @property
    def mean_logprob(self) -> float:
        """The same per token, so that a long ending can be compared with a short one."""
        return float(self.logprobs.mean())


@torch.no_grad()
def scored(trace: Trace, endings: str | Sequence[str]) -> tuple[Ending, ...]:
    """Score endings behind the traced text; a single string has one ending in each line."""
    gpt2, context = trace.gpt2, trace.ids.tolist()
    texts = checked_endings(endings)
    every = [encode(gpt2, text) for text in texts]
    for number, ids in enumerate(every, start=1):
        # The last token is only predicted, never read.
        if len(context) + len(ids) - 1 > gpt2.n_positions:
            raise Refusal(
                f"Ending {number} has {len(ids):,} tokens and the text before it "
                f"{len(context):,}, but {gpt2.name} reads at most {gpt2.n_positions:,}; please "
                "shorten one of them."
            )
    written = gpt2.tokenizer.decode(context, clean_up_tokenization_spaces=False)
    written_alike = gpt2.tokenizer.encode(written, verbose=False) == context
    cache = trace.key_values() if max(map(len, every)) > 1 else None
    return tuple(
        Ending(
            text=text,
            ids=tuple(ids),
            logprobs=_logprobs(trace, ids, cache),
            joined_alike=gpt2.tokenizer.encode(written + text, verbose=False) == context + ids
            if written_alike
            else None,
        )
        for text, ids in zip(texts, every, strict=True)
    )


def checked_endings(endings: object) -> list[str]:
    """The endings, of which there must be some; empty lines are none."""
    if isinstance(endings, str):
        texts: list[str] = [line for line in endings.split("\n") if line]
    elif isinstance(endings, list | tuple) and all(isinstance(one, str) for one in endings):
        texts = list(endings)
    else:
        raise Refusal(
            f"endings is {quoted(endings)}, but must be a list of texts, or one text with an "
            "ending in each line."
        )
    if not 1 <= len(texts) <= MOST_ENDINGS:
        raise Refusal(f"endings has {len(texts)} texts, but must have 1 to {MOST_ENDINGS}.")
    if "" in texts:
        raise Refusal(f"Ending {texts.index('') + 1} is empty; please write something in it.")
    return [checked_text(text, f"Ending {number}") for number, text in enumerate(texts, start=1)]


def _logprobs(trace: Trace, ids: Sequence[int], cache: DynamicCache | None) -> np.ndarray:
    """Log-probabilities of an ending's tokens: (tokens,), float64; the cache is left as it was."""
    gpt2, states = trace.gpt2, trace.hidden[-1][-1:]
    if len(ids) > 1 and cache is not None:
        read = torch.tensor([ids[:-1]], device=gpt2.model.device)
        output = gpt2.model.transformer(read, past_key_values=cache, use_cache=True)
        cache.crop(-len(ids[:-1]))
        states = torch.cat([states, output.last_hidden_state[0]])
    chosen = torch.tensor(ids, device=states.device)[:, None]
    parts = []
    for start in range(0, len(ids), POSITIONS_AT_ONCE):
        rows = slice(start, start + POSITIONS_AT_ONCE)
        # In float32 the sum over the vocabulary alone would cost the fifth decimal.
        log_p = gpt2.model.lm_head(states[rows]).double().log_softmax(-1)
        parts.append(log_p.gather(-1, chosen[rows])[:, 0].cpu())
    return torch.cat(parts).numpy()
