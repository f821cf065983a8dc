"""The next token's logits with the KV cache and without it, and how long either way takes.

Both ways are timed on ever longer beginnings of a text, as often as there is time for, and the
median counts: one measurement may have been disturbed, half of them hardly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, GPT2LMHeadModel

from gpt2lab.models import Gpt2
from gpt2lab.output_comparison import EQUAL

MOST_LENGTHS = 8
MOST_REPEATS = 5
"""Times that each pass is measured, if there is time."""


@dataclass(frozen=True, eq=False)
class KvCache:
    """Both ways at several lengths; entry i is about the first lengths[i] tokens.

    text_length: how many tokens the text has.
    repeated: how often it was repeated, the last time perhaps in part; 1 if it was not.
    longest: the length that was meant to be reached; `lengths` may end before it for lack of time.
    logits: (lengths, vocab_size), float32: behind the last token, with the cache.
    differences: (lengths,): largest difference of a logit to the pass without the cache.
    seconds_with, seconds_without: (lengths,): medians for one token.
    repeats: (lengths,): how many measurements the medians are of.
    cache_bytes: what the tensors in the cache take.
    sizes: n_layer, n_embd, and the bytes of one number.
    """

    text_length: int
    repeated: int
    longest: int
    lengths: tuple[int, ...]
    logits: np.ndarray
    differences: np.ndarray
    seconds_with: np.ndarray
    seconds_without: np.ndarray
    repeats: tuple[int, ...]
    cache_bytes: tuple[int, ...]
    sizes: tuple[int, int, int]

    @property
    def formula_bytes(self) -> tuple[int, ...]:
        """2 · n_layer · n · n_embd · bytes of one number, for each length."""
        n_layer, n_embd, of_one = self.sizes
        return tuple(2 * n_layer * length * n_embd * of_one for length in self.lengths)

    @property
    def formula(self) -> str:
        """The last of these, written out."""
        n_layer, n_embd, of_one = self.sizes
        return f"2 · {n_layer} · {self.lengths[-1]:,} · {n_embd:,} · {of_one}"

    @property
    def verdict(self) -> str:
        """What holds here, in words that follow the numbers."""
        difference = float(self.differences.max())
        equal = "equal" if difference < EQUAL else "do NOT equal"
        last = self.lengths[-1]
        faster, slower = self.seconds_with[-1], self.seconds_without[-1]
        growth = self.seconds_without[-1] / self.seconds_without[0]
        grown = self.seconds_with[-1] / self.seconds_with[0]
        same = "exactly" if self.cache_bytes == self.formula_bytes else "NOT"
        sentences = [
            f"With the cache the logits {equal} those without it (largest difference "
            f"{difference:.1e}).",
            f"At {last:,} tokens, one more takes {faster * 1e3:.3g} ms with it and "
            f"{slower * 1e3:.3g} ms without: {_times(slower / faster)} times as long.",
        ]
        if len(self.lengths) > 1:
            sentences.append(
                f"From {self.lengths[0]:,} to {last:,} tokens the time grew {_times(growth)}-fold "
                f"without the cache, {_times(grown)}-fold with it."
            )
        sentences.append(
            f"The cache takes {_bytes(self.cache_bytes[-1])}, {same} {self.formula} bytes."
        )
        return " ".join(sentences)

    @property
    def facts(self) -> str:
        """How the numbers came about."""
        few, many = min(self.repeats), max(self.repeats)
        count = f"{few}" if few == many else f"{few} to {many}"
        text = f"the text's {self.text_length:,} tokens"
        if self.repeated > 1:
            text += f", repeated up to {self.longest:,}"
        facts = f"{text} · each time is the median of {count} measurements"
        if self.lengths[-1] < self.longest:
            facts += f" · {self.longest:,} tokens would not have been done in the time set"
        return facts


def _times(factor: float) -> str:
    """A factor to two digits, or without decimals if it is large."""
    return f"{factor:,.0f}" if factor >= 9.5 else f"{factor:.1f}"


def _bytes(count: int) -> str:
    """A size as a person reads it."""
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"


def _repeats(gpt2: Gpt2, length: int, fill: str) -> int:
    """How often the text is repeated, the last time perhaps in part."""
    return -(-gpt2.n_positions // length) if fill == "repeated" else 1


def lengths_up_to(longest: int) -> list[int]:
    """Up to MOST_LENGTHS numbers, each about half of the next, the last of them `longest`.

    >>> lengths_up_to(1024)
    [8, 16, 32, 64, 128, 256, 512, 1024]
    >>> lengths_up_to(5)
    [1, 2, 5]
    """
    return sorted({max(1, longest >> halvings) for halvings in range(MOST_LENGTHS)})


@lru_cache(maxsize=8)
@torch.no_grad()
def compared(gpt2: Gpt2, text: tuple[int, ...], fill: str, seconds: float) -> KvCache:
    """Measure ever longer prefixes until the next one would not be done in time."""
    model = gpt2.model
    times = _repeats(gpt2, len(text), fill)
    ids = torch.tensor([(text * times)[: gpt2.n_positions]], device=model.device)
    cache = DynamicCache(config=model.config)
    model(ids[:, :1], use_cache=False)  # the first pass of all sets things up
    end = perf_counter() + seconds
    lengths: list[int] = []
    logits, differences, sizes = [], [], []
    with_cache: list[list[float]] = []
    without_cache: list[list[float]] = []
    for length in lengths_up_to(ids.shape[1]):
        # A pass over twice as many tokens takes at least twice as long.
        if lengths and perf_counter() + 3 * without_cache[-1][0] > end:
            break
        known = cache.get_seq_length()
        if known < length - 1:
            model(ids[:, known : length - 1], past_key_values=cache, logits_to_keep=1)
        share = perf_counter() + seconds / (2 * MOST_LENGTHS)
        new, of_one = _timed(partial(_next, model, ids[:, :length], cache))
        whole, of_all = _timed(partial(_all_again, model, ids[:, :length]))
        lengths.append(length)
        logits.append(new.cpu())
        differences.append(float((new - whole).abs().max()))
        sizes.append(sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers))
        with_cache.append([of_one])
        without_cache.append([of_all])
        _measure_more(model, ids[:, :length], cache, with_cache[-1], without_cache[-1], share)
    # What time is left goes into more measurements, of the longest first.
    for length, ones, alls in reversed(list(zip(lengths, with_cache, without_cache, strict=True))):
        _measure_more(model, ids[:, :length], cache, ones, alls, end)
    return KvCache(
        text_length=len(text),
        repeated=times,
        longest=ids.shape[1],
        lengths=tuple(lengths),
        logits=torch.stack(logits).numpy(),
        differences=np.array(differences),
        seconds_with=np.array([np.median(one) for one in with_cache]),
        seconds_without=np.array([np.median(one) for one in without_cache]),
        repeats=tuple(map(len, without_cache)),
        cache_bytes=tuple(sizes),
        sizes=(gpt2.n_layer, gpt2.n_embd, gpt2.model.dtype.itemsize),
    )


def _measure_more(
    model: GPT2LMHeadModel,
    ids: Tensor,
    cache: DynamicCache,
    ones: list[float],
    alls: list[float],
    end: float,
) -> None:
    """Add times of either way to the lists, until there are enough or the time is over."""
    while len(alls) < MOST_REPEATS and perf_counter() + ones[-1] + alls[-1] < end:
        ones.append(_timed(partial(_next, model, ids, cache))[1])
        alls.append(_timed(partial(_all_again, model, ids))[1])


def _next(model: GPT2LMHeadModel, ids: Tensor, cache: DynamicCache) -> Tensor:
    """Logits behind the last token; the cache knows all others, or is cut to them."""
    cache.crop(ids.shape[1] - 1 - cache.get_seq_length())
    return model(ids[:, -1:], past_key_values=cache).logits[0, -1].float()


def _all_again(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    """Logits behind the last token, from all of them."""
    return model(ids, use_cache=False, logits_to_keep=1).logits[0, -1].float()


def _timed(compute: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """The result, and the seconds that it took."""
    start = perf_counter()
    result = compute()
    if result.is_cuda:
        torch.cuda.synchronize(result.device)
    return result, perf_counter() - start
