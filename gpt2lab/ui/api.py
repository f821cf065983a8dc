"""The endpoints: for gradio_client, curl and MCP. One JSON object each, or one sentence.

Every inspection becomes an endpoint of its name; its parameters are `text` (or `texts`, or none if
it is about the model alone), its controls, the decoding settings if it uses them, and `model`,
where "" means the app's default model.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import gradio as gr

from gpt2lab.decoding import DEFAULT_NEW_TOKENS, Decoding
from gpt2lab.inspection import Inspection
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2, catalogue
from gpt2lab.step import Continuation
from gpt2lab.tokens import prompt_ids
from gpt2lab.ui.limits import MODEL_QUEUE, allowed, model_named, sentences
from gpt2lab.ui.streaming import written
from gpt2lab.ui.traces import Traces


def _parameter(name: str, type: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=default, annotation=type)


TEXT = _parameter("text", str, "")
TEXTS = _parameter("texts", list[str], ())
MODEL = _parameter("model", str, "")
DECODING = (
    _parameter("strategy", str, "sample"),
    _parameter("max_new_tokens", int, DEFAULT_NEW_TOKENS),
    _parameter("temperature", float, 1.0),
    _parameter("top_k", int, 50),
    _parameter("top_p", float, 1.0),
    _parameter("min_p", float | None, None),
    _parameter("typical_p", float, 1.0),
    _parameter("repetition_penalty", float, 1.0),
    _parameter("no_repeat_ngram_size", int, 0),
    _parameter("num_beams", int, 1),
    _parameter("num_return_sequences", int, 1),
    _parameter("seed", int, 42),
    _parameter("stop", list[str] | None, None),
)
"""Decoding parameters of the endpoints, with transformers' names and defaults."""


def add_endpoints(default: Gpt2, traces: Traces) -> None:
    """Add all endpoints to the current Blocks."""

    def models() -> dict[str, Any]:
        """The models that this app knows, and which of them is its default."""
        return {"default": default.name, "models": [asdict(info) for info in catalogue()]}

    def generate_text(text: str, model: str = "", **settings: Any) -> Iterator[dict[str, Any]]:
        """Continue a text; every message holds what is written so far, the last one all of it."""
        gpt2 = model_named(model, default)
        decoding = _decoding(settings)
        ids = prompt_ids(gpt2, text)
        for progress in written(gpt2, ids, decoding):
            sequences = [asdict(Continuation.of(gpt2, steps)) for steps in progress.sequences]
            yield {"prompt_ids": ids, "sequences": sequences, "seed": decoding.seed}

    _publish("models", models, [])
    _publish("generate", generate_text, [TEXT, *DECODING, MODEL])
    for one in INSPECTIONS:
        _publish(one.name, _inspection_answer(one, default, traces), _inspection_parameters(one))


def _inspection_answer(
    inspection: Inspection, default: Gpt2, traces: Traces
) -> Callable[..., dict[str, Any]]:
    def answer(
        model: str, text: str = "", texts: Sequence[str] = (), **values: Any
    ) -> dict[str, Any]:
        gpt2 = model_named(model, default)
        if inspection.of_model:
            return dict(inspection.answer(inspection.of_model(gpt2)))
        if inspection.of_text:
            text = values.pop(_text_of(inspection.of_text), text)
            return dict(inspection.answer(inspection.of_text(gpt2, text, **values)))
        if inspection.uses_decoding:
            settings = {one.name: values.pop(one.name) for one in DECODING}
            values["decoding"] = _decoding(settings)
        if inspection.of_texts:
            return dict(inspection.answer(inspection.of_texts(gpt2, texts, **values)))
        trace = traces.trace(gpt2, prompt_ids(gpt2, text))
        return dict(inspection.answer(inspection.compute(trace, **values)))

    answer.__doc__ = inspection.idea.split("\n\n")[0]
    return answer


def _inspection_parameters(inspection: Inspection) -> list[inspect.Parameter]:
    text = [] if inspection.of_model else [TEXTS if inspection.of_texts else TEXT]
    if inspection.of_text:
        text = [TEXT.replace(name=_text_of(inspection.of_text))]
    function = inspection.of_texts or inspection.of_text or inspection.compute
    taken = inspect.signature(function).parameters
    controls = [
        _parameter(one.name, one.accepts or one.type, one.default)
        for one in inspection.controls
        if one.name in taken
    ]
    return [*text, *controls, *(DECODING if inspection.uses_decoding else ()), MODEL]


def _text_of(of_text: Callable[..., Any]) -> str:
    """What an inspection's own function calls its text, behind the model."""
    return [*inspect.signature(of_text).parameters][1]


def _decoding(settings: dict[str, Any]) -> Decoding:
    return allowed(Decoding(**{**settings, "stop": settings["stop"] or ()}))


def _publish(
    name: str, function: Callable[..., Any], parameters: Sequence[inspect.Parameter]
) -> None:
    """Make `function`, which takes keywords, the endpoint `name` with these parameters."""
    names = [parameter.name for parameter in parameters]

    def answer(*values: Any) -> Any:
        with sentences():
            return function(**dict(zip(names, values, strict=True)))

    def stream(*values: Any) -> Iterator[Any]:
        with sentences():
            yield from function(**dict(zip(names, values, strict=True)))

    endpoint: Any = stream if inspect.isgeneratorfunction(function) else answer
    endpoint.__name__, endpoint.__doc__ = name, function.__doc__
    # gradio reads an endpoint's parameters from the signature and their types from annotations.
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=dict[str, Any])
    endpoint.__annotations__ = {one.name: one.annotation for one in parameters}
    endpoint.__annotations__["return"] = dict[str, Any]
    gr.api(endpoint, api_name=name, **MODEL_QUEUE)
