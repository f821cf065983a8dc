r"""The same text and seed through `pipeline` and through `model.generate`: are they equal?

`pipeline("text-generation")` is a wrapper. It tokenizes the text, calls `model.generate`, and turns
the ids into text again, so with the same settings and the same seed both write the same tokens:

$$\text{pipe}(\text{text}) = \text{decode}(\,\text{generate}(\,\text{encode}(\text{text}))).$$

They differ in what they take and what they return.

- `model.generate(ids)` takes token ids and returns a tensor of ids, (sequences, tokens), in which
  the prompt comes first.
- `pipe(text)` takes a string and returns a list with one dictionary per sequence. The text in it
  begins with the prompt; with `return_full_text=False` it is the new part alone, and with
  `return_tensors=True` there are ids instead, the prompt's first.

They also differ in what they *fill in*. What one does not say, `generate` takes from the model's
`generation_config` and then from fixed values: greedy decoding, and 20 tokens. The pipeline brings
defaults of its own: it samples, at a temperature of 0.7, and writes up to 256 tokens. This is the
usual reason why two cells of a notebook with "the same" call write different texts: the one that
leaves temperature out means 1.0 in `generate` and 0.7 in the pipeline. Say every setting, and set
the seed before *each* call, since every draw moves the random generator on.

`set_seed` sets the random generator of the whole process, which here many people may share. So
both are really called here, but with a random generator of their own: the last logits processor
draws the token, with the same seed, and leaves no other to choose. The code below uses `set_seed`
and prints the same ids.
"""

from dataclasses import dataclass
from typing import Any

import torch

from gpt2lab.decoding import Decoding
from gpt2lab.inspection import Inspection, Table
from gpt2lab.outputs import STEPS, known, short_prompt, short_run
from gpt2lab.pipeline_figure import figure
from gpt2lab.pipelines import (
    DEFAULTS,
    arguments_of,
    as_sampled,
    defaults_of,
    filled_in_by,
    pipeline_of,
    returned_by,
)
from gpt2lab.snippets import own_configuration, preamble
from gpt2lab.tokens import checked_length, describe
from gpt2lab.trace import Trace

TO_SAY = {"sample": "temperature", "greedy": "do_sample"}
"""Which setting is left out once, to see what the pipeline fills in."""


@dataclass(frozen=True)
class PipelineOrGenerate:
    """What both returned for one text.

    text, prompt_ids: what was given, to the pipeline as text and to generate as ids.
    settings: what was said to both, as keyword arguments.
    generated_ids, pipeline_ids: what they returned, prompt and new tokens.
    shown: readable forms of every id that occurs.
    full_text, new_text: the text that the pipeline returns, and with `return_full_text=False`.
    left_out: a setting that a third call left out; "" under beam search, which has no such call.
    unsaid_ids: what the pipeline returned without it, prompt and new tokens.
    filled_in: what the pipeline filled in there.
    defaults: for each of DEFAULTS what generate and the pipeline take if nothing is said.
    """

    text: str
    prompt_ids: tuple[int, ...]
    settings: dict[str, Any]
    generated_ids: tuple[int, ...]
    pipeline_ids: tuple[int, ...]
    shown: dict[int, str]
    full_text: str
    new_text: str
    left_out: str
    unsaid_ids: tuple[int, ...]
    filled_in: dict[str, Any]
    defaults: dict[str, tuple[str, str]]

    @property
    def equal(self) -> bool:
        """Whether both returned the same ids."""
        return self.generated_ids == self.pipeline_ids

    @property
    def verdict(self) -> str:
        """What holds here, in words that follow the ids."""
        same = "the same ids" if self.equal else "DIFFERENT ids"
        seed = " and the same seed" if self.settings["do_sample"] else ""
        sentence = f"With the same settings{seed}, pipeline and generate return {same}."
        if not self.left_out:
            return sentence
        filled = ", ".join(f"{name}={value!r}" for name, value in self.filled_in.items())
        changed = "other ids" if self.unsaid_ids != self.pipeline_ids else "the same ids even so"
        left_out = f"Leave {self.left_out} out, and the pipeline fills in {filled}: {changed}."
        return f"{sentence} {left_out}"

    @property
    def returned(self) -> tuple[tuple[str, str], ...]:
        """Calls, and what they return, as Python writes it."""
        return (
            ("model.generate(ids, …)", f"tensor([{list(self.generated_ids)}])"),
            ("pipe(text, …)", repr([{"generated_text": self.full_text}])),
            ("pipe(text, return_full_text=False, …)", repr([{"generated_text": self.new_text}])),
            (
                "pipe(text, return_tensors=True, …)",
                repr([{"generated_token_ids": list(self.pipeline_ids)}]),
            ),
        )

    @property
    def runs(self) -> list[tuple[str, tuple[int, ...]]]:
        """The calls that wrote, and the new tokens of each."""
        start = len(self.prompt_ids)
        runs = [
            ("model.generate", self.generated_ids[start:]),
            ("pipeline", self.pipeline_ids[start:]),
        ]
        if self.left_out:
            runs.append((f"pipeline,\nno {self.left_out}", self.unsaid_ids[start:]))
        return runs


def pipeline_or_generate(
    trace: Trace,
    steps: int = 5,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> PipelineOrGenerate:
    """Write up to `steps` tokens behind the prompt, both ways.

    The prompt are the first `prompt_length` tokens of the traced text, by default all of it, but
    never so many that there is no room left for the steps.
    """
    gpt2 = trace.gpt2
    text, prompt, short = _setup(trace, steps, decoding, prompt_length)
    pipe, cache = pipeline_of(gpt2), known(trace, prompt)
    ids = torch.tensor([prompt], device=gpt2.model.device)
    with torch.no_grad():
        generated = gpt2.model.generate(
            ids, attention_mask=torch.ones_like(ids), **arguments_of(gpt2, prompt, short, cache)
        )[0].tolist()
    returned = returned_by(pipe, text, arguments_of(gpt2, prompt, short, cache))
    said = _settings(short)
    left_out = TO_SAY.get(short.strategy, "")
    unsaid: list[int] = []
    filled_in: dict[str, Any] = {}
    if left_out:
        rest = {name: value for name, value in said.items() if name != left_out}
        filled_in = filled_in_by(pipe, rest)
        other = as_sampled(short, filled_in["temperature"])
        unsaid = returned_by(pipe, text, arguments_of(gpt2, prompt, other, cache))[2]
    listed = sorted({*generated, *returned[2], *unsaid})
    return PipelineOrGenerate(
        text=text,
        prompt_ids=tuple(prompt),
        settings=said,
        generated_ids=tuple(generated),
        pipeline_ids=tuple(returned[2]),
        shown=dict(zip(listed, describe(gpt2, listed).shown, strict=True)),
        full_text=returned[0],
        new_text=returned[1],
        left_out=left_out,
        unsaid_ids=tuple(unsaid),
        filled_in=filled_in,
        defaults=defaults_of(gpt2, pipe),
    )


def _setup(
    trace: Trace, steps: int, decoding: Decoding | None, prompt_length: int | None
) -> tuple[str, list[int], Decoding]:
    """The text, its ids, and the settings for one run of at most `steps` tokens behind it.

    A pipeline takes text, so ids that no text has are replaced by those of the text they stand for.
    """
    gpt2 = trace.gpt2
    kept = short_prompt(trace, steps, prompt_length)
    text = gpt2.tokenizer.decode(kept, clean_up_tokenization_spaces=False)
    prompt = checked_length(gpt2, gpt2.tokenizer.encode(text, verbose=False), room=1)
    return text, prompt, short_run(gpt2, prompt, steps, decoding)


def _settings(decoding: Decoding) -> dict[str, Any]:
    """Everything that has to be said so that both mean the same."""
    said = decoding.generate_arguments()
    return said | {"temperature": decoding.temperature} if said["do_sample"] else said


def table(result: PipelineOrGenerate) -> Table:
    """What was returned, as Python writes it; then what each takes for what is not said."""
    rows = [(call, value) for call, value in result.returned]
    said = result.settings
    for name in DEFAULTS:
        own, pipelines = result.defaults[name]
        here = f"here: {said[name]!r}" if name in said else "not said here"
        rows.append((f"{name} ({here})", f"if not said: generate {own}, pipeline {pipelines}"))
    return Table(("call or setting", "returns or means"), tuple(rows))


def answer(result: PipelineOrGenerate) -> dict[str, Any]:
    """JSON of the endpoint: ids with the prompt's first, and the texts the pipeline returns."""
    return {
        "equal": result.equal,
        "prompt_ids": list(result.prompt_ids),
        "generate_ids": list(result.generated_ids),
        "pipeline_ids": list(result.pipeline_ids),
        "full_text": result.full_text,
        "new_text": result.new_text,
        "settings": result.settings,
        "left_out": result.left_out,
        "filled_in": result.filled_in,
        "ids_without_it": list(result.unsaid_ids),
        "defaults": {
            name: {"generate": own, "pipeline": pipelines}
            for name, (own, pipelines) in result.defaults.items()
        },
        "verdict": result.verdict,
    }


def snippet(
    trace: Trace,
    steps: int = 5,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> str:
    """Code that binds `generated_ids`, `pipeline_ids`, `full_text`, and `unsaid_ids` if any."""
    _, prompt, short = _setup(trace, steps, decoding, prompt_length)
    own = own_configuration(trace.gpt2)
    imports = ["pipeline", "set_seed", *(["GenerationConfig"] if own else [])]
    said = ", ".join(f"{name}={value!r}" for name, value in _settings(short).items())
    if short.stop:
        said += ", tokenizer=tokenizer"
    left_out = TO_SAY.get(short.strategy, "")
    more = (
        left_out
        and f"""
settings.pop({left_out!r})  # now the pipeline fills in its own
unsaid_ids = tuple(seeded(pipe, text, return_tensors=True)[0]["generated_token_ids"])
print(unsaid_ids[ids.shape[1]:])"""
    )
    return f"""{preamble(trace.gpt2, prompt, imports=imports)}
{own}pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
text, settings = tokenizer.decode(ids[0]), dict({said})

def seeded(call, prompt, **more):
    set_seed({short.seed})
    return call(prompt, **settings, **more)

generated_ids = tuple(seeded(model.generate, ids, attention_mask=torch.ones_like(ids))[0].tolist())
pipeline_ids = tuple(seeded(pipe, text, return_tensors=True)[0]["generated_token_ids"])
full_text = seeded(pipe, text)[0]["generated_text"]
print(generated_ids == pipeline_ids, pipeline_ids[ids.shape[1]:], repr(full_text), sep="\\n"){more}
"""


INSPECTION = Inspection(
    name="pipeline",
    title="Pipeline or generate?",
    group="Prediction",
    writes=True,
    idea=__doc__ or "",
    compute=pipeline_or_generate,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("generated_ids", "pipeline_ids"),
    controls=(STEPS,),
    uses_decoding=True,
)
