"""What `generate` returns beside the ids, when it is asked to.

Each step of `model.generate(..., return_dict_in_generate=True)` leaves its logits, its scores and
the inner states. Sampling draws from the one random generator that all of a process share; so that
nobody disturbs anybody here, the draw is made by a logits processor, the last one, with a generator
of its own. It is what `set_seed(seed)` and sampling draw, token for token.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GPT2LMHeadModel, LogitsProcessorList

from gpt2lab.decoding import Decoding
from gpt2lab.draws import Draw
from gpt2lab.inspection import Control
from gpt2lab.models import Gpt2
from gpt2lab.refusal import checked_number
from gpt2lab.stopping import stop_strings_criteria
from gpt2lab.trace import Trace

DRAWING = frozenset({"temperature", "top_k", "top_p", "min_p", "typical_p"})
"""Stages that generate applies under sampling alone."""
LONG = 256
"""From so many tokens on a prompt is not read again: its keys and values follow from its trace."""
STEPS = Control("steps", "number", "tokens to write", 5, low=1, high=12)
"""How many tokens a run has that is only looked at; `short_prompt` checks it."""

Shape = tuple[int, ...]


def short_prompt(trace: Trace, steps: int, prompt_length: int | None) -> list[int]:
    """The first `prompt_length` tokens, by default all, but never so many that no step has room."""
    steps = int(checked_number(STEPS.name, steps, STEPS.low, STEPS.high))
    room = max(1, trace.gpt2.n_positions - steps)
    return trace.ids[: min(prompt_length or len(trace), room)].tolist()


def short_run(gpt2: Gpt2, prompt: Sequence[int], steps: int, decoding: Decoding | None) -> Decoding:
    """The settings for one run of at most `steps` tokens behind the prompt."""
    decoding = decoding or Decoding()
    room = gpt2.n_positions - len(prompt)
    return limited(decoding, int(min(steps, decoding.new_tokens(len(prompt)), room)))


def limited(decoding: Decoding, steps: int) -> Decoding:
    """The same settings for one continuation of so many tokens."""
    return replace(
        decoding,
        max_new_tokens=steps,
        max_length=None,
        # An end that is forbidden until later is forbidden in all of these steps.
        min_new_tokens=min(decoding.min_new_tokens, steps),
        num_return_sequences=1,
    )


def own_draws(
    gpt2: Gpt2, prompt: Sequence[int], decoding: Decoding, cache: DynamicCache | None
) -> tuple[dict[str, Any], Draw | None]:
    """Arguments of one call of `generate` for one sequence, and what draws in it if anything.

    `cache` is what is `known` of the prompt.
    """
    more = {"stopping_criteria": stop_strings_criteria(gpt2, decoding), **_begun(cache, decoding)}
    # The settings that also hold under greedy decoding are left to generate itself.
    sampled = decoding.strategy == "sample"
    plain = replace(decoding, strategy="greedy") if sampled else decoding
    arguments = plain.generate_arguments() | more
    arguments.pop("stop_strings", None)
    if not sampled:
        return arguments, None
    stages = decoding.stages(gpt2, prompt)
    processors = [stage.processor for stage in stages if stage.name in DRAWING]
    draw = Draw(decoding.seed, gpt2.model.device)
    return arguments | {"logits_processor": LogitsProcessorList([*processors, draw])}, draw


def known(trace: Trace, prompt: list[int]) -> DynamicCache | None:
    """The cache of a long prompt without its last token; None for a short one."""
    if len(prompt) < LONG or trace.ids[: len(prompt)].tolist() != prompt:
        return None
    return trace.prefix(len(prompt) - 1).key_values()


def _begun(cache: DynamicCache | None, decoding: Decoding) -> dict[str, Any]:
    """A copy of what is `known`, as an argument of `generate`, which writes into it."""
    if cache is None:
        return {}
    cache = copy.deepcopy(cache)
    if decoding.strategy == "beam":
        cache.batch_repeat_interleave(decoding.num_beams)
    return {"past_key_values": cache}


@dataclass(frozen=True, eq=False)
class Outputs:
    """What `generate` returns about the sequence that it returns.

    chosen: (steps,) ids; logits, scores: (steps, vocab_size), float32; the rest: (steps,).
    """

    chosen: Tensor
    logits: Tensor
    scores: Tensor
    transition_scores: Tensor
    normalized: Tensor


@torch.no_grad()
def outputs_of(
    gpt2: Gpt2, prompt: list[int], decoding: Decoding, cache: DynamicCache | None = None
) -> Outputs:
    """Run `generate` behind the prompt; `cache` is what is `known` of it."""
    ids = torch.tensor([prompt], device=gpt2.model.device)
    arguments, draw = own_draws(gpt2, prompt, decoding, cache)
    outputs = gpt2.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        **arguments,
    )
    every_score = tuple(draw.seen) if draw else outputs.scores
    beams = outputs.beam_indices if decoding.strategy == "beam" else None
    rows = torch.zeros_like(outputs.sequences[0, len(prompt) :]) if beams is None else beams[0]
    rows = rows[rows >= 0]
    steps = torch.arange(len(rows), device=rows.device)
    transition, normalized = (
        gpt2.model.compute_transition_scores(
            outputs.sequences, every_score, beams, normalize_logits=normalize
        )[0, : len(rows)]
        for normalize in (False, True)
    )
    return Outputs(
        chosen=outputs.sequences[0, len(prompt) : len(prompt) + len(rows)],
        logits=torch.stack(outputs.logits)[steps, rows].float(),
        scores=torch.stack(every_score)[steps, rows].float(),
        transition_scores=transition,
        normalized=normalized,
    )


@torch.no_grad()
def plain_logits(
    trace: Trace, prompt: list[int], chosen: Tensor, cache: DynamicCache | None
) -> Tensor:
    """Logits of a pass over prompt and chosen tokens at once: (steps, vocab_size).

    They are those behind the prompt, with which the trace begins, and behind each chosen token but
    the last. `cache` is what is `known` of the prompt; it is written into.
    """
    model = trace.gpt2.model
    if cache is None:
        text = torch.cat([torch.tensor(prompt, device=chosen.device), chosen])
        return model(text[None], logits_to_keep=len(chosen) + 1).logits[0, :-1].float()
    # The trace is such a pass over a long prompt, so that only what is new is read behind it.
    behind = trace.all_logits(len(prompt) - 1, len(prompt))
    if len(chosen) == 1:
        return behind
    new = torch.cat([torch.tensor(prompt[-1:], device=chosen.device), chosen[:-1]])
    logits = model(new[None], past_key_values=cache).logits[0, 1:].float()
    return torch.cat([behind, logits])


@torch.no_grad()
def shapes(
    gpt2: Gpt2, decoding: Decoding, prompt_length: int, steps: int
) -> tuple[tuple[tuple[int, Shape], ...], tuple[tuple[int, Shape], ...]]:
    """Number and shape of the hidden states and attentions of each step.

    They come from a model of the same configuration on torch's "meta" device, where tensors have
    shapes but no numbers: the attentions of 1,024 tokens would take 604 MB of GPT-2 small. It has
    one block, since every block adds one tensor of the same shape to both.
    """
    rows = decoding.num_beams if decoding.strategy == "beam" else 1
    config = copy.deepcopy(gpt2.model.config)
    config.n_layer, more = 1, config.n_layer - 1
    with torch.device("meta"):
        # While a model of another dtype is built, that is torch's default for the whole process.
        model = GPT2LMHeadModel._from_config(
            config, attn_implementation="eager", dtype=torch.float32
        ).eval()
    cache = DynamicCache(config=config)
    hidden_states, attentions = [], []
    for read in [prompt_length, *[1] * (steps - 1)]:
        output = model(
            torch.zeros((rows, read), dtype=torch.long, device="meta"),
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
            output_attentions=True,
            logits_to_keep=1,
        )
        hidden_states.append(_counted(output.hidden_states, more))
        attentions.append(_counted(output.attentions, more))
    return tuple(hidden_states), tuple(attentions)


def _counted(tensors: Sequence[Tensor], more: int) -> tuple[int, Shape]:
    """How many there are with so many more, and the shape of each."""
    return len(tensors) + more, tuple(tensors[0].shape)
