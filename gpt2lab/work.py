"""How much there is to compute, known before it is computed.

A block multiplies the state of every token with each of its weights, and in its attention every
token's query with every token's key, then the weights with the values:

    operations of one block = tokens · (2 · weights + 4 · tokens · n_embd)

So the cost of looking can be told in advance, from the sizes alone. What is cheap is done at once;
what takes a while is done when it is asked for; what would keep a computer busy for minutes is
refused. Counting operations instead of seconds gives everybody the same answer to the same request.
"""

from gpt2lab.models import Gpt2

UNASKED = 4e10
"""Operations that are done without being asked for: about a second on two cores."""
LARGEST = 1e12
"""Operations that one request may ask for: half a minute on two cores."""
ACCELERATOR = 100.0
"""How many times as many operations a graphics processor may do."""


def block_work(gpt2: Gpt2, tokens: int) -> float:
    """Operations of one block for a text of so many tokens."""
    weights = sum(one.numel() for one in gpt2.model.transformer.h[0].parameters())
    return tokens * (2.0 * weights + 4.0 * tokens * gpt2.n_embd)


def head_work(gpt2: Gpt2, tokens: int) -> float:
    """Operations of the output layer for so many tokens."""
    return 2.0 * tokens * gpt2.n_embd * gpt2.vocab_size


def unasked(gpt2: Gpt2) -> float:
    """Operations that may be done at once on the model's device."""
    return UNASKED * (1.0 if gpt2.model.device.type == "cpu" else ACCELERATOR)


def largest(gpt2: Gpt2) -> float:
    """Operations that a request may ask for on the model's device."""
    return LARGEST * (1.0 if gpt2.model.device.type == "cpu" else ACCELERATOR)


def most_tokens(gpt2: Gpt2, blocks: float, operations: float) -> int:
    """Longest text for which so many blocks, or passes through blocks, stay within `operations`."""
    low, high = 0, gpt2.n_positions
    while low < high:
        middle = (low + high + 1) // 2
        fits = blocks * block_work(gpt2, middle) <= operations
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
