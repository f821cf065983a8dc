"""Beam search: keep several continuations side by side, return the best.

Sampling and greedy decoding choose one token at a time and never look back. Beam search keeps the
`num_beams` continuations with the highest sum of log-probabilities, extends each of them by every
token, and keeps the best again:

    score of a beam after t tokens    s_t = log p(token_1) + … + log p(token_t)
    score of a finished text          s_n / n ** length_penalty

where p is the probability after the logits processors. The division makes texts of different
lengths comparable.

This is transformers' own search from start to end. It only hands out the sequences that won, so an
observer stands beside it: at every step `generate` shows its logits processors the beams that run
and its stopping criteria the candidates for the next step, and we look at both without touching
them. The numbers behind each token of the returned sequences are read off their traces afterwards.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from gpt2lab.beam_tree import Beam, BeamTree, Hypothesis
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.step import Step, describe_text
from gpt2lab.stopping import finish_reasons, stop_strings_criteria, stopping_criteria
from gpt2lab.tokens import checked_length, describe, prompt_ids
from gpt2lab.trace import trace_ids


def beam_tree(gpt2: Gpt2, text: str | Sequence[int], decoding: Decoding) -> BeamTree:
    """Search the best continuations of `text` (or token ids), and return the whole search."""
    if decoding.strategy != "beam":
        raise Refusal(f"strategy is {decoding.strategy!r}, but only 'beam' has a tree of beams.")
    ids = prompt_ids(gpt2, text) if isinstance(text, str) else checked_length(gpt2, text)
    checked_length(gpt2, ids, room=decoding.new_tokens(len(ids)))
    return search(gpt2, ids, decoding)


@torch.no_grad()
def beam_search(gpt2: Gpt2, prompt: list[int], decoding: Decoding) -> Iterator[Step]:
    """Yield the steps of every returned sequence, the best sequence first."""
    tree = search(gpt2, prompt, decoding)
    stages = decoding.stages_from_logits(gpt2, prompt)
    for sequence, hypothesis in enumerate(tree.hypotheses):
        trace = trace_ids(gpt2, [*prompt, *hypothesis.ids])
        for index, choice in enumerate(describe_text(trace, len(prompt), stages)):
            last = index == len(hypothesis.ids) - 1
            reason = hypothesis.finish_reason if last else None
            yield Step(index, sequence, choice, reason, trace.prefix(len(prompt) + index), tree)


@torch.no_grad()
def search(gpt2: Gpt2, prompt: Sequence[int], decoding: Decoding) -> BeamTree:
    """Run transformers' beam search once, and keep what went by."""
    ids = torch.tensor([list(prompt)], device=gpt2.model.device)
    arguments = decoding.generate_arguments()
    arguments.pop("stop_strings", None)
    observer = _Observer(stopping_criteria(gpt2, decoding, len(prompt)))
    # Asking for `output_scores` too would keep num_beams x vocab_size numbers of every step.
    output = gpt2.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        logits_processor=LogitsProcessorList([_AtRunningBeams(observer)]),
        stopping_criteria=StoppingCriteriaList(
            [*stop_strings_criteria(gpt2, decoding), _AtCandidates(observer)]
        ),
        return_dict_in_generate=True,
        **arguments,
    )
    length_penalty = decoding.prepared_config(gpt2, len(prompt)).length_penalty
    steps = _tree(gpt2, observer.steps, length_penalty)
    hypotheses = []
    for row, padded in zip(output.sequences, output.beam_indices, strict=True):
        beam_indices = tuple(padded[padded >= 0].tolist())
        written = tuple(row[len(prompt) :].tolist()[: len(beam_indices)])
        hypotheses.append(_hypothesis(steps, written, beam_indices))
    for step, place in enumerate(hypotheses[0].path):
        steps[step][place] = replace(steps[step][place], winner=True)
    return BeamTree(
        gpt2.name,
        tuple(prompt),
        decoding,
        length_penalty,
        tuple(map(tuple, steps)),
        tuple(hypotheses),
    )


def _tree(gpt2: Gpt2, seen: Sequence["_Candidates"], length_penalty: float) -> list[list[Beam]]:
    """The beams that each step left, the highest score first."""
    steps: list[list[Beam]] = []
    places: dict[int, int] = {}
    for index, candidates in enumerate(seen):
        rows = {candidate: row for row, candidate in enumerate(candidates.running)}
        shown = describe(gpt2, candidates.ids).shown
        beams: list[Beam] = []
        places_before, places = places, {}
        for number, (id, parent, logprob, score, reason) in enumerate(candidates.columns()):
            # A candidate that ends counts if it is among the best num_beams. Where fewer
            # can run on, generate fills the batch up with ended ones, which lead nowhere.
            kept = number < candidates.num_beams if reason else number in rows
            if not kept:
                continue
            row = None if reason else rows[number]
            if row is not None:
                places[row] = len(beams)
            final = score / (index + 1) ** length_penalty if reason else None
            before = places_before[parent] if steps else None
            beams.append(
                Beam(id, shown[number], before, row, logprob, score, reason or None, final)
            )
        for parent in {one.parent for one in beams if one.parent is not None}:
            steps[-1][parent] = replace(steps[-1][parent], survived=True)
        steps.append(beams)
    return steps


def _hypothesis(
    steps: Sequence[Sequence[Beam]], ids: tuple[int, ...], beam_indices: tuple[int, ...]
) -> Hypothesis:
    """Find a returned sequence in the tree."""
    path: list[int] = []
    for beams, id in zip(steps, ids, strict=False):
        parent = path[-1] if path else None
        path.append([(beam.parent, beam.id) for beam in beams].index((parent, id)))
    end = steps[len(ids) - 1][path[-1]]
    assert end.ended is not None
    assert end.final_score is not None
    return Hypothesis(ids, tuple(path), beam_indices, end.final_score, end.score, end.ended)


@dataclass(frozen=True)
class _Candidates:
    """The best continuations at one step, the highest score first.

    parents: the row of the running beam that each extends. reasons: why it is finished, or "".
    running: the candidates that ran on, row by row.
    """

    num_beams: int
    ids: list[int]
    parents: list[int]
    logprobs: list[float]
    scores: list[float]
    reasons: list[str]
    running: list[int]

    def columns(self) -> Iterator[tuple[int, int, float, float, str]]:
        """Candidate by candidate."""
        return zip(self.ids, self.parents, self.logprobs, self.scores, self.reasons, strict=True)


class _Observer:
    """What is seen of a search: the candidates of every step, and which of them ran on."""

    def __init__(self, criteria: StoppingCriteriaList) -> None:
        self.criteria = criteria
        self.steps: list[_Candidates] = []

    def see_running(self, ids: Tensor, logprobs: Tensor) -> None:
        """Before a choice: the beams, (num_beams, n), and what they think of the next token."""
        self.running, self.logprobs = ids, logprobs
        if not self.steps:
            self.scores = torch.zeros(len(ids), device=ids.device)
            return
        # Two beams are never the same text, so a beam is known by its ids.
        origins = _first_equal(ids, self.candidates)
        self.scores = self.candidate_scores[origins]
        self.steps[-1] = replace(self.steps[-1], running=origins.tolist())

    def see_candidates(self, ids: Tensor) -> None:
        """After it: the candidates for the next beams, (at least 2 num_beams, n + 1), best first.

        All beams begin as the prompt, but at the first step only beam 0 is extended.
        """
        parents = _first_equal(ids[:, :-1], self.running)
        logprobs = self.logprobs[parents, ids[:, -1]]
        self.candidates = ids
        self.candidate_scores = self.scores[parents] + logprobs
        reasons = finish_reasons(self.criteria, ids)
        # What runs on is seen at the next step. Behind the last one nothing does; there the best
        # that have not ended are what the search was left with.
        left = [number for number, reason in enumerate(reasons) if not reason]
        self.steps.append(
            _Candidates(
                num_beams=len(self.running),
                ids=ids[:, -1].tolist(),
                parents=parents.tolist(),
                logprobs=logprobs.tolist(),
                scores=self.candidate_scores.tolist(),
                reasons=reasons,
                running=left[: len(self.running)],
            )
        )


def _first_equal(rows: Tensor, others: Tensor) -> Tensor:
    """For each row the number of the first one among `others` that equals it."""
    return (rows[:, None] == others[None]).all(-1).int().argmax(-1)


class _AtRunningBeams(LogitsProcessor):
    """Changes nothing; as the last of the processors it sees what they have made."""

    def __init__(self, observer: _Observer) -> None:
        self.observer = observer

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.observer.see_running(input_ids, scores)
        return scores


class _AtCandidates(StoppingCriteria):
    """Stops nothing."""

    def __init__(self, observer: _Observer) -> None:
        self.observer = observer

    def __call__(self, input_ids: Tensor, scores: object, **_: object) -> Tensor:
        self.observer.see_candidates(input_ids)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
