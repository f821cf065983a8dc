"""The run as a Jupyter notebook: plain transformers that does again what is on the page.

A notebook is a JSON file with a list of cells. This one loads the model once, writes the last
answer again, prints the numbers of its tokens, and looks into the text; its cells are the views'
own snippets. On the page each snippet stands alone, because one of them is copied. Here they stand
together, so the lines that load the model are in a cell of their own: loading it in each would take
minutes with a large model, and twice its memory. Every other cell needs that one cell only, so
that they can be run in any order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gpt2lab.answer import Answer, last_answer
from gpt2lab.exports import json_text, versions
from gpt2lab.inspection import Inspection
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.snippets import generated, source, where
from gpt2lab.tokens import checked_length, decode
from gpt2lab.trace import Trace, trace_ids
from gpt2lab.transcript import Transcript

View = tuple[Inspection, Mapping[str, Any]]
"""An inspection and the values of its controls; a control that is not named has its default."""
TEXT_VIEWS: tuple[View, ...] = tuple(
    (one, {}) for one in INSPECTIONS if one.of_model is None and not one.writes
)
"""All inspections that look at a text, and at no other that they write for it."""

NUMBERS = ("return_dict_in_generate=True", "output_logits=True", "output_scores=True")
"""What `generate` needs to be told to return its numbers too."""


def as_notebook(gpt2: Gpt2, transcript: Transcript, views: Sequence[View] = TEXT_VIEWS) -> str:
    """An .ipynb file (nbformat 4.5) that reproduces the last answer and looks into the text."""
    if not transcript.ids():
        raise Refusal("There is nothing to take along yet; write something first.")
    answer = last_answer(gpt2, transcript)
    cells = [_markdown(_introduction(gpt2, answer)), _code(_setup(gpt2))]
    if answer:
        cells += _answer_cells(gpt2, answer)
    trace = trace_ids(gpt2, _text_ids(gpt2, transcript, answer))
    for inspection, values in views:
        idea = inspection.idea.strip().split("\n\n")[0]
        cells.append(_markdown(f"## {inspection.title}\n\n{idea}"))
        try:
            cells.append(_code(_look(gpt2, inspection, values, trace, answer)))
        except Refusal as refusal:
            cells.append(_markdown(f"This cannot be shown: {_span(str(refusal))}"))
    notebook = {
        "cells": [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "version": versions()["python"]},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json_text(notebook, indent=1)


def _text_ids(gpt2: Gpt2, transcript: Transcript, answer: Answer | None) -> tuple[int, ...]:
    """The text that the inspections look at: what is there, as far as the model can read it."""
    ids = transcript.ids()
    if answer and answer.passage.writing:
        ids = ids[answer.passage.writing.dropped :]
    return tuple(checked_length(gpt2, ids[-gpt2.n_positions :]))


# --- the cells -----------------------------------------------------------------------------------


def _introduction(gpt2: Gpt2, answer: Answer | None) -> str:
    parts = [
        "# A run of GPT-2, taken along",
        "This notebook was made by gpt2lab, and needs only `torch` and `transformers`: it writes "
        "the last answer again, prints the numbers of its tokens, and looks into the text.",
        f"**Model:** {_span(gpt2.name)}, {gpt2.parameters:,} parameters, {gpt2.dtype}, "
        f"{gpt2.source}, revision {_span(gpt2.revision)}.",
    ]
    if gpt2.source == "built-in":
        parts.append(
            "This model was trained for gpt2lab; it is **not OpenAI's GPT-2**. It lies in "
            "gpt2lab's own folder, so run this notebook there: in the folder with `app.py`."
        )
    if gpt2.source == "local":
        parts.append("This model is a local folder, so run this notebook where the folder is.")
    if gpt2.device != "cpu":
        parts.append(
            f"The run was computed on {_span(gpt2.device)}, but this notebook computes on the CPU, "
            "whose random numbers and last digits are others: a sampled text may differ."
        )
    made_with = ", ".join(f"{name} {version}" for name, version in versions().items())
    parts.append(f"**Versions:** {made_with}. Other versions may differ in the last digits.")
    if answer:
        parts.append(_settings(answer))
    else:
        parts.append(
            "There is no answer of the model at the end of this text, or what stood before it was "
            "edited afterwards; so nothing is generated here."
        )
    return "\n\n".join(parts)


def _settings(answer: Answer) -> str:
    decoding, writing = answer.decoding, answer.passage.writing
    arguments = ", ".join(
        f"{key}={value!r}" for key, value in decoding.generate_arguments().items()
    )
    lines = ["**Settings** of the last answer:\n", "```python"]
    if decoding.strategy == "sample":
        lines.append(f"set_seed({decoding.seed})")
    lines += [f"model.generate(ids, {arguments})", "```"]
    if writing and writing.dropped:
        lines.append(
            f"\nThe text was longer than the context: its oldest {writing.dropped:,} tokens were "
            "cut off."
        )
    if answer.forced:
        lines.append(
            f"\nThe reader chose the first {answer.forced:,} of the answer's tokens, so they are "
            "at the end of `ids`."
        )
    if answer.cut:
        lines.append(
            f"\nThe answer was stopped or cut after {answer.written:,} new tokens, so no more are "
            "looked at."
        )
    return "\n".join(lines)


def _setup(gpt2: Gpt2) -> str:
    options = f"dtype=torch.{gpt2.dtype}, attn_implementation='eager'"
    return "\n".join(
        [
            "import torch",
            "from transformers import AutoTokenizer, GPT2LMHeadModel",
            "",
            f"{TOKENIZER}{source(gpt2)}){where(gpt2)}",
            f"{MODEL}{source(gpt2)}, {options}).eval()",
        ]
    )


TOKENIZER = "tokenizer = AutoTokenizer.from_pretrained("
MODEL = "model = GPT2LMHeadModel.from_pretrained("
TRANSFORMERS = "from transformers import "


def _without_setup(code: str) -> str:
    """A snippet without what the first cell has done; a text in it is within one line, quoted."""
    lines = []
    for line in code.splitlines():
        if line == "import torch" or line.startswith((TOKENIZER, MODEL)):
            continue
        if line.startswith(TRANSFORMERS):
            names = line.removeprefix(TRANSFORMERS).split(", ")
            more = [one for one in names if one not in {"AutoTokenizer", "GPT2LMHeadModel"}]
            line = TRANSFORMERS + ", ".join(more) if more else ""
        lines.append(line)
    return "\n".join(lines).strip()


def _answer_cells(gpt2: Gpt2, answer: Answer) -> list[dict[str, Any]]:
    if not answer.written:
        about = "All of its tokens were chosen by the reader, so there is nothing to generate."
        code = _text(gpt2, answer, str(list(answer.ids)))
        return [_markdown(f"## The last answer\n\n{about}"), _code(code)]
    about = ""
    lines = [_without_setup(generated(gpt2, answer.prompt, answer.decoding, "sequences"))]
    if answer.decoding.num_return_sequences > 1:
        about = (
            "\n\nThe call writes several texts. All are printed, and then the one that was chosen, "
            f"number {answer.sample} counted from 0."
        )
        lines += [
            "for sequence in sequences:",
            "    print(tokenizer.decode(sequence[ids.shape[1] :], skip_special_tokens=True))",
        ]
    tokens = "written"
    if answer.forced:
        tokens = f"[{', '.join(map(str, answer.ids[: answer.forced]))}, *written]"
    lines += [_written("sequences", answer), _text(gpt2, answer, tokens)]
    return [
        _markdown(f"## The last answer{about}"),
        _code("\n".join(lines)),
        _markdown(
            "## The numbers of its tokens\n\nFor each token that the model chose: its "
            "log-probability and rank under the raw logits, which are what the model thinks, and "
            "its probability under the processed scores, which are what the decoding made of it."
        ),
        _code(_numbers(gpt2, answer)),
    ]


def _written(sequences: str, answer: Answer) -> str:
    """Code that binds `written`: the new ids, without the filling behind the end of a sample."""
    return f"written = {sequences}[{answer.sample}, ids.shape[1] :][:{answer.written}].tolist()"


def _text(gpt2: Gpt2, answer: Answer, ids: str) -> str:
    """Code that prints the text of the ids, and whether it is the one that was taken along."""
    shown = decode(gpt2, answer.ids)
    options = "skip_special_tokens=True, clean_up_tokenization_spaces=False"
    return (
        f"text = tokenizer.decode({ids}, {options})\nprint(text)\n"
        f"print('the text that was taken along:', text == {shown!r})"
    )


def _numbers(gpt2: Gpt2, answer: Answer) -> str:
    call = generated(gpt2, answer.prompt, answer.decoding, "output", NUMBERS)
    row = str(answer.sample)
    if answer.decoding.strategy == "beam":
        # A sequence moves from beam to beam, and transformers tells where it was at each step.
        row = f"output.beam_indices[{row}, step]"
    return "\n".join(
        [
            _without_setup(call),
            _written("output.sequences", answer),
            'print("   id     logprob    rank  probability")',
            "for step, id in enumerate(written):",
            f"    row = {row}",
            "    logits = output.logits[step][row].float()",
            "    logprob = logits.log_softmax(-1)[id].item()",
            "    rank = (logits > logits[id]).sum().item() + 1",
            "    probability = output.scores[step][row].float().softmax(-1)[id].item()",
            "    token = tokenizer.decode([id])",
            '    print(f"{id:5}  {logprob:10.6f}  {rank:6}  {probability:11.6f}  {token!r}")',
        ]
    )


def _look(
    gpt2: Gpt2,
    inspection: Inspection,
    values: Mapping[str, Any],
    trace: Trace,
    answer: Answer | None,
) -> str:
    arguments = {control.name: control.default for control in inspection.controls} | dict(values)
    if inspection.uses_decoding and answer:
        arguments.setdefault("decoding", answer.decoding)
        if trace.ids.tolist() == [*answer.prompt, *answer.ids[answer.forced :]]:
            arguments.setdefault("prompt_length", len(answer.prompt))
    code = inspection.snippet(trace, **arguments)
    if not arguments.get("noise"):
        return _without_setup(code)
    # This one changes the weights, so it takes a model of its own and leaves the shared one alone.
    return f"untouched = model\n{code.strip()}\nmodel = untouched"


def _span(text: str) -> str:
    """Text as Markdown code, whatever is in it."""
    line = text if text.isprintable() else ascii(text)
    fence = "`"
    while fence in line:
        fence += "`"
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": text.splitlines(keepends=True),
    }
