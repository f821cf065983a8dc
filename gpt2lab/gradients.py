"""Which way the output moves when the input is nudged.

A *gradient* says how much a number that the model computes, such as the logit of a token, changes
with each number that goes in. Token ids cannot be nudged, but their embeddings can: the rows of
`wte`, one vector for each token of the text. The position embeddings are left as they are.

*Integrated gradients* (Sundararajan, Taly and Yan, 2017) add up the gradients on the straight way
from a *baseline*, which stands for "no token", to the text's own embeddings. The integral is a
weighted sum over a few points on the way, chosen by Gauss and Legendre so that n points integrate
every polynomial of degree 2n - 1 exactly. By the fundamental theorem of calculus the result sums to
what the output gained on the way, so its error can be seen: while it is too large, the number of
points is doubled.

Only the inputs ask for gradients, so nothing is ever stored on the shared weights, and one point is
computed at a time, so that the memory is that of one pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from gpt2lab.backward import lean
from gpt2lab.models import Gpt2
from gpt2lab.progress import counted
from gpt2lab.work import block_work, unasked

LOGIT, LOG_PROBABILITY = "logit", "log-probability"
OUTPUTS = (LOGIT, LOG_PROBABILITY)
ZERO, END_OF_TEXT = "zero", "end-of-text token"
BASELINES = (ZERO, END_OF_TEXT)
INTEGRATED, TIMES_INPUT = "integrated gradients", "gradient × input"
FIRST_STEPS = 16
FEW_STEPS = 4
"""Points of the first attempt for a text so long that more would take many seconds."""
TOLERANCE = 0.01
"""How large the gap in the sum may be, as a share of what the output gained."""
NOISE = 1e-4
"""A gap that is no gap: as exact as float32 logits are."""


@dataclass(frozen=True)
class Output:
    """One number that the model computes behind a text: a token's logit, or its log-probability."""

    gpt2: Gpt2
    id: int
    kind: str = LOGIT

    def __call__(self, embeddings: Tensor) -> Tensor:
        """The number for token embeddings, (n, n_embd): a tensor without dimensions."""
        model = lean(self.gpt2)
        output = model(inputs_embeds=embeddings[None], logits_to_keep=1, use_cache=False)
        return self._of(output.logits[0, -1])

    def _of(self, logits: Tensor) -> Tensor:
        logits = logits.float()
        return (logits.log_softmax(-1) if self.kind == LOG_PROBABILITY else logits)[self.id]

    def of(self, logits: Tensor) -> float:
        """The number, from the logits behind a text: (vocab_size,)."""
        return float(self._of(logits))

    @torch.no_grad()
    def value(self, embeddings: Tensor) -> float:
        """The number itself."""
        return float(self(embeddings))

    def gradient(self, embeddings: Tensor) -> Tensor:
        """How it changes with each number of the embeddings: (n, n_embd), float64, on the CPU."""
        with torch.enable_grad():
            point = embeddings.detach().requires_grad_()
            gradient = torch.autograd.grad(self(point), point)[0]
        return gradient.cpu().double()


def embeddings_of(gpt2: Gpt2, ids: Sequence[int]) -> Tensor:
    """Rows of `wte`: (n, n_embd)."""
    return gpt2.model.transformer.wte.weight[torch.tensor(ids, device=gpt2.model.device)].detach()


def baseline_of(gpt2: Gpt2, kind: str, like: Tensor) -> Tensor:
    """What stands for "no token" at every position: zeros, or the embedding of end-of-text."""
    if kind == ZERO:
        return torch.zeros_like(like)
    return embeddings_of(gpt2, [gpt2.tokenizer.eos_token_id]).expand_as(like)


def gradient_times_input(gradient: Tensor, text: Tensor, baseline: Tensor) -> Tensor:
    """A gradient times the way from the baseline to the text, summed per token: (n,), float64."""
    return ((text - baseline).cpu().double() * gradient).sum(-1)


def integrated_gradients(
    output: Output,
    text: Tensor,
    baseline: Tensor,
    gained: float,
    most_steps: int,
    first: int = FIRST_STEPS,
) -> tuple[Tensor, int]:
    """What each token adds, (n,), and the number of points that it took.

    All `attempts` have failed to sum to what the output `gained` if the last one does.
    """
    for steps in attempts(most_steps, first):
        gradient = _mean_gradient(output, text, baseline, steps)
        attributions = gradient_times_input(gradient, text, baseline)
        if is_complete(float(attributions.sum()), gained):
            break
    return attributions, steps


def attempts(most_steps: int, first: int = FIRST_STEPS) -> list[int]:
    """Numbers of points, each twice the one before, that are `most_steps` or fewer together.

    >>> attempts(120)
    [16, 32, 64]
    """
    found = [min(first, most_steps)]
    while sum(found) + 2 * found[-1] <= most_steps:
        found.append(2 * found[-1])
    return found


def is_complete(total: float, gained: float) -> bool:
    """Whether the attributions sum to what the output gained, within `TOLERANCE` of it."""
    return abs(total - gained) <= max(TOLERANCE * abs(gained), NOISE)


def step_work(gpt2: Gpt2, tokens: int) -> float:
    """Operations of one point on the way: once through the model, and once back."""
    return 2 * gpt2.n_layer * block_work(gpt2, tokens)


def first_steps(gpt2: Gpt2, tokens: int) -> int:
    """Points of the first attempt: fewer for a long text, as the sum shows if they are enough."""
    long = FIRST_STEPS * step_work(gpt2, tokens) > 10 * unasked(gpt2)
    return FEW_STEPS if long else FIRST_STEPS


def _mean_gradient(output: Output, text: Tensor, baseline: Tensor, steps: int) -> Tensor:
    """Average of the gradient on the straight way: (n, n_embd), float64."""
    total = torch.zeros(text.shape, dtype=torch.float64)
    points = list(zip(*(one.tolist() for one in leggauss(steps)), strict=True))
    for place, weight in counted(points, "points"):
        # Gauss and Legendre integrate from -1 to 1, the way goes from 0 to 1.
        point = baseline + (place + 1) / 2 * (text - baseline)
        total += weight / 2 * output.gradient(point)
    return total
