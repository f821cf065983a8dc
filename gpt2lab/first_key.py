"""What a head says when its resting place is not counted.

A row of attention weights sums to 1, so a head that finds nothing to fetch has to put its weight
somewhere, and in GPT-2 that is the first token. There the weight does little, but it takes up the
whole scale of colours. Hidden, and the rest of each row scaled to sum to 1 again, what remains is
what the head looks at when it looks at something.
"""

import torch
from torch import Tensor


def without_first(weights: Tensor) -> Tensor:
    """Weights, (…, query, key), with the first key hidden and the rest of a row summing to 1.

    A row of which nothing is left cannot be scaled: it stays 0.

    >>> without_first(torch.tensor([[1.0, 0.0], [0.75, 0.25]]))
    tensor([[0., 0.],
            [0., 1.]])
    """
    rest = weights.clone()
    rest[..., 0] = 0
    left = rest.sum(-1, keepdim=True, dtype=torch.float64)
    return (rest / left.where(left > 0, 1)).to(weights.dtype)
