"""Writing, token by token.

One step of generation is: take the logits behind the last token, pass them through the stages of
the decoding, choose a token, append it, run the model on that one token alone. The keys and values
of all earlier tokens are kept in a cache, so they are never computed again.

`generate` is a Python generator: it yields a `Step` for every token and computes the next one only
when asked, so that it can be stopped anywhere. It chooses exactly the ids that

    set_seed(decoding.seed)
    model.generate(ids, **decoding.generate_arguments())

chooses, but draws from a random generator of its own, which nobody else can disturb. The states of
every step go into one growing `Trace`; looking inside afterwards costs no second pass.
"""

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache

from gpt2lab.beams import beam_search
from gpt2lab.decoding import Decoding, final_scores
from gpt2lab.models import Gpt2
from gpt2lab.step import Continuation, Step, describe
from gpt2lab.stopping import finish_reasons, stopping_criteria
from gpt2lab.tokens import checked_length, prompt_ids
from gpt2lab.trace import Trace


def generate(
    gpt2: Gpt2, text: str | Sequence[int], decoding: Decoding | None = None
) -> Iterator[Step]:
    """Continue `text` (or token ids) and yield every chosen token as a `Step`.

    What cannot work is refused before the first step. With several sequences, the steps of one
    index come one after the other, sequence 0 first. Beam search alone does not know its first
    token before its last, so it computes everything at the first step and cannot be stopped.
    """
    decoding = decoding or Decoding()
    ids = prompt_ids(gpt2, text) if isinstance(text, str) else checked_length(gpt2, text)
    checked_length(gpt2, ids, room=decoding.new_tokens(len(ids)))
    if decoding.strategy == "beam":
        return beam_search(gpt2, ids, decoding)
    return _sample(gpt2, ids, decoding)


def continue_text(
    gpt2: Gpt2, text: str | Sequence[int], decoding: Decoding | None = None
) -> list[Continuation]:
    """Continue `text` to the end and return one `Continuation` per sequence."""
    sequences: dict[int, list[Step]] = {}
    for step in generate(gpt2, text, decoding):
        sequences.setdefault(step.sequence, []).append(step)
    return [Continuation.of(gpt2, steps) for _, steps in sorted(sequences.items())]


@torch.no_grad()
def _sample(gpt2: Gpt2, prompt: list[int], decoding: Decoding) -> Iterator[Step]:
    """Greedy decoding and sampling: the loop of transformers' `_sample`, one step at a time."""
    model, device = gpt2.model, gpt2.model.device
    rows = decoding.num_return_sequences if decoding.strategy == "sample" else 1
    config = decoding.prepared_config(gpt2, len(prompt))
    stages = decoding.stages(gpt2, prompt)
    criteria = stopping_criteria(gpt2, decoding, len(prompt))
    random = torch.Generator(device=device).manual_seed(decoding.seed)

    ids = torch.tensor([prompt] * rows, device=device)  # (rows, n)
    cache = DynamicCache(config=model.config)
    # One buffer for all states: traces are views of it, and what is written never changes.
    capacity = len(prompt) + decoding.new_tokens(len(prompt))
    states = torch.empty(
        (rows, gpt2.n_layer + 1, capacity, gpt2.n_embd), dtype=model.dtype, device=device
    )
    finished: dict[int, str] = {}
    unseen = ids
    index = 0
    while len(finished) < rows:
        output = model(
            unseen,
            past_key_values=cache,
            use_cache=True,
            output_hidden_states=True,
            logits_to_keep=1,
        )
        seen = ids.shape[1]
        states[:, :, seen - unseen.shape[1] : seen] = torch.stack(output.hidden_states, dim=1)
        logits = output.logits[:, -1].float()  # (rows, vocab)
        scores = final_scores(stages, ids, logits)
        if decoding.strategy == "sample":
            chosen = torch.multinomial(scores.softmax(-1), 1, generator=random)[:, 0]
        else:
            chosen = scores.argmax(-1)
        if config._eos_token_tensor is not None:
            # Without an end-of-text token generate lets finished rows run on.
            for row in finished:
                chosen[row] = config._pad_token_tensor
        unseen = chosen[:, None]
        ids = torch.cat([ids, unseen], dim=1)
        reasons = finish_reasons(criteria, ids)
        running = [row for row in range(rows) if row not in finished]
        for row in running:
            if reasons[row]:
                finished[row] = reasons[row]
        history = ids[:, :seen].cpu()
        for row in running:
            trace = Trace(gpt2, history[row], states[row, :, :seen])
            choice = describe(int(chosen[row]), logits[row], scores[row])
            yield Step(index, row, choice, reasons[row] or None, trace)
        index += 1
