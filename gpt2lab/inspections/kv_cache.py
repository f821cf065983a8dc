r"""Why writing the next token does not mean reading the whole text again.

In every layer, each token turns its state into a *query*, a *key* and a *value*. The query looks
back over the keys of all tokens up to its own, and takes up their values. No token sees a later
one, so keys and values of the text so far never change: they can be kept. This is the *KV cache*
(`use_cache=True`, the default of `generate`). With it the model reads only the newest token;
without it, all $n$ tokens again, only to throw away all logits but the last.

The logits are the same, up to the last decimals: the sums are the same, but computed in batches of
another shape, so float32 rounds them in another order.

What is saved grows with the text. Without the cache a token costs a whole pass over $n$ tokens,
which grows with $n$ and, by the attention, with $n^2$. With it one token goes through the layers,
whatever $n$ is; only its attention still has $n$ keys to look at. What it costs is memory,

$$2 \cdot n_\text{layer} \cdot n \cdot n_\text{embd} \cdot 4 \text{ bytes},$$

a key and a value of $n_\text{embd}$ numbers in every layer for each token (4 bytes in float32).

Here both ways compute the logits behind the text's first $n$ tokens, for several $n$; a short text
is repeated until it fills the context, since what the tokens are hardly matters for the time. Times
are medians, measured once for a text and then kept; they depend on the machine and on what else it
is doing, so they are the only numbers here that the code below does not give again.
"""

from typing import Any

from gpt2lab.cache_times import KvCache, compared
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.kv_cache_figure import figure
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.snippets import preamble
from gpt2lab.trace import Trace

FILLS = ("repeated", "alone")


def kv_cache(trace: Trace, fill: str = "repeated", seconds: float = 1.0) -> KvCache:
    """Compute the logits behind prefixes of the text with and without a cache, and take the time.

    fill: "repeated" fills the context with the text, "alone" takes it as it is.
    seconds: about how long to measure; lengths that would take too long are left out.
    """
    seconds = checked_number("seconds", seconds, 0.5, 10.0)
    return compared(trace.gpt2, tuple(trace.ids.tolist()), _fill(fill), seconds)


def _fill(fill: str) -> str:
    if not isinstance(fill, str) or fill not in FILLS:
        raise Refusal(f"fill is {quoted(fill)}, but must be one of {', '.join(FILLS)}.")
    return fill


def table(result: KvCache) -> Table:
    """One row per length."""
    rows = tuple(
        (
            length,
            float(result.seconds_with[place] * 1e3),
            float(result.seconds_without[place] * 1e3),
            float(result.seconds_without[place] / result.seconds_with[place]),
            result.repeats[place],
            float(result.differences[place]),
            result.cache_bytes[place],
            result.formula_bytes[place],
        )
        for place, length in enumerate(result.lengths)
    )
    headers = (
        "tokens", "with cache (ms)", "without (ms)", "times as long", "measurements",
        "largest difference of a logit", "bytes of the cache", "by the formula",
    )  # fmt: skip
    return Table(headers, rows)


def answer(result: KvCache) -> dict[str, Any]:
    """JSON of the endpoint: one entry per length in each list; times are medians."""
    return {
        "text_length": result.text_length,
        "repeated": result.repeated,
        "lengths": list(result.lengths),
        "largest_differences": result.differences.tolist(),
        "seconds_with_cache": result.seconds_with.tolist(),
        "seconds_without_cache": result.seconds_without.tolist(),
        "measurements": list(result.repeats),
        "cache_bytes": list(result.cache_bytes),
        "formula_bytes": list(result.formula_bytes),
        "verdict": result.verdict,
    }


def snippet(trace: Trace, fill: str = "repeated", seconds: float = 1.0) -> str:
    """Code that binds `logits`, (lengths, vocab_size), and `cache_bytes`."""
    result = kv_cache(trace, fill, seconds)
    ids = trace.ids.tolist()
    limit = trace.gpt2.n_positions
    repeat = f"ids = ids.repeat(1, {result.repeated})[:, :{limit}]; " if result.repeated > 1 else ""
    return f"""{preamble(trace.gpt2, ids, imports=["DynamicCache"])}
from time import perf_counter
{repeat}cache, logits, others, cache_bytes = DynamicCache(config=model.config), [], [], []
with torch.no_grad():
    for n in {list(result.lengths)}:
        if n > cache.get_seq_length() + 1:
            model(ids[:, cache.get_seq_length():n - 1], past_key_values=cache)
        start = perf_counter()
        logits.append(model(ids[:, n - 1:n], past_key_values=cache).logits[0, -1])
        middle = perf_counter()
        others.append(model(ids[:, :n], use_cache=False, logits_to_keep=1).logits[0, -1])
        cache_bytes.append(sum(one.keys.nbytes + one.values.nbytes for one in cache.layers))
        print(n, "tokens:", middle - start, "s with,", perf_counter() - middle, "s without cache")
logits = torch.stack(logits); print((logits - torch.stack(others)).abs().amax(-1), cache_bytes)
"""


INSPECTION = Inspection(
    name="kv_cache",
    title="KV cache",
    group="Prediction",
    writes=True,
    idea=__doc__ or "",
    compute=kv_cache,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("logits", "cache_bytes"),
    controls=(
        Control(
            "fill", "choice", "a short text: repeat it up to the context?", FILLS[0], choices=FILLS
        ),
        Control("seconds", "number", "about how long to measure", 1.0, low=0.5, high=10.0),
    ),
)
