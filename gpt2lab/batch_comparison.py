"""Each row of a batch against the same text alone.

The measure is the largest difference of two sets of logits over the whole vocabulary: those that
the batch gives a row, and those that its text gives without any padding. Both are right if it is no
more than rounding. What is said about a batch in words follows from these numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpt2lab.batches import (
    SIDES,
    PaddedBatch,
    checked_work,
    end_logits,
    fitted,
    last_logits,
    pad,
    pass_work,
    same_as_alone,
    write,
)
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.tokens import decode, describe, readable
from gpt2lab.trace import Trace
from gpt2lab.work import unasked

WITHIN, ROUNDINGS = 1e-4, 8
"""How far two right ways to compute a logit may be apart: by this much, or by so many roundings of
the largest logit if they are more, as they are where numbers have few digits."""


@dataclass(frozen=True)
class Configuration:
    """One way to hand a batch to the model, and what it does to the rows.

    counted: whether the position ids are counted from the mask, as `generate` does. A plain forward
        pass counts the columns; without a mask both are the same.
    error: the largest error of all rows; None where it was too much to compute unasked.
    """

    padding_side: str
    use_mask: bool
    counted: bool
    error: float | None


@dataclass(frozen=True, eq=False)
class BatchComparison:
    """A padded batch, what was written behind it, and how far each row is from its text alone.

    padding_side, use_mask, pad_id: how it was padded, and with which token.
    input_ids, attention_mask, position_ids: (rows, width); the mask is all 1 if none is used.
    pads: (rows, width), whether a pad stands there.
    max_logit_error: (rows,) in the last column, from which `generate` chooses the first new token.
    text_end_error: (rows,) at the text's own last token.
    tolerance: largest error that is rounding.
    configurations: all sides and masks, for the same texts and pad token.
    output_ids: (rows, new tokens) as `generate` returns them; ended rows are filled up with eos.
    outputs: (rows,) text written behind each row; shown: (rows,) with all of it visible.
    counts, finish_reasons: (rows,) how many tokens that were, and why they ended.
    same: (rows,) how many of them greedy decoding would also write behind the text alone; None
        under other strategies.
    strategy: of the decoding. cut: tokens of the first text that were left out before it.
    tokens: what a person reads of each id in the batch.
    """

    padding_side: str
    use_mask: bool
    pad_id: int
    input_ids: np.ndarray
    attention_mask: np.ndarray
    position_ids: np.ndarray
    pads: np.ndarray
    max_logit_error: np.ndarray
    text_end_error: np.ndarray
    tolerance: float
    configurations: tuple[Configuration, ...]
    output_ids: np.ndarray
    outputs: tuple[str, ...]
    shown: tuple[str, ...]
    counts: tuple[int, ...]
    finish_reasons: tuple[str, ...]
    same: tuple[int, ...] | None
    strategy: str
    cut: int
    tokens: dict[int, str]

    @property
    def rows(self) -> int:
        """How many texts."""
        return len(self.input_ids)

    @property
    def wrong(self) -> tuple[int, ...]:
        """The rows whose error is more than rounding."""
        return tuple(np.flatnonzero(self.max_logit_error > self.tolerance).tolist())

    @property
    def padded(self) -> np.ndarray:
        """Which rows have padding: (rows,)."""
        return np.asarray(self.pads.any(axis=1))

    @property
    def verdict(self) -> str:
        """What the numbers say, in a sentence."""
        largest = float(self.max_logit_error.max())
        if not self.wrong:
            rows = f"All {self.rows} rows agree" if self.rows > 1 else "The one row agrees"
            return f"{rows} with the text alone within {largest:.1g} logits{self._reason_right()}."
        differ = f"{'row' if self.rows == 1 else 'rows'} differ"
        differ += "s" if len(self.wrong) == 1 else ""
        size = f"{largest:.1f}" if largest >= 1 else f"{largest:.2g}"
        return (
            f"{len(self.wrong)} of {self.rows} {differ} from the text alone by up to {size} "
            f"logits{self._reason_wrong()}."
        )

    def _reason_right(self) -> str:
        if not self.pads.any():
            return ": no row has padding, so nothing can go wrong"
        if self.padding_side == "left" and self.use_mask:
            return ": the mask hides the pads, and the position ids leave them out"
        return ""

    def _reason_wrong(self) -> str:
        if not self.padded[list(self.wrong)].all():
            return ""
        if self.padding_side == "right":
            end = float(self.text_end_error.max())
            place = f" (at the texts' own ends they are within {end:.1g})"
            return ", because generate goes on behind the last column, where they have a pad" + (
                place if end <= self.tolerance else ""
            )
        if not self.use_mask:
            return (
                ", because without a mask the pads are read as text, and the position ids count "
                "them"
            )
        return ""

    def error(self, padding_side: str, use_mask: bool, counted: bool = True) -> float | None:
        """Largest error of a configuration."""
        wanted = (padding_side, use_mask, counted)
        found = {(one.padding_side, one.use_mask, one.counted): one for one in self.configurations}
        return found[wanted].error

    @property
    def claims(self) -> tuple[tuple[str, str], ...]:
        """What one often reads about padding, and what holds, with this batch's numbers."""
        padded = int(self.padded.sum())
        count = int(np.count_nonzero((self.input_ids == 0) & ~self.pads))
        left, right, columns = (
            _written(self.error(*one))
            for one in (("left", True), ("right", True), ("left", True, False))
        )
        return (
            (
                "“Pad on the left, because GPT-2 generates from right to left.”",
                "It generates from left to right, behind the last column. Padded on the right, "
                f"{padded} of these {self.rows} texts end before it{right}. Padded on the left "
                f"every text ends there{left}.",
            ),
            (
                "“Pad with 0.”",
                f"Id 0 is the token “{self.tokens[0]}”: {count:,} of the tokens of these texts "
                f"{'is' if count == 1 else 'are'} it. GPT-2 has no pad token; the custom is "
                "<|endoftext|>. On the left of a text, behind a mask, any token will do.",
            ),
            (
                "“With the mask, model(**batch) is right.”",
                f"Without position_ids it counts the columns{columns}. With the positions that "
                f"generate counts from the mask, padded on the left, it is right{left}.",
            ),
        )


def _written(error: float | None) -> str:
    return "" if error is None else f" (error {error:.2g})"


def compare(
    texts: Sequence[Trace],
    padding_side: str = "left",
    use_mask: bool = True,
    pad_token: str = "eos",
    decoding: Decoding | None = None,
    cut: int = 0,
    steps: int | None = None,
) -> BatchComparison:
    """Pad these texts, pass them through the model together, and write on behind each.

    At most `steps` tokens are written, if that is given.
    """
    gpt2, decoding = texts[0].gpt2, decoding or Decoding()
    rows = [text.ids.tolist() for text in texts]
    batch = pad(gpt2, rows, padding_side, use_mask, pad_token)
    settings = fitted(gpt2, len(rows), batch.width, decoding, steps)
    checked_work(gpt2, len(rows), batch.width, 2 if settings else 1)
    alone = _alone(texts)
    written = write(gpt2, batch, settings) if settings else None
    if written and written.first_logits is not None and batch.left:
        # Every text ends in the last column, where generate has begun.
        last = text_end = written.first_logits
    else:
        last, text_end = end_logits(gpt2, batch)
    errors = _errors(last, alone)
    ids = written.ids.cpu() if written else torch.empty((len(rows), 0), dtype=torch.long)
    counts = written.counts if written else (0,) * len(rows)
    answers = [row[:count].tolist() for row, count in zip(ids, counts, strict=True)]
    same = None
    if settings and decoding.strategy == "greedy":
        pairs = zip(texts, answers, strict=True)
        same = tuple(same_as_alone(text, settings, answer) for text, answer in pairs)
    listed = [0, *batch.input_ids.unique().tolist()]
    return BatchComparison(
        padding_side=padding_side,
        use_mask=use_mask,
        pad_id=batch.pad_id,
        input_ids=batch.input_ids.cpu().numpy(),
        attention_mask=batch.attention_mask.cpu().numpy(),
        position_ids=batch.position_ids.cpu().numpy(),
        pads=batch.pads.cpu().numpy(),
        max_logit_error=errors.cpu().numpy(),
        text_end_error=_errors(text_end, alone).cpu().numpy(),
        tolerance=_tolerance(gpt2, alone),
        configurations=_configurations(gpt2, batch, pad_token, alone, errors),
        output_ids=ids.numpy(),
        outputs=tuple(decode(gpt2, answer) for answer in answers),
        shown=tuple(readable("".join(describe(gpt2, answer).tokens)) for answer in answers),
        counts=counts,
        finish_reasons=written.finish_reasons if written else ("length",) * len(rows),
        same=same,
        strategy=decoding.strategy,
        cut=cut,
        tokens=dict(zip(listed, map(readable, describe(gpt2, listed).tokens), strict=True)),
    )


@torch.no_grad()
def _alone(texts: Sequence[Trace]) -> Tensor:
    """Logits behind each text alone: (rows, vocab)."""
    ends = torch.stack([text.hidden[-1, -1] for text in texts])
    return texts[0].gpt2.model.lm_head(ends).float()


def _errors(logits: Tensor, alone: Tensor) -> Tensor:
    return (logits - alone).abs().amax(-1)


def _tolerance(gpt2: Gpt2, alone: Tensor) -> float:
    rounding = torch.finfo(gpt2.model.dtype).eps * float(alone.abs().max())
    return max(WITHIN, ROUNDINGS * rounding)


def _configurations(
    gpt2: Gpt2, batch: PaddedBatch, pad_token: str, alone: Tensor, errors: Tensor
) -> tuple[Configuration, ...]:
    """The largest error under every configuration; `errors` are those of the batch itself.

    A row without padding is the same under all of them, so only the others are computed.
    """
    ways = [
        (side, mask, counted)
        for side in SIDES
        for mask, counted in ((True, True), (True, False), (False, True))
    ]
    own = (batch.padding_side, batch.use_mask, True)
    largest = {own: float(errors.max())}
    others = [way for way in ways if way != own]
    padded = batch.pads.any(dim=1)
    rest = float(errors[~padded].max())
    if not padded.any():
        largest |= dict.fromkeys(others, rest)
    elif len(others) * pass_work(gpt2, int(padded.sum()), batch.width) <= 2 * unasked(gpt2):
        batches = []
        for side, mask, counted in others:
            other = pad(gpt2, batch.rows, side, mask, pad_token)
            batches.append(other if counted else other.uncounted())
        found = _errors(last_logits(gpt2, batches, padded), alone[padded]).amax(-1)
        largest |= {way: max(rest, one) for way, one in zip(others, found.tolist(), strict=True)}
    return tuple(Configuration(*way, largest.get(way)) for way in ways)
