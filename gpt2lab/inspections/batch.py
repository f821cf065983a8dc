r"""What becomes of a text when it is read together with others.

A model reads several texts in one pass if they lie in one tensor, and its rows must have one
length. So the shorter texts are filled up with *pads*. GPT-2 has no token for that: the custom is
to take `<|endoftext|>`, id 50256, and the custom of some notebooks is id 0, which is the token `!`.
A pad is read like any token unless the *attention mask* hides it, and it pushes a text aside unless
the *position ids* leave it out, which `generate` counts from the mask $m$:

$$\text{position}_i = \Bigl(\sum_{j \le i} m_j\Bigr) - 1, \qquad 0 \text{ at a pad}.$$

Here the first row is the text that all tabs look at (of a long one its last tokens), and the others
are yours. All of them go through `model.generate` together, with the decoding settings but for one
short continuation each. Each row's
*largest logit error* compares two sets of logits, over the whole vocabulary: those of the batch's
last column, from which `generate` chooses the first new token, and those of the same text alone.
It should be 0 but for rounding, and with padding on the left and a mask it is.

Padded on the *right*, a shorter text ends before the last column, so `generate` goes on behind a
pad. At the text's own last token the logits are right even so, since no token sees what comes after
it: scoring or training may pad on the right, writing may not. *Without a mask* pads on the left are
read as the beginning of the text, and the text stands at the wrong positions. A mask alone is not
enough for a plain forward pass: `model(**batch)` counts the columns, so it needs `position_ids`.

Under greedy decoding it is also said whether a row's text alone would be continued with the same
tokens. When tokens are drawn, the rows draw from one random generator, in other order than a text
alone would: other texts then say nothing, the logits do. Two settings read the ids of a row, pads
and all: `no_repeat_ngram_size`, and `repetition_penalty` but for masked pads on the left. And a
`generate` that is told `pad_token_id=0` guesses a missing mask from the ids, so that each real `!`
counts as a pad.
"""

from collections.abc import Sequence
from typing import Any

from gpt2lab.batch_comparison import BatchComparison, compare
from gpt2lab.batch_figure import agreement, figure
from gpt2lab.batches import MOST_ROWS, PAD_TOKENS, SIDES, checked_rows, fitted
from gpt2lab.decoding import Decoding
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.matrices import MOST_COLUMNS
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.snippets import own_configuration, preamble, written_arguments
from gpt2lab.trace import Trace, trace_ids

OTHERS = "Hello dear!\nToday we can go to\nThe old man sat by the fire and told the children about"
LONGEST_FIRST = 1024
WINDOW = MOST_COLUMNS
"""Tokens of a long first text: as many as the matrices show of a row."""
STEPS, MOST_STEPS = 8, 100
"""Tokens written behind each row: as many as are written in half a second; and the most of them."""


def batch(
    trace: Trace,
    others: str = OTHERS,
    padding_side: str = "left",
    use_mask: bool = True,
    pad_token: str = "eos",
    window: int = WINDOW,
    steps: int = STEPS,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> BatchComparison:
    """Compare a batch of the traced text, of which the last `window` tokens, and of `others`."""
    steps = int(checked_number("steps", steps, 1, MOST_STEPS))
    first, cut = _first(trace, window)
    texts = [first, *(trace_ids(trace.gpt2, row) for row in _others(trace.gpt2, others))]
    return compare(texts, padding_side, use_mask, pad_token, decoding, cut, steps)


def batch_texts(
    gpt2: Gpt2,
    texts: Sequence[str],
    padding_side: str = "left",
    use_mask: bool = True,
    pad_token: str = "eos",
    decoding: Decoding | None = None,
) -> BatchComparison:
    """Compare a batch of 1 to 8 texts with the same texts alone."""
    traces = [trace_ids(gpt2, row) for row in checked_rows(gpt2, texts)]
    return compare(traces, padding_side, use_mask, pad_token, decoding)


def _first(trace: Trace, window: int) -> tuple[Trace, int]:
    """The first row: the text or, if it is longer than the window, its last tokens alone."""
    window = int(checked_number("window", window, 1, LONGEST_FIRST))
    cut = max(len(trace) - window, 0)
    return (trace_ids(trace.gpt2, trace.ids[cut:].tolist()) if cut else trace), cut


def _others(gpt2: Gpt2, others: str) -> list[list[int]]:
    """Ids of the other rows, a line of `others` each; empty lines are none."""
    texts = _lines(others)
    if len(texts) >= MOST_ROWS:
        raise Refusal(
            f"others has {len(texts)} lines with a text, but at most {MOST_ROWS - 1} fit below the "
            "first row; please remove some."
        )
    return checked_rows(gpt2, texts, first=1) if texts else []


def _lines(others: object) -> list[str]:
    if not isinstance(others, str):
        raise Refusal(f"others is {quoted(others)}, but must be a text with one row in each line.")
    return [line for line in others.split("\n") if line]


def table(result: BatchComparison) -> Table:
    """A row each: its length, its padding, its errors, and what was written behind it."""
    rows = []
    for row in range(result.rows):
        pads = int(result.pads[row].sum())
        rows.append(
            (
                row,
                result.input_ids.shape[1] - pads,
                pads,
                float(result.max_logit_error[row]),
                float(result.text_end_error[row]),
                f"{agreement(result, row)}{result.shown[row]}",
                result.finish_reasons[row],
            )
        )
    headers = ("row", "tokens", "pads", "error", "error at the text's end", "written", "ended by")
    return Table(headers, tuple(rows))


def answer(result: BatchComparison) -> dict[str, Any]:
    """JSON of the endpoint; `max_logit_error` is that of the logits that `generate` starts from."""
    configurations = [
        {
            "padding_side": one.padding_side,
            "use_mask": one.use_mask,
            "positions_counted": one.counted,
            "max_logit_error": one.error,
        }
        for one in result.configurations
    ]
    return {
        "input_ids": result.input_ids.tolist(),
        "attention_mask": result.attention_mask.tolist(),
        "position_ids": result.position_ids.tolist(),
        "outputs": list(result.outputs),
        "max_logit_error": result.max_logit_error.tolist(),
        "text_end_error": result.text_end_error.tolist(),
        "verdict": result.verdict,
        "configurations": configurations,
    }


def snippet(
    trace: Trace,
    others: str = OTHERS,
    padding_side: str = "left",
    use_mask: bool = True,
    pad_token: str = "eos",
    window: int = WINDOW,
    steps: int = STEPS,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> str:
    """Code that binds the batch, `max_logit_error` and `output_ids`, and prints them."""
    gpt2, decoding = trace.gpt2, decoding or Decoding()
    first, _ = _first(trace, window)
    ids, texts = first.ids.tolist(), _lines(others)
    width = max(map(len, [ids, *_others(gpt2, others)]))
    steps = int(checked_number("steps", steps, 1, MOST_STEPS))
    settings = fitted(gpt2, 1 + len(texts), width, decoding, steps)
    rows = f"ids.tolist() + tokenizer({texts!r}).input_ids" if texts else "ids.tolist()"
    pad_with = "tokenizer.eos_token" if pad_token == "eos" else "tokenizer.convert_ids_to_tokens(0)"
    mask = "batch.attention_mask" if use_mask else "torch.ones_like(batch.input_ids)  # none"
    written = "tokenizer.batch_decode(output_ids)"
    own, seed, imports, new = "", "", [], "input_ids[:, :0]  # the context is full"
    if settings:
        arguments = ", ".join(["attention_mask=attention_mask", *written_arguments(settings)])
        new = f"model.generate(input_ids, {arguments})[:, input_ids.shape[1]:]"
        own = own_configuration(gpt2)
        imports += ["GenerationConfig"] if own else []
        if settings.strategy == "sample":
            imports, seed = ["set_seed", *imports], f"set_seed({settings.seed})\n"
    return f"""{preamble(gpt2, ids, imports=imports)}
rows = {rows}
tokenizer.pad_token, tokenizer.padding_side = {pad_with}, {padding_side!r}
batch = tokenizer.pad({{'input_ids': rows}}, return_tensors='pt')
input_ids, attention_mask = batch.input_ids, {mask}
position_ids = (attention_mask.cumsum(-1) - 1).masked_fill(attention_mask == 0, 0)
with torch.no_grad():
    together = model(input_ids, attention_mask=attention_mask, position_ids=position_ids).logits
    alone = torch.stack([model(torch.tensor([row])).logits[0, -1] for row in rows])
max_logit_error = (together[:, -1] - alone).abs().amax(-1)
{own}{seed}output_ids = {new}
print(input_ids, attention_mask, position_ids, max_logit_error, {written}, sep="\\n")
"""


INSPECTION = Inspection(
    name="batch",
    title="Batch & padding",
    group="Text",
    writes=True,
    idea=__doc__ or "",
    compute=batch,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("input_ids", "attention_mask", "position_ids", "max_logit_error", "output_ids"),
    controls=(
        Control(
            "others",
            "text",
            "texts below the first row, one in each line, at most seven",
            OTHERS,
            lines=4,
        ),
        Control("padding_side", "choice", "where the pads stand", "left", choices=SIDES),
        Control("use_mask", "switch", "hide the pads from the model", True),
        Control(
            "pad_token",
            "choice",
            "what fills up: <|endoftext|> or id 0, “!”",
            "eos",
            choices=PAD_TOKENS,
        ),
        Control(
            "window",
            "number",
            "of a long first text only the last so many tokens",
            WINDOW,
            low=1,
            high=LONGEST_FIRST,
        ),
        Control(
            "steps",
            "number",
            "tokens to write behind each row, if the settings allow as many",
            STEPS,
            low=1,
            high=MOST_STEPS,
        ),
    ),
    uses_decoding=True,
    of_texts=batch_texts,
)
