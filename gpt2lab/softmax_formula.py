"""The softmax formula with live numbers: how one token gets its probability.

    z(␣the) = x₇ · E[262] = −33.190
    p(␣the) = softmax(z / 0.7) = exp(−33.190 / 0.7) / Σ = 0.1231,   Σ = exp(−45.319)

x₇ is the last hidden state at position 7 and E[262] the token's row of the output matrix; Σ is the
sum of exp(z / 0.7) over the whole vocabulary. It is written as a power of e, since for logits far
below 0 the sum is too small to be read, and as a number it could overflow.
"""

import numpy as np
import torch

from gpt2lab.stages import Stages

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def formula(stages: Stages, id: int, shown: str, temperature: float) -> str:
    """Lines of text; `shown` names the token, `temperature` counts if there is such a stage.

    The probability is that of softmax(z / T). What the processors before the temperature made of
    the logit, and what those behind it make of the probability, is said as well.
    """
    names, last = stages.stages, len(stages.stages) - 1
    divided = names.index("temperature") if "temperature" in names else 0
    before = max(divided - 1, 0)
    over = f" / {temperature:g}" if divided else ""
    state = f"x{subscript(stages.position)}"
    logit = f"z({shown}) = {state} · E[{id}] = {signed(stages.scores[0][id])}"
    score = signed(stages.scores[before][id])
    if before:
        logit += f",   after {names[before]}: z = {score}"
    total = float(torch.from_numpy(stages.scores[divided]).double().logsumexp(-1))
    lines = [
        logit,
        f"p({shown}) = softmax(z{over}) = exp({score}{over}) / Σ"
        f" = {stages.probabilities(divided)[id]:.4g},   Σ = exp({signed(total)})",
    ]
    dropped = next((name for n, name in enumerate(names) if stages.rank(n, id) is None), None)
    if dropped is not None:
        lines.append(f"dropped by {dropped}: 0 in the end")
    elif divided < last:
        lines.append(f"after {names[last]}: {stages.probabilities(last)[id]:.4g}")
    return "\n".join(lines)


def subscript(number: int) -> str:
    """A whole number as an index."""
    return str(number).translate(_SUBSCRIPTS)


def signed(number: float) -> str:
    """Three decimals, with a real minus sign; what was dropped is at −∞."""
    return "−∞" if number == -np.inf else f"{number:.3f}".replace("-", "−")
