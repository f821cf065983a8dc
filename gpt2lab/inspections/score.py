r"""How well did the model predict this text?

GPT-2 was trained for one thing: to give the token that comes next a high probability. So any text
can be held against it, token by token. The *log-probability* of token $t_i$, in nats, and the
*rank* that the model gave it before it came, 1 being its favourite:

$$\log p_i = \log p(t_i \mid t_1 \dots t_{i-1}), \qquad
\text{rank}_i = 1 + \#\{\,j : z_j > z_{t_i}\}.$$

The *entropy* $H_i$ says how open the choice was, in bits: it is the $-\log_2 p$ to be expected.
The *surprise* $-\log_2 p_i - H_i$ is what came on top: above 0 for a token that was less probable
than the model expected, below 0 for one that was more so. Text that a model has written itself
stays near 0 and within the first ranks, which is how such text can be recognized (Gehrmann et al.,
*GLTR*, 2019, with the same four classes of ranks as here).

The mean of $-\log p_i$ is the *loss*, the number that `model(ids, labels=ids).loss` gives and that
training makes small. Its exponential is the *perplexity*: the model was as undecided as if it had
to choose among that many equally likely tokens. It counts per token, so models with different
tokenizers can only be compared by *bits per byte*, the sum of $-\log_2 p_i$ over the number of
UTF-8 bytes of the same tokens. The first token follows nothing, so it has no numbers, and neither
it nor its bytes are counted.

A text that is longer than the context is read in *windows* that overlap. Each moves on by `stride`
tokens, and counts only those that no window before has counted: every token counts once, and has
the whole text before it in view or at least window − stride tokens of it. By default the window is
all of the context (and never larger), and the stride half of the window (and always smaller than
it). Make the window small to see what a short memory costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.inspections.tokens import TokenPieces, id_pieces
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.score_figure import SCALES, figure
from gpt2lab.scoring import LARGEST_WINDOW, LN_2, MOST_READ, Numbers, Window, numbers
from gpt2lab.snippets import preamble
from gpt2lab.tokens import encode, prompt_ids, token_bytes
from gpt2lab.trace import Text, Trace
from gpt2lab.work import block_work, head_work, largest


@dataclass(frozen=True, eq=False)
class Score(Numbers):
    """What the model thought of each token of a text before it came.

    The arrays `logprobs`, `ranks` and `entropy_bits`, and the loss and perplexity that follow from
    them, are those of `Numbers`: entry i is about token i. The first token follows nothing, so it
    has none: NaN, and rank 0.

    pieces: the n tokens.
    window, stride: how many tokens were read at once, and how far the window then moved on.
    colour, position: what the chips show, and around which token if not all can be drawn.
    """

    pieces: TokenPieces
    window: int
    stride: int
    colour: str
    position: int

    @property
    def ids(self) -> tuple[int, ...]:
        """The n token ids."""
        return self.pieces.ids

    @property
    def tokens(self) -> tuple[str, ...]:
        """Vocabulary strings of the ids."""
        return self.pieces.tokens

    @property
    def bits_per_byte(self) -> float:
        """Bits of all tokens but the first, over the UTF-8 bytes of these tokens."""
        count = sum(len(token_bytes(token)) for token in self.tokens[1:])
        return float(-self.logprobs[1:].sum() / LN_2 / count) if count else float("nan")


MORE = 2
"""Times as much work as elsewhere may be done: long products, which a processor does fastest."""


def score(
    text: Text,
    colour: str = "log-probability",
    position: int = -1,
    window: int = 0,
    stride: int = 0,
) -> Score:
    """Score a traced text, all of which is in view by default, or one too long for a trace."""
    sliding = Window.checked(text.gpt2, window, stride)
    trace = text if isinstance(text, Trace) else None
    return _score(text.gpt2, text.ids.tolist(), trace, sliding, colour, position)


def score_text(
    gpt2: Gpt2,
    text: str,
    colour: str = "log-probability",
    position: int = -1,
    window: int = 0,
    stride: int = 0,
) -> Score:
    """Score a text of any length; an empty one is the beginning-of-text token.

    By default the window is the model's context and the stride half of it.
    """
    ids = encode(gpt2, text) or prompt_ids(gpt2, text)
    return _score(gpt2, ids, None, Window.checked(gpt2, window, stride), colour, position)


def _score(
    gpt2: Gpt2, ids: list[int], trace: Trace | None, window: Window, colour: str, position: int
) -> Score:
    if not isinstance(colour, str) or colour not in SCALES:
        raise Refusal(f"colour is {quoted(colour)}, but must be one of {', '.join(SCALES)}.")
    position = int(checked_number("position", position, -len(ids), len(ids) - 1)) % len(ids)
    found = numbers(gpt2, ids, window, trace)
    return Score(
        logprobs=found.logprobs,
        ranks=found.ranks,
        entropy_bits=found.entropy_bits,
        pieces=id_pieces(gpt2, ids),
        window=window.size,
        stride=window.stride,
        colour=colour,
        position=position,
    )


def table(result: Score) -> Table:
    """One row per token; the first one follows nothing, so its cells are empty."""
    columns = (result.logprobs, np.exp(result.logprobs), result.entropy_bits, result.surprise_bits)
    rows = []
    for position, (id, shown) in enumerate(zip(result.ids, result.pieces.shown, strict=True)):
        cells: Sequence[float | str] = [float(one[position]) for one in columns]
        rank = int(result.ranks[position])
        rows.append((position, shown, id, *((rank, *cells) if position else ("",) * 5)))
    headers = (
        "position", "token", "id", "rank", "log-probability (nats)", "probability",
        "entropy (bits)", "surprise (bits)",
    )  # fmt: skip
    return Table(headers, tuple(rows))


def answer(result: Score) -> dict[str, Any]:
    """JSON of the endpoint; entry i of each list is about token i, null for the first."""
    return {
        "ids": list(result.ids),
        "logprobs": _listed(result.logprobs),
        "ranks": [None, *result.ranks[1:].tolist()],
        "entropy_bits": _listed(result.entropy_bits),
        "perplexity": _finite(result.perplexity),
        "bits_per_byte": _finite(result.bits_per_byte),
        "window": result.window,
        "stride": result.stride,
    }


def _listed(values: np.ndarray) -> list[float | None]:
    return [_finite(one) for one in values.tolist()]


def _finite(value: float) -> float | None:
    """The number; None if it is not finite, for which JSON has no word."""
    return value if isfinite(value) else None


def is_read_whole(gpt2: Gpt2, tokens: int) -> bool:
    """Whether a text of so many tokens is scored in half a minute, in windows as by default."""
    read = Window.checked(gpt2).read(tokens)
    one = gpt2.n_layer * block_work(gpt2, gpt2.n_positions) + head_work(gpt2, gpt2.n_positions)
    return read <= MOST_READ and read / gpt2.n_positions * one <= MORE * largest(gpt2)


def snippet(
    text: Text,
    colour: str = "log-probability",
    position: int = -1,
    window: int = 0,
    stride: int = 0,
) -> str:
    """Code that binds `logprobs`, `ranks`, `entropy_bits` and `loss`."""
    sliding = Window.checked(text.gpt2, window, stride)
    size, step, length = sliding.size, sliding.stride, len(text)
    passes = "    logits = model(ids).logits[0, :-1]  # behind each token but the last"
    if length > size:
        begins = sliding.begins(length)
        first = f"{size - step - 1} if begin else 0"  # what a window before has counted is left out
        passes = f"""    windows = [(begin, ids[:, begin:begin + {size}]) for begin in {begins}]
    logits = torch.cat([model(part).logits[0, {first}:-1] for begin, part in windows])"""
    return f"""{preamble(text.gpt2, text.ids.tolist())}
with torch.no_grad():
{passes}
logits = torch.nn.functional.pad(logits.float(), (0, 0, 1, 0), value=torch.nan)  # first: unknown
log_p = logits.log_softmax(-1)
logprobs = log_p.gather(-1, ids.T)[:, 0]
ranks = torch.where(logprobs.isnan(), 0, (logits > logits.gather(-1, ids.T)).sum(-1) + 1)
entropy_bits = -(log_p.exp() * log_p).sum(-1) / torch.tensor(2.0).log()
loss = -logprobs[1:].mean()
tokens = tokenizer.convert_ids_to_tokens(ids[0])
print(*zip(tokens, logprobs.tolist(), ranks.tolist(), entropy_bits.tolist()), sep="\\n")
print("loss", loss.item(), "perplexity", loss.exp().item())
"""


INSPECTION = Inspection(
    name="score",
    title="Score a text",
    group="Text",
    idea=__doc__ or "",
    compute=score,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("logprobs", "ranks", "entropy_bits"),
    controls=(
        Control("colour", "choice", "of the chips", "log-probability", choices=tuple(SCALES)),
        Control("position", "position", "around which the chips of a long text are drawn", -1),
        Control("window", "number", "tokens read at once; 0: all the context", high=LARGEST_WINDOW),
        Control(
            "stride",
            "number",
            "tokens from one window to the next; 0: half of it",
            high=LARGEST_WINDOW - 1,
        ),
    ),
    of_text=score_text,
    whole=is_read_whole,
)
