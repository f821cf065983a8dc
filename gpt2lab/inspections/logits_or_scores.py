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

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpt2lab.decoding import Decoding, processed
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.logits_or_scores_figure import figure
from gpt2lab.outputs import Shape, outputs_of, shapes
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import generated
from gpt2lab.tokens import describe
from gpt2lab.trace import Trace

MOST_STEPS = 12
OTHERS = 3
"""Tokens listed beside the chosen one: the largest other logits, and the largest removed one."""
EQUAL = 1e-4
"""Two correct ways to compute a logit in float32 differ by less."""
NEARLY_EQUAL = 1e-3
"""Two ways to add up 50,257 probabilities in float32 differ by less."""


@dataclass(frozen=True, eq=False)
class LogitsOrScores:
    """What one run returned; entry t is about step t, and under beam search about the best beam.

    prompt_length: how many tokens of the text the run began with.
    strategy: "greedy", "sample" or "beam".
    ids: (steps, 1 + OTHERS): the chosen token, then the others.
    tokens, shown: vocabulary strings and readable forms of these.
    listed_logits, listed_scores: (steps, 1 + OTHERS): their entries in the two outputs.
    logits, scores, plain: (steps,): the chosen token's entry in `outputs.logits`,
        `outputs.scores`, and the logits of a forward pass over the finished text.
    transition_scores, normalized: (steps,): from `compute_transition_scores`, without and with
        `normalize_logits`.
    log_softmax: (steps,): the chosen token's entry in the log softmax of the scores.
    forward_difference: (steps,): largest difference of a logit to the plain forward pass.
    removed: (steps,): how many entries of the scores are -inf.
    changed: (steps,): how many entries of the scores are not equal to the logits.
    removed_by: for each processor that removed tokens how many, (steps,).
    processors: names of the settings behind the processors, in their order.
    hidden_states, attentions: (steps,): how many tensors of which shape each step returns.
    """

    prompt_length: int
    strategy: str
    ids: np.ndarray
    tokens: tuple[tuple[str, ...], ...]
    shown: tuple[tuple[str, ...], ...]
    listed_logits: np.ndarray
    listed_scores: np.ndarray
    plain: np.ndarray
    transition_scores: np.ndarray
    normalized: np.ndarray
    log_softmax: np.ndarray
    forward_difference: np.ndarray
    removed: np.ndarray
    changed: np.ndarray
    removed_by: dict[str, np.ndarray]
    processors: tuple[str, ...]
    hidden_states: tuple[tuple[int, Shape], ...]
    attentions: tuple[tuple[int, Shape], ...]
    vocab_size: int

    @property
    def steps(self) -> int:
        """How many tokens were written."""
        return len(self.ids)

    @property
    def logits(self) -> np.ndarray:
        """The chosen token's logit at each step."""
        return self.listed_logits[:, 0]

    @property
    def scores(self) -> np.ndarray:
        """The chosen token's score at each step."""
        return self.listed_scores[:, 0]

    @property
    def verdict(self) -> str:
        """What holds in this run, in words that follow its numbers."""
        forward = float(self.forward_difference.max())
        equal = "equal" if forward < EQUAL else "do not equal"
        sentences = [
            f"The raw logits {equal} those of a plain forward pass "
            f"(largest difference {forward:.1e})."
        ]
        touched = self.changed > 0
        removed = _span(self.removed[self.removed > 0])
        names = ", ".join(self.processors)
        if not self.processors:
            sentences.append("No processor is at work, so the scores are the logits.")
        elif not touched.any():
            sentences.append(f"Here {names} changed nothing, so the scores are the logits.")
        else:
            where = "at every step" if touched.all() else f"at {touched.sum()} of {len(touched)}"
            sentences.append(f"The scores are not the logits {where}: {names} came between.")
        if removed:
            cut = ", ".join(
                f"{name} removed {_span(counts[counts > 0])}"
                for name, counts in self.removed_by.items()
            )
            sentences.append(f"−inf: {cut} of {self.vocab_size:,} tokens a step.")
        elif touched.any():
            sentences.append("No token was removed, so no score is −inf.")
        gap = float(np.abs(self.normalized - self.log_softmax).max())
        picked = float(np.abs(self.transition_scores - self.scores).max())
        is_score = "is the chosen token's score" if picked < EQUAL else "is not the score"
        is_log = "is its log softmax" if gap < NEARLY_EQUAL else "is not its log softmax"
        why = "" if gap < EQUAL else ", as transformers adds up the vocabulary in another order"
        sentences.append(
            f"The transition score {is_score}; normalized it {is_log} (within {gap:.0e}{why})."
        )
        return " ".join(sentences)


def _span(counts: np.ndarray) -> str:
    """One number if all are equal, else the smallest and the largest; "" if there is none."""
    if not len(counts):
        return ""
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


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
    prompt, short = _setup(trace, steps, decoding, prompt_length)
    run = outputs_of(trace, prompt, short)
    stages = short.stages_from_logits(gpt2, prompt)
    listed = _with_others(run.chosen, run.logits, run.scores)
    named = [describe(gpt2, row) for row in listed.tolist()]
    text = torch.tensor([[*prompt, *run.chosen.tolist()]], device=gpt2.model.device)
    with torch.no_grad():
        forward = gpt2.model(text, logits_to_keep=len(run.chosen) + 1).logits[0, :-1].float()
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
        plain=forward[every, run.chosen].cpu().numpy(),
        transition_scores=run.transition_scores.cpu().numpy(),
        normalized=run.normalized.cpu().numpy(),
        log_softmax=run.scores.log_softmax(-1)[every, run.chosen].cpu().numpy(),
        forward_difference=(run.logits - forward).abs().amax(-1).cpu().numpy(),
        removed=run.scores.isneginf().sum(-1).cpu().numpy(),
        changed=(run.scores != run.logits).sum(-1).cpu().numpy(),
        removed_by={name: counts for name, counts in removed_by.items() if counts.any()},
        processors=tuple(name for name, _ in stages),
        hidden_states=hidden_states,
        attentions=attentions,
        vocab_size=gpt2.vocab_size,
    )


def _setup(
    trace: Trace, steps: int, decoding: Decoding | None, prompt_length: int | None
) -> tuple[list[int], Decoding]:
    """The prompt, and the settings for one run of at most `steps` tokens behind it."""
    steps = int(checked_number("steps", steps, 1, MOST_STEPS))
    decoding = decoding or Decoding()
    length = min(prompt_length or len(trace), len(trace), max(1, trace.gpt2.n_positions - steps))
    prompt = trace.ids[:length].tolist()
    count = min(steps, decoding.new_tokens(length), trace.gpt2.n_positions - length)
    least = min(decoding.min_new_tokens, count)
    return prompt, replace(
        decoding,
        max_new_tokens=count,
        max_length=None,
        min_new_tokens=least,
        num_return_sequences=1,
    )


def _with_others(chosen: Tensor, logits: Tensor, scores: Tensor) -> Tensor:
    """Per step the chosen id and OTHERS: (steps, 1 + OTHERS)."""
    rows = []
    for id, logit, score in zip(chosen.tolist(), logits, scores, strict=True):
        others = [one for one in logit.topk(OTHERS + 1).indices.tolist() if one != id][:OTHERS]
        removed = logit.where(score.isneginf(), -torch.inf)
        best = int(removed.argmax())
        if removed[best].isfinite() and best not in others:
            others[-1] = best
        rows.append([id, *others])
    return torch.tensor(rows, device=logits.device)


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
    prompt, short = _setup(trace, steps, decoding, prompt_length)
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
    controls=(Control("steps", "number", "tokens to write", 5, low=1, high=MOST_STEPS),),
    uses_decoding=True,
)
