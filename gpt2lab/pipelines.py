"""A `pipeline("text-generation")` that draws from a random generator of its own.

A run of a pipeline has three stages: `preprocess` turns the text into ids, `forward` calls
`model.generate`, and `postprocess` makes of the ids what is returned. Only the last stage knows in
which form that is wanted, so one run of the model is enough to see all forms.

Sampling draws from the one random generator that all of a process share. But a pipeline hands on to
`generate` what it is given, logits processors too. So the draw is made by the last of them, as in
`gpt2lab.outputs`, and nobody else is disturbed.

Before that the pipeline adds defaults of its own, which is why the same call may mean something
else than it does in `generate`.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

from transformers import DynamicCache, TextGenerationPipeline

from gpt2lab.batches import own_tokenizer
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.outputs import DRAWING, own_draws

DEFAULTS = ("do_sample", "temperature", "top_k", "max_new_tokens")
"""Settings whose defaults are compared."""


@lru_cache(maxsize=2)
def pipeline_of(gpt2: Gpt2) -> TextGenerationPipeline:
    """What `pipeline("text-generation", …)` makes; it sets the tokenizer to pad on the left.

    So it gets a tokenizer of its own. It changes nothing about the model.
    """
    return TextGenerationPipeline(
        gpt2.model, tokenizer=own_tokenizer(gpt2), device=gpt2.model.device
    )


def returned_by(
    pipe: TextGenerationPipeline, text: str, arguments: dict[str, Any]
) -> tuple[str, str, list[int]]:
    """What the pipeline returns, in each of three ways, for one run of its model."""
    _, forward, _ = pipe._sanitize_parameters(**arguments)
    outputs = pipe.forward(pipe.preprocess(text), **forward)
    ways = ({"return_full_text": True}, {"return_full_text": False}, {"return_tensors": True})
    full, new, ids = (
        pipe.postprocess(outputs, **pipe._sanitize_parameters(**way)[2])[0] for way in ways
    )
    return full["generated_text"], new["generated_text"], ids["generated_token_ids"]


def arguments_of(
    gpt2: Gpt2, prompt: list[int], decoding: Decoding, cache: DynamicCache | None
) -> dict[str, Any]:
    """Arguments for one call of either, which draws from no random generator but its own.

    `cache` is what is known of the prompt, as `gpt2lab.outputs` makes it.
    """
    return own_draws(gpt2, prompt, decoding, cache)[0]


def filled_in_by(pipe: TextGenerationPipeline, said: dict[str, Any]) -> dict[str, Any]:
    """What the pipeline adds to a call, and generate would not.

    This is its own private method: the pinned version and tests/test_pipeline.py guard it.
    """
    added = pipe._prepare_generate_kwargs(said)
    return {name: value for name, value in added.items() if name not in said and name in DEFAULTS}


def defaults_of(gpt2: Gpt2, pipe: TextGenerationPipeline) -> dict[str, tuple[str, str]]:
    """For each of DEFAULTS what generate and the pipeline take if nothing is said."""
    plain, _ = gpt2.model._prepare_generation_config(None)
    own = {name: getattr(plain, name) for name in DEFAULTS}
    shown = {name: "not set" if value is None else repr(value) for name, value in own.items()}
    # Its fixed max_length is made into a number of new tokens; one that is said is not.
    if own["max_new_tokens"] is None:
        shown["max_new_tokens"] = repr(plain.max_length)
    added = filled_in_by(pipe, {})
    return {name: (shown[name], repr(added[name]) if name in added else shown[name])
            for name in DEFAULTS}  # fmt: skip


def as_sampled(decoding: Decoding, temperature: float) -> Decoding:
    """What a call means in which a pipeline fills in that it samples at this temperature."""
    # Under greedy decoding a setting of sampling had no effect, so it is not taken as said.
    said = decoding if decoding.strategy == "sample" else Decoding()
    sampling = {name: getattr(said, name) for name in DRAWING} | {"temperature": temperature}
    return replace(decoding, strategy="sample", **sampling)
