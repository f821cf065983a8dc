"""What one request may cost. Everything that a visitor can ask for is checked here, on the server.

The length of a text is bounded by `tokens.MAX_CHARACTERS` and by the model's context, which also
bounds the number of new tokens. These limits keep one visitor from taking the machine away from
the others.
"""

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2, named_model
from gpt2lab.refusal import Refusal

MAX_SEQUENCES = 8
MAX_BEAMS = 8
MAX_BEAM_TOKENS = 1600
"""Beams times their length."""
MAX_QUEUED = 64
"""Requests that may wait; the next one is told that the queue is full."""
MAX_AT_ONCE = 4
"""Requests that compute at the same time."""
MAX_BODY_BYTES = 8 * 2**20
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": MAX_AT_ONCE}
"""Every event that computes with a model shares this queue."""
QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "show_progress_on": [],
    "api_visibility": "private",
}
"""Events of the page that are no endpoints and cover nothing while they run.

With every message of a running event, the browser copies all properties of each component that
might show its progress; so here none may.
"""


def allowed(decoding: Decoding) -> Decoding:
    """Return the settings if one request may ask for them; raise `Refusal` if not."""
    if decoding.num_return_sequences > MAX_SEQUENCES:
        raise Refusal(
            f"num_return_sequences is {decoding.num_return_sequences}; "
            f"here at most {MAX_SEQUENCES} are written at once."
        )
    if decoding.strategy != "beam":
        return decoding
    if decoding.num_beams > MAX_BEAMS:
        raise Refusal(f"num_beams is {decoding.num_beams}; here at most {MAX_BEAMS} are searched.")
    longest = decoding.max_new_tokens or decoding.max_length or 0
    if decoding.num_beams * longest > MAX_BEAM_TOKENS:
        raise Refusal(
            f"{decoding.num_beams} beams of up to {longest:,} tokens are too much, because beam "
            f"search cannot be stopped; ask for {MAX_BEAM_TOKENS // decoding.num_beams:,} or fewer."
        )
    return decoding


def model_named(name: str, default: Gpt2) -> Gpt2:
    """The model of that name, if it is ready; "" is the app's default."""
    if not isinstance(name, str):
        raise Refusal(f"The model's name must be a string, not {type(name).__name__}.")
    if name in {"", default.name}:
        return default
    return named_model(name, default.device, default.dtype)


@contextmanager
def sentences(for_page: bool = False) -> Iterator[None]:
    """Turn a refusal into gradio's error: the sentence alone, without a traceback in the log.

    The page shows an error's message as HTML, other clients as text.
    """
    try:
        yield
    except Refusal as refusal:
        message = html.escape(str(refusal), quote=False) if for_page else str(refusal)
        raise gr.Error(message, print_exception=False) from None
