r"""One matrix, two jobs.

GPT-2 needs a table that turns a token id into a vector (the token embedding, `wte`) and a matrix
that turns the last vector into one logit per token (the language-model head, `lm_head`). Both have
one row per token, and GPT-2 uses the *same* matrix $E$ for both:

$$x_0 = E[\text{id}] + P[\text{position}], \qquad \text{logits} = x_N \cdot E^\top .$$

That is weight tying. It saves `vocab_size × n_embd` parameters, and what the model learns about a
token as output it also knows about it as input. Equal values would not be enough: tied weights are
one piece of memory, so that changing one changes the other. The head has no bias.

With `noise` above 0 you can see it: the same random noise is added to the input embedding of the
tied model, whose output matrix then changes with it, and of an untied copy, whose output matrix
stays. The chart shows how far the logits of the text's last position move in either.
"""

from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from gpt2lab.figures import bars, new_figure, theme
from gpt2lab.inspection import Control, Inspection, Table
from gpt2lab.refusal import checked_number
from gpt2lab.snippets import preamble
from gpt2lab.trace import Trace

LARGEST_NOISE = 1.0
NOISE_SEED = 0


@dataclass(frozen=True)
class WeightTying:
    """The weight-tying check of a model.

    equal: the embedding and the head have the same values.
    same_storage: they are the same piece of memory.
    config_says_tied: the configuration's `tie_word_embeddings`.
    parameters_tied: number of parameters with one matrix for both.
    parameters_untied: the same with a matrix of its own for the head.
    noise: standard deviation of the noise added to the input embedding; 0: no experiment.
    largest_change_tied, largest_change_untied: largest absolute change of a logit behind the last
        token when the head shares the noisy matrix, and when it does not; None without noise.
    """

    equal: bool
    same_storage: bool
    config_says_tied: bool
    parameters_tied: int
    parameters_untied: int
    noise: float
    largest_change_tied: float | None
    largest_change_untied: float | None


def weight_tying(trace: Trace, noise: float = 0.0) -> WeightTying:
    """Check the tying of the traced model's weights; with noise also what untying would change."""
    noise = checked_number("noise", noise, 0.0, LARGEST_NOISE)
    model = trace.gpt2.model
    embedding, head = model.transformer.wte.weight, model.lm_head.weight
    same_storage = embedding.data_ptr() == head.data_ptr()
    shared = sum(one.numel() for one in model.parameters())
    shared -= 0 if same_storage else head.numel()
    change_tied, change_untied = _changes(trace, noise) if noise else (None, None)
    return WeightTying(
        equal=torch.equal(embedding, head),
        same_storage=same_storage,
        config_says_tied=bool(model.config.tie_word_embeddings),
        parameters_tied=shared,
        parameters_untied=shared + head.numel(),
        noise=noise,
        largest_change_tied=change_tied,
        largest_change_untied=change_untied,
    )


@torch.no_grad()
def _changes(trace: Trace, noise: float) -> tuple[float, float]:
    """Largest change of a logit with the head tied to the noisy embedding, and with its own."""
    model = trace.gpt2.model
    embedding, head = model.transformer.wte.weight, model.lm_head.weight
    noisy = embedding + noise * _noise(embedding)
    ids = trace.ids[None].to(embedding.device)
    # The shared weights stay as they are: the noisy rows enter as embeddings, not as parameters.
    state = model.transformer(inputs_embeds=noisy[ids]).last_hidden_state[0, -1]
    before = trace.logits()
    tied, untied = (state @ matrix.T for matrix in (noisy, head))
    return float((tied - before).abs().max()), float((untied - before).abs().max())


def _noise(like: Tensor) -> Tensor:
    random = torch.Generator().manual_seed(NOISE_SEED)
    return torch.randn(like.shape, generator=random).to(like)


def figure(result: WeightTying, dark: bool = False) -> Figure:
    """Parameters with and without tying, and, with noise, how far the logits move."""
    experiment = result.largest_change_tied is not None
    drawing = new_figure(7, 3.6 if experiment else 1.9, dark)
    panels = drawing.subplots(2 if experiment else 1, 1, squeeze=False).flat
    millions = [result.parameters_tied / 1e6, result.parameters_untied / 1e6]
    bars(panels[0], ["tied", "untied"], millions, dark)
    panels[0].set_title("parameters, in millions", color=theme(dark).ink)
    if experiment:
        changes = [result.largest_change_tied or 0.0, result.largest_change_untied or 0.0]
        bars(panels[1], ["tied", "untied"], changes, dark)
        panels[1].set_title("largest change of a logit under the noise", color=theme(dark).ink)
    return drawing


def table(result: WeightTying) -> Table:
    """One row per finding."""
    saved = result.parameters_untied - result.parameters_tied
    rows: list[tuple[str, str | float | int | bool]] = [
        ("wte and lm_head have equal values", _yes(result.equal)),
        ("they are one piece of memory", _yes(result.same_storage)),
        ("the configuration says tied", _yes(result.config_says_tied)),
        ("parameters if tied", f"{result.parameters_tied:,}"),
        ("parameters if untied", f"{result.parameters_untied:,}"),
        ("saved by tying", f"{saved:,} ({saved / result.parameters_untied:.1%})"),
    ]
    if result.largest_change_tied is not None and result.largest_change_untied is not None:
        change = f"largest change of a logit, noise {result.noise:g}"
        rows += [
            (f"{change}, tied", result.largest_change_tied),
            (f"{change}, untied", result.largest_change_untied),
        ]
    return Table(("finding", "value"), tuple(rows))


def answer(result: WeightTying) -> dict[str, Any]:
    """JSON of the endpoint: the record's fields; the changes only with noise."""
    return {name: value for name, value in vars(result).items() if value is not None}


def snippet(trace: Trace, noise: float = 0.0) -> str:
    """Code that binds the record's fields."""
    check = """
wte, lm_head = model.transformer.wte.weight, model.lm_head.weight
equal, same_storage = torch.equal(wte, lm_head), wte.data_ptr() == lm_head.data_ptr()
config_says_tied = model.config.tie_word_embeddings
parameters_tied = model.num_parameters() - (0 if same_storage else lm_head.numel())
parameters_untied = parameters_tied + lm_head.numel()
print(equal, same_storage, config_says_tied, parameters_tied, parameters_untied)
"""
    if not noise:
        return preamble(trace.gpt2, trace.ids.tolist()) + check
    seeded = f"torch.manual_seed({NOISE_SEED})"
    return f"""{preamble(trace.gpt2, trace.ids.tolist())}
{check.strip()}
with torch.no_grad():
    before, E = model(ids).logits[0, -1], lm_head.clone()
    wte += {float(noise)} * torch.randn(wte.shape, generator={seeded}).to(wte)
    x = model.transformer(ids).last_hidden_state[0, -1]
    largest_change_tied = (x @ wte.T - before).abs().max().item()
    largest_change_untied = (x @ E.T - before).abs().max().item()
print(largest_change_tied, largest_change_untied)
"""


def _yes(value: bool) -> str:
    return "yes" if value else "no"


INSPECTION = Inspection(
    name="weight_tying",
    title="Weight tying",
    group="Weights",
    idea=__doc__ or "",
    compute=weight_tying,
    figure=figure,
    table=table,
    answer=answer,
    snippet=snippet,
    reproduces=(
        "equal",
        "same_storage",
        "config_says_tied",
        "parameters_tied",
        "parameters_untied",
    ),
    controls=(
        Control(
            "noise",
            "number",
            "standard deviation of the noise on the input embedding; 0: none",
            0.0,
            low=0.0,
            high=LARGEST_NOISE,
        ),
    ),
)
