r"""What does the model say without this head?

Attention weights show where a head looks, and its direct contribution shows what it writes. Whether
the model *needs* it is another question, and the way to answer it is an experiment: switch the head
off, and see what changes.

The heads of a layer fetch one vector each, side by side in $f = (f_1, \dots, f_H)$, and the layer
writes $f W + b$ into the stream ($W$ and $b$: `attn.c_proj`). A head $i$ is off when $f_i = 0$, at
every position and in every step; the bias $b$ belongs to no head and stays. An MLP is off when the
whole input of its own `mlp.c_proj` is zero. How far the distribution $p$ of the next token moves to
$q$ is told by the *divergence* of the two, in bits:

$$D(p \,\|\, q) = \sum_j p_j \log_2 \frac{p_j}{q_j}.$$

It is 0 if nothing changes. The *sweep* switches off every head and every MLP, one at a time, and
shows what each does to the log-probability of one token: $\log q - \log p$, in nats. Below zero the
part has helped the token.

Three things to keep in mind. What later layers compute from the changed stream counts as well, so
the change is not the head's direct contribution. Where several heads do the same, each alone can be
missed and all together not: that is why sets of them can be switched off. And zero is a value that
the model has never seen there, so some of the damage may come from the strangeness of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gpt2lab.ablation import (
    MLP,
    Ablation,
    Part,
    Written,
    ablated,
    blocks_one_by_one,
    checked_parts,
    every_part,
    log_softmax,
    one_by_one,
)
from gpt2lab.ablation_figure import draw
from gpt2lab.decoding import Decoding
from gpt2lab.examples import REPEATED, Example, revealing
from gpt2lab.examples import heads as measured_heads
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.models import Gpt2
from gpt2lab.one_token import TEXTS_OWN, token_behind, token_control
from gpt2lab.outputs import known, limited, outputs_of
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.snippets import preamble
from gpt2lab.tokens import describe, readable
from gpt2lab.trace import Trace
from gpt2lab.work import block_work, largest, most_tokens, unasked

MOST_STEPS = 20
TOP = 10
"""Tokens that are listed before, and after."""
IF_QUICK, ON, OFF = "if it is quick", "on", "off"
SWEEPS = (IF_QUICK, ON, OFF)


def ablate(
    trace: Trace,
    heads: str | Sequence[Sequence[int | str]] = "",
    position: int = -1,
    token: int = TEXTS_OWN,
    steps: int = 10,
    sweep: str = IF_QUICK,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> Ablation:
    """Switch off `heads`, such as "5.1, 3.mlp" or [[5, 1], [3, "mlp"]], behind `position`.

    The sweep is about `token`, an id; by default it is the token that follows in the text, at the
    end of it the most probable one. The continuations have up to `steps` tokens, chosen as
    `decoding` says, with the text up to `position` as the prompt.
    """
    gpt2 = trace.gpt2
    parts = checked_parts(gpt2, heads)
    position = trace.position(position)
    chosen = token_behind(trace, position, token)
    steps = int(checked_number("steps", steps, 0, MOST_STEPS))
    text = trace.prefix(position + 1)
    sweeps = _sweeps(gpt2, sweep, len(text))
    logits_before = trace.logits(position).cpu().numpy()
    changed = ablated(text, parts)
    logits = changed.logits().cpu().numpy() if parts else logits_before
    before, after = log_softmax(logits_before), log_softmax(logits)
    settings = _settings(decoding or Decoding(), min(steps, gpt2.n_positions - len(text)))
    shown = describe(gpt2, [int(text.ids[-1])]).shown[0]
    listed = np.unique([chosen, *_top(logits_before), *_top(logits)]).tolist()
    return Ablation(
        position=position,
        shown=shown,
        off=tuple(part.name for part in parts),
        id=chosen,
        token=describe(gpt2, [chosen]).tokens[0],
        logits_before=logits_before,
        logits=logits,
        kl_bits=max(0.0, float((np.exp(before) * (before - after)).sum() / np.log(2))),
        tokens=dict(zip(listed, describe(gpt2, listed).tokens, strict=True)),
        how=_how(settings),
        written_before=_continue(text, settings) if parts else (),
        written=_continue(changed, settings) if parts else (),
        changes=one_by_one(text, chosen).numpy() - before[chosen] if sweeps else None,
    )


def _sweeps(gpt2: Gpt2, sweep: str, length: int) -> bool:
    """Whether the sweep is to be done; raise `Refusal` if it would take too long."""
    if not isinstance(sweep, str) or sweep not in SWEEPS:
        raise Refusal(f"sweep is {quoted(sweep)}, but must be one of {', '.join(SWEEPS)}.")
    blocks = blocks_one_by_one(gpt2)
    needed = blocks * block_work(gpt2, length)
    if sweep == ON and needed > largest(gpt2):
        most = most_tokens(gpt2, blocks, largest(gpt2))
        advice = f"choose a position before {most:,}, a shorter text or a smaller model"
        raise Refusal(
            f"The sweep runs {gpt2.name} {len(every_part(gpt2)):,} times on {length:,} tokens, "
            f"which would take minutes; please {advice}."
        )
    return sweep == ON or (sweep == IF_QUICK and needed <= unasked(gpt2))


def _how(settings: Decoding | None) -> str:
    """How a continuation is chosen, in a few words."""
    if settings is None:
        return "nothing is written"
    return {
        "greedy": "the most probable tokens",
        "sample": f"drawn with seed {settings.seed}",
        "beam": f"the best of {settings.num_beams} beams",
    }[settings.strategy]


def _settings(decoding: Decoding, steps: int) -> Decoding | None:
    """The same decoding, for one continuation of so many tokens; None if there are none."""
    return limited(decoding, steps) if steps else None


def _continue(text: Trace, decoding: Decoding | None) -> tuple[Written, ...]:
    """What the model of the trace, whole or not, writes behind the text."""
    if decoding is None:
        return ()
    prompt = text.ids.tolist()
    run = outputs_of(text.gpt2, prompt, decoding, known(text, prompt))
    ids = run.chosen.tolist()
    probabilities = run.logits.softmax(-1).gather(1, run.chosen[:, None])[:, 0].tolist()
    names = describe(text.gpt2, ids).tokens
    return tuple(map(Written, ids, names, probabilities))


def _top(logits: np.ndarray) -> list[int]:
    """The ids with the largest logits, the largest first."""
    return np.argsort(-logits, kind="stable")[:TOP].tolist()


def figure(result: Ablation, dark: bool = False) -> Figure:
    """The next token before and after; what each part alone does; both continuations."""
    return draw(result, dark)


def table(result: Ablation) -> Table:
    """What the chosen token loses: to the set, and to each part alone, the largest change first."""
    before = float(result.logprobs_before[result.id])
    rows: list[tuple[str | float | int | bool, ...]] = [("nothing", *_numbers(before, 0.0))]
    if result.off:
        after = float(result.logprobs[result.id])
        rows.append((", ".join(result.off), *_numbers(after, after - before)))
    if result.changes is not None:
        order = np.argsort(-np.abs(result.changes), axis=None, kind="stable")
        for place in order.tolist():
            layer, head = np.unravel_index(place, result.changes.shape)
            is_mlp = head == result.changes.shape[1] - 1
            change = float(result.changes[layer, head])
            name = Part(int(layer), None if is_mlp else int(head)).name
            rows.append((f"{name} alone", *_numbers(before + change, change)))
    of = readable(result.token)
    headers = ("switched off", f"probability of {of}", "log-probability (nats)", "change (nats)")
    return Table(headers, tuple(rows))


def _numbers(logprob: float, change: float) -> tuple[float, float, float]:
    return float(np.exp(logprob)), logprob, change


def answer(result: Ablation) -> dict[str, Any]:
    """JSON of the endpoint: the top tokens before and after, the divergence, the continuations."""
    found = result.changes
    return {
        "position": result.position,
        "off": list(result.off),
        "before": _listed(result, result.logits_before, result.logprobs_before),
        "after": _listed(result, result.logits, result.logprobs),
        "kl_bits": result.kl_bits,
        "formula": result.formula,
        "continuation_before": [_told(one) for one in result.written_before],
        "continuation_after": [_told(one) for one in result.written],
        "first_difference": result.first_difference,
        "token": result.token,
        "id": result.id,
        "sweep": None
        if found is None
        else {"heads": found[:, :-1].tolist(), "mlps": found[:, -1].tolist()},
    }


def _listed(result: Ablation, logits: np.ndarray, logprobs: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "id": id,
            "token": result.tokens[id],
            "logit": float(logits[id]),
            "probability": float(np.exp(logprobs[id])),
        }
        for id in _top(logits)
    ]


def _told(written: Written) -> dict[str, Any]:
    return {"id": written.id, "token": written.token, "probability": written.probability}


def snippet(
    trace: Trace,
    heads: str | Sequence[Sequence[int | str]] = "",
    position: int = -1,
    token: int = TEXTS_OWN,
    steps: int = 10,
    sweep: str = IF_QUICK,
    decoding: Decoding | None = None,
    prompt_length: int | None = None,
) -> str:
    """Code that binds `logits` and `kl_bits`, and prints the top tokens before and after."""
    parts = checked_parts(trace.gpt2, heads)
    ids = trace.prefix(trace.position(position) + 1).ids.tolist()
    of_heads = [(part.layer, part.head) for part in parts if part.head is not None]
    of_mlps = [part.layer for part in parts if part.head is None]
    size = trace.gpt2.n_embd // trace.gpt2.n_head
    return f"""{preamble(trace.gpt2, ids)}
before = model(ids).logits[0, -1].detach()
def off(module, start=0, stop=None):  # zeroes these columns of what goes into the module
    def zero(module, inputs): inputs[0][..., start:stop] = 0
    module.register_forward_pre_hook(zero)
for layer, head in {_wrapped(of_heads)}:
    off(model.transformer.h[layer].attn.c_proj, head * {size}, (head + 1) * {size})
for layer in {_wrapped(of_mlps)}: off(model.transformer.h[layer].mlp.c_proj)
logits = model(ids).logits[0, -1].detach()  # with the hooks
p, q = (one.double().log_softmax(-1) for one in (before, logits))
kl_bits = ((p.exp() * (p - q)).sum() / torch.tensor(2.0).log()).item()
print("KL", kl_bits, "bits")
for log in (p, q): print(*((tokenizer.decode(i), v) for v, i in zip(*log.exp().topk({TOP}))))
"""


def _wrapped(values: Sequence[Any]) -> str:
    """A list as code, in lines of at most 20 entries."""
    lines = [", ".join(map(repr, values[at : at + 20])) for at in range(0, len(values), 20)]
    return f"[{(',' + chr(10) + '        ').join(lines)}]"


def examples(gpt2: Gpt2) -> tuple[Example, ...]:
    """The induction heads that were measured, one off and then all; then texts for the sweep."""
    measured = [one for one in measured_heads(gpt2) if "induction head" in one.shows]
    names = [f"{one.controls['layer']}.{one.controls['head']}" for one in measured]
    off = {}
    if names:
        off = {
            f"a repetition without one induction head ({names[0]})": names[0],
            f"a repetition without all {len(names)} induction heads": ", ".join(names),
        }
    sweeps = [
        Example(f"which part matters most · {one.shows}", one.text, {"heads": ""})
        for one in revealing(gpt2)
    ]
    return (*(Example(shows, REPEATED, {"heads": one}) for shows, one in off.items()), *sweeps)


INSPECTION = Inspection(
    name="ablate",
    title="Switch heads off",
    group="Causes",
    writes=True,
    idea=__doc__ or "",
    compute=ablate,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=("logits", "kl_bits"),
    controls=(
        Control(
            "heads",
            "text",
            f"to switch off: layer.head, or layer.{MLP}, such as 5.1, 4.5, 3.{MLP}; empty: none",
            "",
            accepts=str | list[list[int | str]],
        ),
        Control("position", "position", "whose next token; -1 is the end of the text", -1),
        token_control("for the sweep"),
        Control("steps", "number", "tokens to write, with and without", 10, high=MOST_STEPS),
        Control("sweep", "choice", "each head and MLP alone", IF_QUICK, choices=SWEEPS),
    ),
    uses_decoding=True,
    examples=examples,
)
