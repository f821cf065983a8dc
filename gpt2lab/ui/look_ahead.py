"""Before anything is sent: what the model would read, and what it would most likely write next.

When typing pauses, the next token's five most probable candidates appear beside the box. The part
of the text that has not changed is not computed again: its states are in the store of traces.
"""

from pathlib import Path
from typing import Any

import gradio as gr

from gpt2lab.decoding import Decoding, final_scores
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import decode, describe
from gpt2lab.ui.packing import packed
from gpt2lab.ui.session import Session, Subject, Writer, fitted
from gpt2lab.ui.traces import Traces

CANDIDATES = 5
SHOWN_OF_THE_CUT = 300
"""Characters of the text that is cut off which the panel shows."""

DRAWING = Path(__file__).parent / "assets" / "look_ahead.js"


def next_prompt(gpt2: Gpt2, session: Session, writer: Writer, decoding: Decoding) -> Subject:
    """What the model reads if the visitor generates now."""
    written = session.transcript.ids()
    ids = (*written, *writer.ids(gpt2, written))
    return fitted(gpt2, ids, room=decoding.max_new_tokens or 0)


def peek(gpt2: Gpt2, prompt: Subject, decoding: Decoding, traces: Traces) -> list[dict[str, Any]]:
    """The most probable next tokens: id, readable form, probability before and after the stages."""
    trace = traces.trace(gpt2, prompt.ids)
    logits = trace.logits()
    stages = decoding.stages_from_logits(gpt2, prompt.ids)
    scores = final_scores(stages, trace.ids[None].to(logits.device), logits[None])[0]
    best = logits.topk(CANDIDATES).indices
    raw, processed = logits.softmax(-1)[best].tolist(), scores.softmax(-1)[best].tolist()
    shown = describe(gpt2, best.tolist()).shown
    keys = ("id", "shown", "raw", "processed")
    rows = zip(best.tolist(), shown, raw, processed, strict=True)
    return [dict(zip(keys, row, strict=True)) for row in rows]


def seen(gpt2: Gpt2, session: Session, writer: Writer, prompt: Subject) -> dict[str, Any]:
    """The text that the model reads, the end of what is cut off before it, and the counts."""
    written = session.transcript.ids()
    everything = (*written, *writer.ids(gpt2, written))
    return {
        "cut": decode(gpt2, everything[: prompt.dropped])[-SHOWN_OF_THE_CUT:],
        "dropped": prompt.dropped,
        "text": gpt2.tokenizer.decode(list(prompt.ids), clean_up_tokenization_spaces=False),
        "count": len(prompt.ids),
        "limit": gpt2.n_positions,
    }


def looked_ahead(
    gpt2: Gpt2, session: Session, writer: Writer, decoding: Decoding, live: bool, traces: Traces
) -> tuple[str, str]:
    """The values of both parts; a text that the model cannot read is refused in both."""
    try:
        prompt = next_prompt(gpt2, session, writer, decoding)
        candidates = peek(gpt2, prompt, decoding, traces) if live else []
        panel = seen(gpt2, session, writer, prompt)
        return packed({"candidates": candidates}), packed(panel)
    except Refusal as reason:
        refusal = packed({"refusal": str(reason)})
        return refusal, refusal


def build_look_ahead() -> tuple[gr.HTML, gr.HTML]:
    """The two parts, not yet placed: beside the box, and the panel."""
    script = DRAWING.read_text()
    return (
        gr.HTML(
            "",
            html_template='<div class="peek" aria-label="Most probable next tokens"></div>',
            js_on_load=script,
            elem_id="peek",
            render=False,
        ),
        gr.HTML(
            "",
            html_template='<details class="seen"><summary></summary><p dir="auto"></p></details>',
            js_on_load=script,
            elem_id="seen",
            render=False,
        ),
    )
