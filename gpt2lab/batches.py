r"""Several texts in one pass: padding, the mask, and the positions.

A tensor has rows of one length and texts have not, so the shorter ones are filled up with *pads*.
A pad is a token like any other: the model cannot know that nobody wrote it. Two things tell it,

    attention_mask    0 where a pad stands: no token may look there
    position_ids      each token's place in its own text, as `generate` counts it from the mask:
                      cumsum(attention_mask) - 1, and 0 at the pads

Without a mask `generate` assumes that all is text, and counts the columns. A forward pass counts
the columns even with a mask, unless it is given the positions.

`generate` goes on behind the last column. Padded on the left every text ends there; padded on the
right only the longest one does.

Padding, passes and continuations are transformers' own. Only what is drawn is drawn from a random
generator of its own, which nobody else can disturb, and which gives the ids that
`set_seed(seed); model.generate(…)` gives for the same batch.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from gpt2lab.decoding import Decoding, final_scores
from gpt2lab.draws import Draw
from gpt2lab.models import Gpt2
from gpt2lab.outputs import limited
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.stopping import finish_reasons, stop_strings_criteria, stopping_criteria
from gpt2lab.tokens import checked_length, encode
from gpt2lab.trace import Trace
from gpt2lab.work import block_work, largest

SIDES = ("left", "right")
PAD_TOKENS = ("eos", "id 0")
MOST_ROWS = 8
MOST_WRITTEN = 1600
"""Rows times beams times new tokens, since a batch that is written cannot be stopped."""


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """Token ids in rows of one length.

    rows: the ids of each text.
    pad_id: the token that fills up.
    input_ids: (rows, width); attention_mask: (rows, width), all 1 if no mask is used;
    position_ids: (rows, width), as `generate` makes them. All on the model's device.
    pads: (rows, width), whether a pad stands there, with or without a mask.
    """

    rows: tuple[tuple[int, ...], ...]
    padding_side: str
    use_mask: bool
    pad_id: int
    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    pads: Tensor

    @property
    def width(self) -> int:
        """Tokens of the longest text."""
        return self.input_ids.shape[1]

    @property
    def text_ends(self) -> Tensor:
        """Column of each text's last token: (rows,)."""
        lengths = torch.tensor([len(row) for row in self.rows], device=self.pads.device)
        return torch.full_like(lengths, self.width - 1) if self.left else lengths - 1

    @property
    def left(self) -> bool:
        """Whether the pads stand before the text."""
        return self.padding_side == "left"

    def uncounted(self) -> "PaddedBatch":
        """The same batch with the positions that a forward pass gives it: it counts the columns."""
        columns = torch.arange(self.width, device=self.input_ids.device)
        return replace(self, position_ids=columns.expand_as(self.input_ids))


def checked_rows(gpt2: Gpt2, texts: object, first: int = 0) -> list[list[int]]:
    """Ids of 1 to 8 texts, none of them empty; raise `Refusal` with the number of a wrong one.

    `first` is the row in which the first of them will stand.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise Refusal(f"texts is {quoted(texts)}, but must be a list of strings.")
    if not 1 <= len(texts) <= MOST_ROWS:
        raise Refusal(f"texts has {len(texts)} texts, but must have 1 to {MOST_ROWS}.")
    rows = []
    for number, text in enumerate(texts, first):
        try:
            ids = encode(gpt2, text)
            if not ids:
                raise Refusal(
                    "The text is empty, so it has no token to go on from; write or drop it."
                )
            rows.append(checked_length(gpt2, ids))
        except Refusal as refusal:
            raise Refusal(f"Row {number}: {refusal}") from None
    return rows


def pad(
    gpt2: Gpt2,
    rows: Sequence[Sequence[int]],
    padding_side: str = "left",
    use_mask: bool = True,
    pad_token: str = "eos",
) -> PaddedBatch:
    """Fill the rows up with transformers' own tokenizer, on one side, with one of `PAD_TOKENS`."""
    for name, value, choices in (
        ("padding_side", padding_side, SIDES),
        ("pad_token", pad_token, PAD_TOKENS),
    ):
        if not isinstance(value, str) or value not in choices:
            raise Refusal(f"{name} is {quoted(value)}, but must be one of {', '.join(choices)}.")
    if not isinstance(use_mask, bool):
        raise Refusal(f"use_mask is {quoted(use_mask)}, but must be true or false.")
    pad_id = 0 if pad_token == "id 0" else gpt2.tokenizer.eos_token_id
    if pad_id is None:
        raise Refusal(f"{gpt2.name} has no end-of-text token to pad with; choose pad_token 'id 0'.")
    padded = _padding_tokenizer(gpt2, pad_id).pad(
        {"input_ids": [list(row) for row in rows]},
        padding_side=padding_side,
        return_attention_mask=True,
        return_tensors="pt",
    )
    input_ids = padded["input_ids"].to(gpt2.model.device)
    pads = padded["attention_mask"].to(gpt2.model.device) == 0
    mask = (~pads).long() if use_mask else torch.ones_like(input_ids)
    # Transformers' private method, which the pinned version and tests/test_batches.py guard.
    positions = gpt2.model._prepare_position_ids_for_generation(input_ids, {"attention_mask": mask})
    return PaddedBatch(
        tuple(map(tuple, rows)), padding_side, use_mask, pad_id, input_ids, mask, positions, pads
    )


@lru_cache(maxsize=8)
def _padding_tokenizer(gpt2: Gpt2, pad_id: int) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer that has a pad token; the shared one is never changed."""
    tokenizer = own_tokenizer(gpt2)
    tokenizer.pad_token = gpt2.tokenizer.convert_ids_to_tokens(pad_id)
    return tokenizer


def own_tokenizer(gpt2: Gpt2) -> PreTrainedTokenizerBase:
    """A tokenizer with settings and special tokens of its own, around the same vocabulary.

    Copying the vocabulary and its merges as well would take a second.
    """
    tokenizer = copy.copy(gpt2.tokenizer)
    tokenizer._special_tokens_map = dict(gpt2.tokenizer._special_tokens_map)
    return tokenizer


@torch.no_grad()
def end_logits(gpt2: Gpt2, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
    """Logits of the batch in its last column, and at each text's last token: (rows, vocab) each.

    The first are those from which `generate` chooses the first new token.
    """
    states = _states(gpt2, batch.input_ids, batch.attention_mask, batch.position_ids)
    rows = torch.arange(len(batch.rows), device=states.device)
    ends = torch.cat([states[:, -1], states[rows, batch.text_ends]])
    last, text_end = gpt2.model.lm_head(ends).float().chunk(2)
    return last, text_end


@torch.no_grad()
def last_logits(gpt2: Gpt2, batches: Sequence[PaddedBatch], chosen: Tensor) -> Tensor:
    """Logits of the chosen rows of each batch in the last column: (batches, rows, vocab).

    Small batches, all of one shape, go through the model together: most of the time that a short
    pass takes goes into reading the weights.
    """
    parts = (
        torch.cat([tensor[chosen] for tensor in tensors]).split(
            max(1, gpt2.n_positions // batches[0].width)
        )
        for tensors in (
            [batch.input_ids for batch in batches],
            [batch.attention_mask for batch in batches],
            [batch.position_ids for batch in batches],
        )
    )
    last = torch.cat([_states(gpt2, *part)[:, -1] for part in zip(*parts, strict=True)])
    return gpt2.model.lm_head(last).float().unflatten(0, (len(batches), -1))


def _states(gpt2: Gpt2, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """What the logits are made of, in every column: (rows, width, n_embd)."""
    return gpt2.model.transformer(
        ids, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state


def pass_work(gpt2: Gpt2, rows: int, width: int) -> float:
    """Operations of one pass of the model over so many rows and columns."""
    return rows * gpt2.n_layer * block_work(gpt2, width)


def checked_work(gpt2: Gpt2, rows: int, width: int, passes: int) -> None:
    """Raise `Refusal` if so many passes over a batch are more than one request may ask for."""
    operations, most = passes * pass_work(gpt2, rows, width), largest(gpt2)
    if operations > most:
        raise Refusal(
            f"{rows} rows of {width:,} tokens are {operations / most:.1f} times as much as one "
            "request may ask for; please give fewer or shorter texts."
        )


@dataclass(frozen=True, eq=False)
class Written:
    """What `generate` wrote behind the rows.

    ids: (rows, new tokens) as `generate` returns them: ended rows are filled up with eos.
    counts: (rows,) how many of these the row has written, its end-of-text token included.
    finish_reasons: (rows,) "length", "eos" or "stop".
    first_logits: (rows, vocab) from which it chose the first new token: those of the batch's last
        column. None under beam search, which works on log-probabilities.
    """

    ids: Tensor
    counts: tuple[int, ...]
    finish_reasons: tuple[str, ...]
    first_logits: Tensor | None


class FirstLogits(LogitsProcessor):
    """Comes before all stages, keeps the logits of the first step, and changes nothing."""

    def __init__(self) -> None:
        self.logits: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores as they are."""
        if self.logits is None:
            self.logits = scores.clone()
        return scores


def fitted(
    gpt2: Gpt2, rows: int, width: int, decoding: Decoding, steps: int | None = None
) -> Decoding | None:
    """The settings for one continuation of each row, with as many new tokens as there is room for.

    At most `steps`, if that is given; None if there is no room.
    """
    new = min(decoding.new_tokens(width), gpt2.n_positions - width, steps or gpt2.n_positions)
    each = rows * (decoding.num_beams if decoding.strategy == "beam" else 1)
    if each * new > MOST_WRITTEN:
        raise Refusal(
            f"Up to {new:,} new tokens behind {rows} texts are too much at once with strategy "
            f"{decoding.strategy!r}; ask for {MOST_WRITTEN // each:,} or fewer."
        )
    if not new:
        return None
    return limited(decoding, new)


@torch.no_grad()
def write(gpt2: Gpt2, batch: PaddedBatch, decoding: Decoding) -> Written:
    """Continue every row with `model.generate` on the batch; `decoding` has to be `fitted`."""
    arguments = decoding.generate_arguments()
    arguments.pop("stop_strings", None)
    first, processors = FirstLogits(), LogitsProcessorList()
    if decoding.strategy != "beam":
        # Greedy decoding behind a draw takes what was drawn.
        arguments = {"do_sample": False, "max_new_tokens": decoding.max_new_tokens}
        # A private method, which tests/test_batches.py guards. It looks at the mask: a repetition
        # penalty leaves out the pads on the left.
        stages = gpt2.model._get_logits_processor(
            decoding.prepared_config(gpt2, batch.width),
            input_ids_seq_length=batch.width,
            device=gpt2.model.device,
            model_kwargs={"attention_mask": batch.attention_mask},
        )
        processors = LogitsProcessorList([first, *stages])
    if decoding.strategy == "sample":
        processors.append(Draw(decoding.seed, gpt2.model.device))
    sequences = gpt2.model.generate(
        batch.input_ids,
        attention_mask=batch.attention_mask,
        logits_processor=processors,
        stopping_criteria=stop_strings_criteria(gpt2, decoding),
        **arguments,
    )
    counts, reasons = [0] * len(sequences), [""] * len(sequences)
    criteria = stopping_criteria(gpt2, decoding, batch.width)
    for end in range(batch.width + 1, sequences.shape[1] + 1):
        now = finish_reasons(criteria, sequences[:, :end])
        for row in [row for row, reason in enumerate(reasons) if not reason]:
            counts[row], reasons[row] = end - batch.width, now[row]
    ids = sequences[:, batch.width :]
    return Written(ids, tuple(counts), tuple(reasons), first.logits)


@torch.no_grad()
def same_as_alone(trace: Trace, decoding: Decoding, written: Sequence[int]) -> int:
    """How many of these tokens greedy decoding would also write behind the text alone.

    One pass says it: each token must be the best one behind those before it.
    """
    ids = torch.tensor([[*trace.ids.tolist(), *written]])
    stages = decoding.stages(trace.gpt2, trace.ids.tolist())
    logits = trace.extended(written).all_logits(len(trace) - 1, -1).cpu()
    for count, id in enumerate(written):
        before = ids[:, : len(trace) + count]
        if int(final_scores(stages, before, logits[count][None]).argmax()) != id:
            return count
    return len(written)
