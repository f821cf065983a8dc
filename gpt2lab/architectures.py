"""How large a GPT-2 is, from the few numbers of its configuration.

The whole family has one architecture: V token embeddings, P position embeddings, a stack of equal
blocks, a last layer norm. Its size follows from the number of layers and the width alone.
"""

from collections.abc import Mapping
from typing import Any

# (n_layer, n_head, n_embd) as published; all of them have 1,024 positions and 50,257 tokens.
# They let the catalogue describe a model before its 548 MB (or 6 GB) have been downloaded.
ARCHITECTURES = {
    "gpt2": (12, 12, 768),
    "distilgpt2": (6, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}


def count_parameters(config: Mapping[str, Any]) -> int:
    """The number of parameters of a GPT-2, from the numbers in its ``config.json`` alone.

    With V tokens, P positions, width d and the MLP's inner width m (4 d unless configured):
    the embeddings hold (V + P) d numbers; each block holds 4 d² + 4 d for attention (queries,
    keys, values and the output projection, with biases), 2 d m + m + d for the MLP and 4 d for
    its two layer norms; the last layer norm holds 2 d. The vocabulary matrix that turns states
    into logits is the token embedding again (it is tied) and adds nothing, unless untied.

    >>> count_parameters({"n_layer": 12, "n_head": 12, "n_embd": 768})
    124439808
    """
    d, layers = config["n_embd"], config["n_layer"]
    m = config.get("n_inner") or 4 * d
    vocabulary, positions = config.get("vocab_size", 50257), config.get("n_positions", 1024)
    block = (4 * d * d + 4 * d) + (2 * d * m + m + d) + 4 * d
    untied = 0 if config.get("tie_word_embeddings", True) else vocabulary * d
    return (vocabulary + positions) * d + layers * block + 2 * d + untied
