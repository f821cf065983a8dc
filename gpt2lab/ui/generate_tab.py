"""The playground: a prompt goes in, the model's continuation streams into the transcript.

Each token is shown as soon as it is chosen. Stop ends the generation after the token at work and
keeps what is there. The states of all steps go into the shared store of traces, so that the
inspection tabs can show the answer without computing it again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import gradio as gr

from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.snippets import generation
from gpt2lab.step import Continuation, Step
from gpt2lab.tokens import prompt_ids
from gpt2lab.ui.limits import MODEL_QUEUE, sentences
from gpt2lab.ui.session import ANSWER, PROMPT, Run
from gpt2lab.ui.sidebar import Sidebar
from gpt2lab.ui.streaming import written
from gpt2lab.ui.traces import Traces

EMPTY_PROMPT = "(nothing: GPT-2 starts from its beginning-of-text token, <|endoftext|>)"
MOST_TURNS = 100
"""Paragraphs that the transcript keeps; older ones scroll out of it."""

ENDINGS = {
    "length": "the length that was asked for is reached",
    "eos": "the model ended the text with <|endoftext|>",
    "stop": "a stop string appeared",
}

DRAWING = Path(__file__).parent / "assets" / "transcript.js"


class Turn(TypedDict):
    """A paragraph of the transcript; a note is not part of any text but says something about it."""

    role: str
    text: str
    note: bool


@dataclass(frozen=True)
class GenerateTab:
    """What the page connects to other parts."""

    run: gr.State
    finished: gr.events.Dependency


def build_generate_tab(
    prompt: gr.Textbox,
    send: gr.Button,
    stop: gr.Button,
    source: gr.Radio,
    model: gr.Dropdown,
    sidebar: Sidebar,
    model_named: Callable[[str], Gpt2],
    traces: Traces,
) -> GenerateTab:
    """Lay out the transcript and connect the buttons."""
    transcript = gr.HTML(
        [],
        html_template='<div class="turns" role="log" aria-label="Transcript"></div>',
        js_on_load=DRAWING.read_text(),
        elem_id="transcript",
    )
    turns = gr.State([])
    with gr.Row():
        status = gr.Markdown("", elem_id="status")
        clear = gr.Button("Clear", size="sm", scale=0, min_width=80)
    with gr.Accordion("Run this yourself", open=False):
        code = gr.Code(
            language="python",
            interactive=False,
            buttons=["copy"],
            label="the same with transformers",
        )
    run = gr.State(None)

    def write(
        earlier: list[Turn], text: str, name: str, *values: Any
    ) -> Iterator[tuple[list[Turn], list[Turn], Run, str, Any]]:
        with sentences(for_page=True):
            gpt2, decoding = model_named(name), sidebar.decoding(values)
            ids = prompt_ids(gpt2, text)
            snippet: Any = generation(gpt2, ids, decoding)
            for written, run, line in _stream(gpt2, text, ids, decoding, traces):
                both = [*earlier, *written][-MOST_TURNS:]
                yield both, both, run, line, snippet
                snippet = gr.skip()

    def stopped(run: Run | None, line: str) -> str:
        return line if run is None or run.finished else f"{line}; stopped, what is there stays."

    def look_into_answer(run: Run | None) -> Any:
        return gr.update(value=ANSWER, interactive=True) if run and run.answer else gr.skip()

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    started = gr.on(
        [send.click, prompt.submit],
        write,
        [turns, prompt, model, *sidebar.controls],
        [transcript, turns, run, status, code],
        **quiet,
        **MODEL_QUEUE,
    )
    finished = started.success(look_into_answer, run, source, **quiet)
    # The last words of the stream may still be on their way when the cancelling is done, so what
    # Stop has to say comes in a second event, after them.
    stop.click(None, None, None, cancels=[started], queue=False, api_visibility="private").then(
        stopped, [run, status], status, **quiet
    ).then(look_into_answer, run, source, **quiet)
    clear.click(
        lambda: ([], [], None, "", "", gr.update(value=PROMPT, interactive=False)),
        None,
        [transcript, turns, run, status, code, source],
        **quiet,
    )
    return GenerateTab(run, finished)


def _stream(
    gpt2: Gpt2, text: str, ids: list[int], decoding: Decoding, traces: Traces
) -> Iterator[tuple[list[Turn], Run, str]]:
    """Yield this generation's turns, the run and a line of status as the tokens come."""
    asked: Turn = {"role": "you", "text": text or EMPTY_PROMPT, "note": not text}
    run = Run(gpt2.name, decoding, tuple(ids), (), finished=False)
    yield [asked], run, f"{gpt2.name} reads {len(ids):,} tokens"
    first: list[Step] = []
    try:
        for progress in written(gpt2, ids, decoding):
            first = progress.sequences[0]
            rate = progress.count / max(progress.seconds, 1e-6)
            line = f"{gpt2.name}: {progress.count:,} tokens, {rate:.0f} per second"
            if progress.finished:
                reasons = [one[-1].finish_reason or "" for one in progress.sequences]
                said = dict.fromkeys(ENDINGS[reason] for reason in reasons)
                line += f"; ended because {', or '.join(said)}."
            answers: list[Turn] = [
                {"role": gpt2.name, "text": Continuation.of(gpt2, steps).text, "note": False}
                for steps in progress.sequences
            ]
            answer = tuple(step.id for step in first)
            run = replace(run, answer=answer, finished=progress.finished)
            yield [asked, *answers], run, line
    finally:
        if first:
            traces.add(first[-1].trace)
