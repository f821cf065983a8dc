"""The other heads of a layer, for a browser that draws one of them.

Looking through the heads of a layer should not take a round trip each. So the page's drawing asks
in the background for those that it does not have yet, by the function `head_weights`. It runs
beside the queue, which is why it does little and trusts nothing. It works on states that are kept
already, never runs or loads a model, and answers one request at a time. Of a layer it keeps only
what the heads follow from, its queries and keys, so that asking for all heads works them out once.

Whether a text is kept is nobody's business but that of those who look at it: who could ask would
find out, token by token, what others write. So a request carries a permission, which comes with the
drawing of that very text and cannot be made up.
"""

import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

from gpt2lab.inspection import Inspection
from gpt2lab.inspections.attention import triangle
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.trace import Heads, Trace
from gpt2lab.ui.traces import Traces

NAMES = ("model", "ids", "layer", "head", "permission")
SECRET = secrets.token_bytes(32)
LAYERS = 4
"""Layers whose queries and keys are kept, for so many visitors at once: 9 MB each for GPT-2."""
WAIT = 5.0
"""Seconds that a request waits for the others; beyond, the browser goes without."""


def permission(model: str, ids: Sequence[int]) -> str:
    """What shows that somebody has been shown this text, as this process has read it."""
    return hmac.digest(SECRET, json.dumps([model, list(ids)]).encode(), "sha256").hex()


def server_functions(inspection: Inspection, traces: Traces) -> list[Callable[..., Any]]:
    """What the drawing of an inspection can call."""
    return [head_weights_of(traces)] if inspection.name == "attention" else []


def head_weights_of(traces: Traces) -> Callable[[Any], dict[str, str]]:
    """The function `head_weights` that the page's script calls."""
    layers: OrderedDict[tuple[Gpt2, tuple[int, ...], int], Heads] = OrderedDict()
    lock = Lock()

    def heads_of(trace: Trace, layer: int) -> Heads:
        key = (trace.gpt2, tuple(trace.ids.tolist()), layer)
        if key not in layers:
            layers[key] = trace.heads(layer)
        layers.move_to_end(key)
        while len(layers) > LAYERS:
            layers.popitem(last=False)
        return layers[key]

    def head_weights(asked: Any) -> dict[str, str]:
        """{"weights": …} of what `NAMES` names, or {"refusal": a sentence}."""
        try:
            trace = _kept(traces, asked)
            if not lock.acquire(timeout=WAIT):
                raise Refusal("Too many heads are asked for at once; please try again.")
            try:
                weights = heads_of(trace, asked["layer"]).attention(asked["head"])
            finally:
                lock.release()
            return {"weights": triangle(weights.float().cpu().numpy())}
        except Refusal as refusal:
            return {"refusal": str(refusal)}

    return head_weights


def _kept(traces: Traces, asked: Any) -> Trace:
    """The text that a browser asks about, which may ask for anything."""
    if not isinstance(asked, Mapping) or set(asked) != set(NAMES):
        raise Refusal(f"A head is asked for by {', '.join(NAMES)}, not by {quoted(asked)}.")
    for name, kind in zip(NAMES, (str, list, int, int, str), strict=True):
        if type(asked[name]) is not kind:
            raise Refusal(f"{name} is {quoted(asked[name])}, but must be a {kind.__name__}.")
    expected = permission(asked["model"], asked["ids"])
    if not hmac.compare_digest(expected.encode(), asked["permission"].encode()):
        raise Refusal("This text has not been drawn for you; please draw it.")
    # Only what is equal to a kept text is found, so the ids need no check of their own.
    trace = traces.kept(asked["model"], asked["ids"])
    if trace is None:
        raise Refusal("This text is not kept any more; please draw it again.")
    return trace
