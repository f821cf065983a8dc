"""Direct logit attribution: each part is what hooks on the plain model see, and they sum to it."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from prompts import PROMPTS

import gpt2lab
from gpt2lab.inspections import attribution
from gpt2lab.inspections.attribution import ALONE, BEST_OTHER, DIFFERENCES, MEAN
from gpt2lab.models import Gpt2, load_model
from gpt2lab.refusal import Refusal
from gpt2lab.trace import Trace, trace_ids, trace_text

TEXT = "to be or not to be or"
PARTS = 1e-4
"""A part's contribution, absolute."""
SUM = 1e-3
"""Their sum against the model's logit, absolute."""
GROUPS = ("token_embedding", "position_embedding", "heads", "attention_biases", "mlps", "ln_f_bias")


def reference(plain, ids: torch.Tensor, position: int, weights: torch.Tensor) -> dict:
    """The parts of `logits[position] @ weights`, each written out as a vector of its own.

    Every vector goes through ln_f's own formula, with the mean of that vector and the deviation of
    the whole state; the tokens' embeddings come last.
    """
    seen: dict = {}

    def keep(module, inputs, output):
        seen[module] = inputs[0][0], output[0]

    model, config = plain.transformer, plain.config
    watched = [model.ln_f, *(part for one in model.h for part in (one.attn.c_proj, one.mlp))]
    hooks = [module.register_forward_hook(keep) for module in watched]
    with torch.no_grad():
        logits = plain(ids[None]).logits[0, position]
    for hook in hooks:
        hook.remove()
    deviation = (seen[model.ln_f][0][position].var(correction=0) + config.layer_norm_epsilon).sqrt()

    unembedding = weights @ plain.lm_head.weight.detach().double()

    def contribution(vector: torch.Tensor) -> float:
        normalized = (vector - vector.mean()) / deviation * model.ln_f.weight
        return float(normalized.double() @ unembedding)

    size = config.n_embd // config.n_head
    heads = np.empty((config.n_layer, config.n_head))
    with torch.no_grad():
        for layer, block in enumerate(model.h):
            for head in range(config.n_head):
                own = torch.zeros(config.n_embd)
                cut = slice(head * size, (head + 1) * size)
                own[cut] = seen[block.attn.c_proj][0][position][cut]
                heads[layer, head] = contribution(own @ block.attn.c_proj.weight)
        return {
            "logit": float(logits.double() @ weights),
            "token_embedding": contribution(model.wte.weight[ids[position]]),
            "position_embedding": contribution(model.wpe.weight[position]),
            "heads": heads,
            "attention_biases": np.array([contribution(one.attn.c_proj.bias) for one in model.h]),
            "mlps": np.array([contribution(seen[one.mlp][1][position]) for one in model.h]),
            "ln_f_bias": float(model.ln_f.bias.double() @ unembedding),
        }


def one_hot(gpt2: Gpt2, id: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(id), gpt2.vocab_size).double()


def total(result) -> float:
    return float(sum(np.sum(getattr(result, name)) for name in GROUPS))


@pytest.mark.parametrize("difference", DIFFERENCES)
@pytest.mark.parametrize("position", [0, 3, -1])
def test_each_part_is_that_of_hooks_on_the_plain_model(gpt2, plain, position, difference):
    trace = trace_text(gpt2, TEXT)
    place = position % len(trace)
    result = gpt2lab.attribution(trace, position, difference=difference)
    logits = trace.logits(position)
    following = int(logits.argmax()) if position == -1 else int(trace.ids[place + 1])
    assert (result.position, result.id) == (place, following)
    weights = one_hot(gpt2, following)
    if difference == BEST_OTHER:
        other = next(id for id in logits.argsort(descending=True).tolist() if id != following)
        assert result.other_id == other
        assert result.other == gpt2.tokenizer.convert_ids_to_tokens(other)
        weights -= one_hot(gpt2, other)
    if difference == MEAN:
        weights -= 1 / gpt2.vocab_size
    expected = reference(plain, trace.ids, place, weights)
    for name in GROUPS:
        np.testing.assert_allclose(getattr(result, name), expected[name], rtol=0, atol=PARTS)
    assert result.heads.shape == (gpt2.n_layer, gpt2.n_head)
    assert result.logit == pytest.approx(expected["logit"], abs=PARTS)
    assert abs(total(result) - expected["logit"]) <= SUM
    assert np.abs(result.heads).max() > 0.1


@pytest.mark.parametrize("text", ["ordinary", "one token", "empty", "emoji", "blank runs"])
def test_the_parts_sum_to_the_logit_that_transformers_gives(gpt2, plain, text):
    trace = trace_text(gpt2, PROMPTS[text])
    with torch.no_grad():
        logits = plain(trace.ids[None]).logits[0]
    for position in {0, len(trace) // 2, len(trace) - 1}:
        for token in (-1, 0, 50256):
            result = gpt2lab.attribution(trace, position, token)
            assert token in (-1, result.id)
            assert result.other is None
            assert abs(result.logit - float(logits[position, result.id])) <= PARTS
            assert abs(total(result) - float(logits[position, result.id])) <= SUM
            assert result.total == pytest.approx(total(result), abs=1e-9)


def test_a_difference_is_the_difference_of_two_attributions(gpt2):
    trace = trace_text(gpt2, TEXT)
    against = gpt2lab.attribution(trace, 2, 464, BEST_OTHER)
    pair = [gpt2lab.attribution(trace, 2, id) for id in (464, against.other_id)]
    for name in ("logit", *GROUPS):
        first, second = (getattr(one, name) for one in pair)
        np.testing.assert_allclose(getattr(against, name), first - second, rtol=0, atol=PARTS)


def test_no_later_token_matters(gpt2):
    trace = trace_text(gpt2, TEXT)
    whole = gpt2lab.attribution(trace, 3, 464)
    cut = gpt2lab.attribution(trace.prefix(4), -1, 464)
    np.testing.assert_allclose(whole.heads, cut.heads, rtol=0, atol=PARTS)
    np.testing.assert_allclose(whole.mlps, cut.mlps, rtol=0, atol=PARTS)


@pytest.fixture
def unusual(random_folder, tmp_path) -> Gpt2:
    """The random model with attention computed the other way, and an output matrix of its own."""
    from transformers import GPT2LMHeadModel, GPT2Tokenizer

    model = GPT2LMHeadModel.from_pretrained(random_folder, dtype=torch.float32)
    model.config.update({"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True})
    model.config.tie_word_embeddings = False
    torch.manual_seed(2)
    head = torch.randn(model.lm_head.weight.shape)
    model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(tmp_path)
    GPT2Tokenizer.from_pretrained(random_folder).save_pretrained(tmp_path)
    return load_model(str(tmp_path), device="cpu")


def test_unusual_models_are_split_too(unusual):
    trace = trace_text(unusual, TEXT)
    result = gpt2lab.attribution(trace, 4, 464)
    expected = reference(unusual.model, trace.ids, 4, one_hot(unusual, 464))
    for name in ("logit", *GROUPS):
        np.testing.assert_allclose(getattr(result, name), expected[name], rtol=0, atol=PARTS)


def test_what_does_not_add_up_is_refused(random_gpt2):
    trace = trace_text(random_gpt2, TEXT)
    hidden = trace.hidden.clone()
    hidden[1, -1, 0] += 1
    with pytest.raises(Refusal, match=r"^The parts sum to .*, but the logit is "):
        gpt2lab.attribution(Trace(random_gpt2, trace.ids, hidden))


def test_half_precision_is_refused(random_folder):
    half = load_model(str(random_folder), device="cpu", dtype="bfloat16")
    trace = trace_ids(half, [464, 1])
    for look in (gpt2lab.attribution, attribution.snippet):
        with pytest.raises(Refusal, match=r"is loaded in bfloat16.*please load it in float32\.$"):
            look(trace)


@pytest.mark.parametrize("wrong", [-2, 50257, 1.5, "464"])
def test_ids_that_are_none_are_refused(random_gpt2, wrong):
    with pytest.raises(Refusal, match=r"^token is .* from -1 to 50256"):
        gpt2lab.attribution(trace_text(random_gpt2, TEXT), token=wrong)


def test_an_unknown_difference_is_refused(random_gpt2):
    with pytest.raises(Refusal, match=r"^difference is 'x', but must be 'the token alone' or "):
        gpt2lab.attribution(trace_text(random_gpt2, TEXT), difference="x")


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_answer_and_the_table_show_the_record(gpt2, difference):
    result = gpt2lab.attribution(trace_text(gpt2, TEXT), 3, difference=difference)
    answer = attribution.answer(result)
    assert (answer["position"], answer["token"], answer["id"]) == (3, "Ġto", 284)
    assert (answer["other"], answer["other_id"]) == (result.other, result.other_id)
    assert answer["logit"] == result.logit
    assert tuple(answer["parts"]) == GROUPS
    for name, value in answer["parts"].items():
        assert np.array_equal(value, getattr(result, name))

    rows = attribution.table(result).rows
    assert len(rows) == 3 + gpt2.n_layer * (gpt2.n_head + 2)
    sizes = [abs(row[3]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(row[3] for row in rows) == pytest.approx(result.logit, abs=SUM)
    arrays = {"attention head": "heads", "attention bias": "attention_biases", "MLP": "mlps"}
    for part, layer, head, value in rows:
        if part not in arrays:
            assert value == getattr(result, part.replace(" ", "_"))
            continue
        place = (layer, head) if part == "attention head" else layer
        assert value == getattr(result, arrays[part])[place]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_figure_shows_the_record(random_gpt2, difference, dark):
    result = gpt2lab.attribution(trace_text(random_gpt2, TEXT), 3, difference=difference)
    drawing = attribution.figure(result, dark)
    heads, mlps, sums, _ = drawing.axes
    assert np.array_equal(heads.images[0].get_array(), result.heads)
    low, high = heads.images[0].get_clim()
    assert -low == high == np.abs(result.heads).max()
    # At zero the palette is nearly the paper: light or dark, and no colour.
    middle = heads.images[0].cmap(0.5)[:3]
    assert max(middle) - min(middle) < 0.1
    assert (max(middle) < 0.2) if dark else (min(middle) > 0.9)
    assert len(heads.texts) == result.heads.size
    assert [bar.get_width() for bar in mlps.patches] == result.mlps.tolist()
    assert heads.get_ylim() == mlps.get_ylim()
    widths = [bar.get_width() for bar in sums.patches]
    assert widths == pytest.approx([*result.groups.values(), result.logit])
    names = [tick.get_text() for tick in sums.get_yticklabels()]
    last = "logit" if difference == ALONE else "difference"
    assert names == [*result.groups, last]
    title = drawing.get_suptitle()
    assert title.startswith("logit of ␣to (id 284)")
    assert title.endswith("behind position 3, ␣not")
    assert ("less" in title) == (difference != ALONE)


def test_the_formula_has_the_live_numbers(random_gpt2):
    result = gpt2lab.attribution(trace_text(random_gpt2, TEXT), 3)
    formula = attribution.figure(result).axes[2].get_title().replace("\n", " ")
    assert formula == result.formula == attribution.answer(result)["formula"]
    left, right = formula.split(" = ")
    assert float(left.removeprefix("logit ").replace("−", "-")) == pytest.approx(
        result.logit, abs=0.0051
    )
    terms = re.findall(r"(−?) ?(\w[\w ]*?) ([0-9.]+)", right)
    assert [name for _, name, _ in terms] == list(result.groups)
    numbers = [float(f"-{number}" if sign else number) for sign, _, number in terms]
    assert numbers == pytest.approx(list(result.groups.values()), abs=0.0051)


def test_the_examples_are_about_two_tokens(pocket):
    for one in attribution.examples(pocket):
        result = gpt2lab.attribution(trace_text(pocket, one.text), **one.controls)
        assert result.other is not None
        assert result.id != result.other_id


@pytest.mark.parametrize("shape", [(1, 1), (12, 12), (48, 25)], ids=str)
def test_models_of_any_shape_can_be_drawn(random_gpt2, shape):
    result = gpt2lab.attribution(trace_text(random_gpt2, TEXT))
    random = np.random.default_rng(0)
    heads, (mlps, biases) = random.normal(size=shape), random.normal(size=(2, shape[0]))
    larger = dataclasses.replace(result, heads=heads, mlps=mlps, attention_biases=biases)
    drawing = attribution.figure(larger)
    drawing.draw_without_rendering()
    width, height = drawing.get_size_inches()
    assert max(width, height) < 13.5
    assert len(drawing.axes[0].texts) == (heads.size if max(shape) <= 16 else 0)
    assert len(drawing.axes[1].get_yticks()) <= 16


def test_the_snippet_prints_every_part(gpt2, capsys, monkeypatch):
    monkeypatch.chdir(gpt2lab.models.POCKET.parent.parent)
    trace = trace_text(gpt2, TEXT)
    names: dict = {}
    exec(attribution.snippet(trace, 2, 464, BEST_OTHER), names)
    result = gpt2lab.attribution(trace, 2, 464, BEST_OTHER)
    for name in ("logit", "heads", "mlps", "attention_biases"):
        np.testing.assert_allclose(names[name], getattr(result, name), rtol=0, atol=PARTS)
    printed = capsys.readouterr().out
    for value in (result.token_embedding, result.position_embedding, result.ln_f_bias):
        assert f"tensor({value:.4f}" in printed
