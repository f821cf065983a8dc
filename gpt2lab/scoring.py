"""How well a model predicts a text that is already there, however long it is.

What GPT-2 computes behind a token says what it expects next, so one pass over a text scores all its
tokens but the first, which follows nothing. The pass is as long as the model's context. Cutting a
longer text into pieces would make the model forget all it has read at each cut; so the pieces
overlap, as in a window that slides along the text. It moves on by `stride` tokens, and of each
window only those tokens count that no window before has counted:

    window 6, stride 2      0 1 2 3 4 5 6 7 8 9
    first window            · x x x x x              x  counted here
    second window               · · · · x x          ·  read, as what stands before
    third window                    · · · · x x

Every token but the first is counted once, and has all the text before it in view, or at least
window - stride tokens of it. A small stride is closer to the truth, a large one reads less.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from gpt2lab.models import Gpt2
from gpt2lab.progress import counted
from gpt2lab.refusal import Refusal, checked_number
from gpt2lab.step import POSITIONS_AT_ONCE
from gpt2lab.trace import Trace, trace_ids

LARGEST_WINDOW = 1024
MOST_READ = 32_768
"""Tokens that all windows of a text may read together: GPT-2 small takes minutes for so many."""
REMEMBERED = 16
"""Texts whose numbers are kept."""
CLASSES = (10, 100, 1000)
"""Where the classes of ranks end."""
LN_2 = float(np.log(2))


@dataclass(frozen=True, eq=False)
class Numbers:
    """What the model thought of each token before it came, one entry per token.

    The first token follows nothing, so it has no numbers: NaN, and rank 0.

    logprobs: (n,) float64, natural logarithms of their probabilities: nats.
    ranks: (n,) int64, 1 for the token with the largest logit.
    entropy_bits: (n,) float64, how open the choice was: the entropy of all probabilities.
    """

    logprobs: np.ndarray
    ranks: np.ndarray
    entropy_bits: np.ndarray

    @property
    def surprise_bits(self) -> np.ndarray:
        """-log2 p - entropy, (n,): above 0 where the token was less likely than expected."""
        return -self.logprobs / LN_2 - self.entropy_bits

    @property
    def loss(self) -> float:
        """Mean of -log p in nats, over all tokens but the first; NaN if there is no other."""
        return float(-self.logprobs[1:].mean()) if len(self.logprobs) > 1 else float("nan")

    @property
    def perplexity(self) -> float:
        """Exponential of the loss."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.loss))

    @property
    def histogram(self) -> tuple[int, ...]:
        """How many ranks are 1, up to 10, up to 100, up to 1,000, and beyond."""
        edges = [0.5, 1.5, *(end + 0.5 for end in CLASSES), np.inf]
        return tuple(np.histogram(self.ranks[1:], edges)[0].tolist())


@dataclass(frozen=True)
class Window:
    """How many tokens the model reads at once, and how far it then moves on."""

    size: int
    stride: int

    @classmethod
    def checked(cls, gpt2: Gpt2, size: int = 0, stride: int = 0) -> "Window":
        """Window of a model; 0 stands for its whole context, and for half of the window.

        A size beyond the context becomes the context. A stride beyond size - 1 becomes that, since
        the first token of a window is predicted by nothing in it.
        """
        size = int(checked_number("window", size, 0, LARGEST_WINDOW)) or gpt2.n_positions
        stride = int(checked_number("stride", stride, 0, LARGEST_WINDOW - 1))
        size = min(size, gpt2.n_positions)
        if size < 2:
            raise Refusal(
                f"window is {size}, but must be 0 or 2 and more, for a token and what follows it."
            )
        return cls(size, min(stride or size // 2, size - 1))

    def begins(self, length: int) -> range:
        """Where windows begin in a text of so many tokens; the last one may be shorter."""
        return range(0, max(1, length - self.size + self.stride), self.stride)

    def read(self, length: int) -> int:
        """Tokens that all windows read together."""
        return sum(min(self.size, length - begin) for begin in self.begins(length))


class _Known:
    """The last numbers, so that looking at them in another colour computes nothing."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[Gpt2, tuple[int, ...], Window], Numbers] = {}
        self._lock = Lock()

    def get(self, key: tuple[Gpt2, tuple[int, ...], Window]) -> Numbers | None:
        return self._numbers.get(key)

    def add(self, key: tuple[Gpt2, tuple[int, ...], Window], numbers: Numbers) -> None:
        with self._lock:
            self._numbers[key] = numbers
            if len(self._numbers) > REMEMBERED:
                del self._numbers[next(iter(self._numbers))]


_KNOWN = _Known()


@torch.no_grad()
def numbers(gpt2: Gpt2, ids: Sequence[int], window: Window, trace: Trace | None = None) -> Numbers:
    """Numbers of the tokens of a text; `trace`, if there is one, is its trace."""
    read = window.read(len(ids))
    if read > MOST_READ:
        raise Refusal(
            f"To score {len(ids):,} tokens in windows of {window.size:,} with a stride of "
            f"{window.stride:,}, {gpt2.name} would have to read {read:,}, and at most "
            f"{MOST_READ:,} are read; please shorten the text or take a larger stride."
        )
    key = gpt2, tuple(ids), window
    known = _KNOWN.get(key)
    if known is None:
        known = _numbers(gpt2, ids, window, trace)
        _KNOWN.add(key, known)
    return known


def _numbers(gpt2: Gpt2, ids: Sequence[int], window: Window, trace: Trace | None) -> Numbers:
    if len(ids) <= window.size:
        states = (trace or trace_ids(gpt2, ids)).hidden[-1][:-1]
    else:
        states = torch.cat(list(_window_states(gpt2, torch.tensor(ids), window)))
    found = Numbers(np.full(len(ids), np.nan), np.zeros(len(ids), int), np.full(len(ids), np.nan))
    chosen = torch.tensor(ids[1:], device=states.device)[:, None]
    for start in range(0, len(chosen), POSITIONS_AT_ONCE):
        rows = slice(start, start + POSITIONS_AT_ONCE)
        into = slice(start + 1, start + 1 + POSITIONS_AT_ONCE)
        logits = gpt2.model.lm_head(states[rows]).float()
        log_p = logits.log_softmax(-1)
        found.logprobs[into] = log_p.gather(-1, chosen[rows])[:, 0].cpu()
        found.ranks[into] = ((logits > logits.gather(-1, chosen[rows])).sum(-1) + 1).cpu()
        found.entropy_bits[into] = (-(log_p.exp() * log_p).sum(-1) / LN_2).cpu()
    for one in (found.logprobs, found.ranks, found.entropy_bits):
        one.setflags(write=False)  # everybody who asks the same is given the same arrays
    return found


def _window_states(gpt2: Gpt2, ids: Tensor, window: Window) -> Iterator[Tensor]:
    """The state in front of each token but the first, in order: (n - 1, n_embd) together."""
    whole = ids.unfold(0, window.size, window.stride)
    rest = ids[len(whole) * window.stride :]
    at_once = max(1, gpt2.n_positions // window.size)
    # The last window may reach beyond the text; what is left of it stands alone.
    last = [rest[None]] if len(whole) < len(window.begins(len(ids))) else []
    seen = window.size - window.stride
    first = True
    for batch in counted((*whole.split(at_once), *last), "windows"):
        output = gpt2.model.transformer(batch.to(gpt2.model.device), use_cache=False)
        for states in output.last_hidden_state:
            yield states[0 if first else seen - 1 : -1]
            first = False
