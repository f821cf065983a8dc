"""Beam search: keep several continuations side by side, return the best.

Sampling and greedy decoding choose one token at a time and never look back. Beam search keeps the
`num_beams` continuations with the highest sum of log-probabilities, extends each of them by every
token, and keeps the best again. This is transformers' own search from start to end; afterwards the
steps of each returned sequence are read off its trace, since its logits follow from that.
"""

from collections.abc import Iterator

import torch

from gpt2lab.decoding import Decoding, final_scores
from gpt2lab.models import Gpt2
from gpt2lab.step import Step, describe_step
from gpt2lab.stopping import finish_reasons, stop_strings_criteria, stopping_criteria
from gpt2lab.trace import trace_ids


@torch.no_grad()
def beam_search(gpt2: Gpt2, prompt: list[int], decoding: Decoding) -> Iterator[Step]:
    """Yield the steps of every returned sequence, the best sequence first."""
    ids = torch.tensor([prompt], device=gpt2.model.device)
    arguments = decoding.generate_arguments()
    arguments.pop("stop_strings", None)
    output = gpt2.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        stopping_criteria=stop_strings_criteria(gpt2, decoding),
        return_dict_in_generate=True,
        **arguments,
    )
    criteria = stopping_criteria(gpt2, decoding, len(prompt))
    stages = decoding.stages_from_logits(gpt2, prompt)
    for sequence, (row, beams) in enumerate(
        zip(output.sequences, output.beam_indices, strict=True)
    ):
        written = row[: len(prompt) + int((beams >= 0).sum())]
        reason = finish_reasons(criteria, written[None])[0]
        trace = trace_ids(gpt2, written[:-1].tolist())
        for seen in range(len(prompt), len(written)):
            logits = trace.logits(seen - 1)
            last = seen == len(written) - 1
            yield describe_step(
                seen - len(prompt),
                sequence,
                int(written[seen]),
                logits,
                final_scores(stages, written[None, :seen], logits[None])[0],
                reason if last else None,
                trace.prefix(seen),
            )
