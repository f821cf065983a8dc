r"""Which of the numbers that `generate` returns is which?

With `return_dict_in_generate=True`, `generate` returns not only ids but what was behind each of
them: `outputs.logits` and `outputs.scores`, two tuples with one entry per step, each with a number
for every token of the vocabulary. They look alike and mean different things.

- `outputs.logits` ($z$) is what the model said. A *plain forward pass* over the same ids says the
  same: `model(ids).logits[0, i]` belongs to the token that follows position `i`. `generate` reads
  one token at a time and keeps keys and values of the others, so the last decimals may differ.
- `outputs.scores` ($s$) is what the *logits processors* made of it: temperature, top_k, top_p, a
  repetition penalty. A score of $-\infty$ says that a processor removed the token, which then has
  probability $e^{-\infty} = 0$. Only if no processor changes anything are scores the logits.
- `compute_transition_scores` picks the chosen token's score out of each step. With
  `normalize_logits=True` it takes the log-probability instead,

$$\log p = \log \operatorname{softmax}(s)_\text{chosen} = s_\text{chosen} - \log \sum_j e^{s_j},$$

  the probability with which the token was really drawn. The sum leaves the removed tokens out, so
  it is the log-probability under the *settings*, not under the model; that one is the log softmax
  of the *logits*.

Beam search adds up log-probabilities, so its processors work on those: its scores are the log
softmax of the logits even if no setting is active, and the rows of `outputs.scores` are beams.
`outputs.beam_indices` says in which row each token of the returned sequence stood.

The inner states have other shapes than one expects, too. At the first step the model reads the
whole prompt, so each of the `hidden_states` has a row for every token of it; after that it reads
one token, so there is one row, which attends to one key more at each step.
"""

from math import isfinite
from typing import Any

import numpy as np
import torch

from gpt2lab.decoding import Decoding, processed
from gpt2lab.inspection import Inspection, Table
from gpt2lab.logits_or_scores_figure import figure
from gpt2lab.output_comparison import LogitsOrScores, with_others
from gpt2lab.outputs import (
    STEPS,
    Shape,
    known,
    outputs_of,
    plain_logits,
    shapes,
    short_prompt,
    short_run,
)
from gpt2lab.snippets import generated
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace


def logits_or_scores(
    trace: Trace,
    steps: int = 5,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> LogitsOrScores:
    """Write up to `steps` tokens behind the prompt, and compare what describes them.

    The prompt are the first `prompt_length` tokens of the traced text, by default all of it, but
    never so many that there is no room left for the steps.
    """
    gpt2 = trace.gpt2
    prompt = short_prompt(trace, steps, prompt_length)
    short = short_run(gpt2, prompt, steps, decoding)
    cache = known(trace, prompt)
    run = outputs_of(gpt2, prompt, short, cache)
    plain = plain_logits(trace, prompt, run.chosen, cache)
    stages = short.stages_from_logits(gpt2, prompt)
    listed = with_others(run.chosen, run.logits, run.scores)
    named = [describe(gpt2, row) for row in listed.tolist()]
    text = torch.tensor([[*prompt, *run.chosen.tolist()]], device=gpt2.model.device)
    every = torch.arange(len(run.chosen), device=run.chosen.device)
    removed_by = {name: np.zeros(len(every), dtype=int) for name, _ in stages}
    for step in range(len(every)):
        missing = 0
        ids = text[:, : len(prompt) + step]
        for name, scores in processed(stages, ids, run.logits[step : step + 1]):
            now = int(scores.isneginf().sum())
            removed_by[name][step], missing = now - missing, now
    hidden_states, attentions = shapes(gpt2, short, len(prompt), len(every))
    return LogitsOrScores(
        prompt_length=len(prompt),
        strategy=short.strategy,
        ids=listed.cpu().numpy(),
        tokens=tuple(one.tokens for one in named),
        shown=tuple(one.shown for one in named),
        listed_logits=run.logits.gather(1, listed).cpu().numpy(),
        listed_scores=run.scores.gather(1, listed).cpu().numpy(),
        plain=plain[every, run.chosen].cpu().numpy(),
        transition_scores=run.transition_scores.cpu().numpy(),
        normalized=run.normalized.cpu().numpy(),
        log_softmax=run.scores.log_softmax(-1)[every, run.chosen].cpu().numpy(),
        forward_difference=(run.logits - plain).abs().amax(-1).cpu().numpy(),
        removed=run.scores.isneginf().sum(-1).cpu().numpy(),
        changed=(run.scores != run.logits).sum(-1).cpu().numpy(),
        removed_by={name: counts for name, counts in removed_by.items() if counts.any()},
        processors=tuple(name for name, _ in stages),
        hidden_states=hidden_states,
        attentions=attentions,
        vocab_size=gpt2.vocab_size,
    )


def table(result: LogitsOrScores) -> Table:
    """One row per step: the chosen token's numbers, the best other token's, and the shapes."""
    rows = tuple(
        (
            step,
            result.shown[step][0],
            int(result.ids[step, 0]),
            float(result.logits[step]),
            float(result.plain[step]),
            _written(result.scores[step]),
            float(result.transition_scores[step]),
            float(result.normalized[step]),
            int(result.removed[step]),
            result.shown[step][1],
            float(result.listed_logits[step, 1]),
            _written(result.listed_scores[step, 1]),
            _shape(result.hidden_states[step]),
            _shape(result.attentions[step]),
        )
        for step in range(result.steps)
    )
    headers = (
        "step", "chosen", "id", "logits", "plain forward", "scores", "transition score",
        "normalized", "−inf entries", "best other", "its logit", "its score",
        "hidden_states", "attentions",
    )  # fmt: skip
    return Table(headers, rows)


def _written(score: float) -> float | str:
    return float(score) if isfinite(score) else "−inf"


def _shape(tensors: tuple[int, Shape]) -> str:
    count, shape = tensors
    return f"{count} × {shape}"


def answer(result: LogitsOrScores) -> dict[str, Any]:
    """JSON of the endpoint; a score of -inf is null. The first listed token is the chosen one."""
    steps = [
        {
            "id": int(result.ids[step, 0]),
            "token": result.tokens[step][0],
            "logit": float(result.logits[step]),
            "forward_logit": float(result.plain[step]),
            "score": _finite(result.scores[step]),
            "transition_score": float(result.transition_scores[step]),
            "transition_score_normalized": float(result.normalized[step]),
            "removed": int(result.removed[step]),
            "changed": int(result.changed[step]),
            "others": [
                {
                    "id": int(result.ids[step, place]),
                    "token": result.tokens[step][place],
                    "logit": float(result.listed_logits[step, place]),
                    "score": _finite(result.listed_scores[step, place]),
                }
                for place in range(1, result.ids.shape[1])
            ],
            "hidden_states": _counted(result.hidden_states[step]),
            "attentions": _counted(result.attentions[step]),
        }
        for step in range(result.steps)
    ]
    return {
        "prompt_length": result.prompt_length,
        "processors": list(result.processors),
        "steps": steps,
        "largest_forward_difference": float(result.forward_difference.max()),
        "verdict": result.verdict,
    }


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def _counted(tensors: tuple[int, Shape]) -> dict[str, Any]:
    count, shape = tensors
    return {"count": count, "shape": list(shape)}


OUTPUTS = ("return_dict_in_generate=True", "output_logits=True", "output_scores=True")


def snippet(
    trace: Trace,
    steps: int = 5,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> str:
    """Code that binds the numbers of the chosen tokens, (steps,) each."""
    prompt = short_prompt(trace, steps, prompt_length)
    short = short_run(trace.gpt2, prompt, steps, decoding)
    beam = short.strategy == "beam"
    run, _, outputs = generated(trace.gpt2, prompt, short, "outputs", OUTPUTS).rpartition(
        OUTPUTS[0]
    )
    row = "[row for row in outputs.beam_indices[0] if row >= 0]  # of each step" if beam else ""
    rows = row or "[0] * len(outputs.scores)  # one sequence: the only row of each step"
    beams = "outputs.beam_indices, " if beam else ""
    return f"""{run.rstrip()}
    {OUTPUTS[0]}{outputs}
rows = {rows}
steps, chosen = range(len(rows)), outputs.sequences[0, ids.shape[1]:][:len(rows)]
logits = torch.stack(outputs.logits)[steps, rows, chosen]
scores = torch.stack(outputs.scores)[steps, rows, chosen]
removed = torch.stack(outputs.scores)[steps, rows].isneginf().sum(-1)
plain = model(outputs.sequences[:1]).logits[0, ids.shape[1] - 1:].detach()[steps, chosen]
transition_scores, normalized = (model.compute_transition_scores(outputs.sequences, outputs.scores,
    {beams}normalize_logits=one)[0, :len(rows)] for one in (False, True))
print(tokenizer.convert_ids_to_tokens(chosen), logits, plain, scores, transition_scores, normalized)
"""


INSPECTION = Inspection(
    name="logits_or_scores",
    title="Logits or scores?",
    group="Prediction",
    writes=True,
    idea=__doc__ or "",
    compute=logits_or_scores,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("logits", "scores", "plain", "transition_scores", "normalized", "removed"),
    controls=(STEPS,),
    uses_decoding=True,
)
