"""`generate` chooses what `model.generate` chooses, and every number of a step is transformers'."""

import itertools
import random
import shutil
import threading
import time

import pytest
import torch
from prompts import PROMPTS
from transformers import GPT2LMHeadModel, StopStringCriteria, set_seed

from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text, generate
from gpt2lab.models import Gpt2, load_model
from gpt2lab.refusal import Refusal
from gpt2lab.step import ALTERNATIVES
from gpt2lab.tokens import encode, prompt_ids
from gpt2lab.trace import trace_ids

SCORES = 1e-5
"""Log-probabilities and probabilities, absolute: the same float32 numbers in the same order."""
BEAM_SCORES = 5e-5
"""The same for beam search, whose steps are read off one pass over the finished text."""
LOGITS = 1e-4
"""Logits of a trace read afterwards against those of the step, which came out of the cache."""

COMBINATIONS = {"random_gpt2": 160, "pocket": 60}
"""Fewer for the larger model, which takes the same way."""
BATCH = 20
# Few, because transformers needs most of a second to prepare a set of stop strings.
STOPS = (["e"], [" the", "."], ["\n", "ing", "é"])


LONGEST_PROMPT = 22
"""Tokens of the longest of the prompts; `max_length` counts from there."""


@pytest.fixture(autouse=True, scope="module")
def stop_strings_prepared_once():
    """Give transformers' own cache a key that it recognises.

    It looks for the vocabulary in the order in which the tokenizer lists it, which is not stable.
    """
    prepared: dict = {}
    prepare = StopStringCriteria.clean_and_embed_tokens_with_cache

    def once(self, token_list, token_indices, tokenizer):
        key = id(tokenizer), self.stop_strings
        if key not in prepared:
            prepared[key] = tokenizer, prepare(self, token_list, token_indices, tokenizer)
        return prepared[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopStringCriteria, "clean_and_embed_tokens_with_cache", once)
        yield


def random_combination(choose: random.Random) -> tuple[str, dict]:
    """The name of a prompt, and settings for `Decoding`."""
    settings: dict = {"strategy": choose.choice(["greedy", "sample", "sample", "beam"])}
    prompt = choose.choice(list(PROMPTS))
    if choose.random() < 0.3:
        settings["max_length"] = LONGEST_PROMPT + choose.randint(1, 3)
    else:
        settings["max_new_tokens"] = choose.randint(1, 6)
    sometimes = {
        "min_new_tokens": lambda: choose.randint(1, settings.get("max_new_tokens", 6)),
        "temperature": lambda: choose.choice([0.3, 0.7, 1.3, 3.0]),
        "top_k": lambda: choose.choice([0, 1, 5, 1000, 60_000]),
        "top_p": lambda: choose.choice([0.0, 0.3, 0.9, 0.999]),
        "min_p": lambda: choose.choice([0.0, 0.02, 0.3, 1.0]),
        "typical_p": lambda: choose.choice([0.05, 0.5, 0.95]),
        "repetition_penalty": lambda: choose.choice([0.8, 1.2, 3.0]),
        "no_repeat_ngram_size": lambda: choose.choice([1, 2, 3]),
        "stop": lambda: choose.choice(STOPS),
        "seed": lambda: choose.choice([0, 1, 7, 2**32 - 1]),
    }
    for name, value in sometimes.items():
        if choose.random() < 0.3:
            settings[name] = value()
    if settings["strategy"] == "beam":
        settings["num_beams"] = choose.randint(2, 4)
        settings["num_return_sequences"] = choose.randint(1, settings["num_beams"])
    if settings["strategy"] == "sample":
        settings["num_return_sequences"] = choose.choice([1, 1, 2, 3])
    return prompt, settings


def combinations(model: str) -> list[tuple[str, dict]]:
    choose = random.Random(model)
    return [random_combination(choose) for _ in range(COMBINATIONS[model])]


def batches(step: int) -> pytest.MarkDecorator:
    """Every so many of a model's batches: its name, and the combinations of one batch."""
    every = [
        pytest.param(model, combinations(model)[first : first + BATCH], id=f"{model}-{first}")
        for model, count in COMBINATIONS.items()
        for first in range(0, count, step * BATCH)
    ]
    return pytest.mark.parametrize(("gpt2", "batch"), every, indirect=["gpt2"])


def reference(model: GPT2LMHeadModel, tokenizer, ids: list[int], decoding: Decoding):
    """What a student's own cell gives, with all its numbers."""
    prompt = torch.tensor([ids])
    set_seed(decoding.seed)
    return model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        tokenizer=tokenizer,
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        **decoding.generate_arguments(),
    )


def steps_by_sequence(steps) -> list[list]:
    ordered = sorted(steps, key=lambda step: (step.sequence, step.index))
    return [list(group) for _, group in itertools.groupby(ordered, lambda step: step.sequence)]


def expected_reason(tokenizer, eos: int, row: list[int], stop: tuple[str, ...]) -> str:
    """Why a text ends, read off the text: its end-of-text token, its stop string, or its length."""
    if row[-1] == eos:
        return "eos"
    text, before = tokenizer.decode(row), tokenizer.decode(row[:-1])
    ends = any(text.find(string, max(0, len(before) - len(string) + 1)) >= 0 for string in stop)
    return "stop" if ends else "length"


def assert_same(gpt2: Gpt2, model: GPT2LMHeadModel, ids: list[int], decoding: Decoding) -> set[str]:
    """Compare every id and number with transformers'; return the reasons why sequences ended."""
    expected = reference(model, gpt2.tokenizer, ids, decoding)
    sequences = steps_by_sequence(generate(gpt2, ids, decoding))
    assert len(sequences) == len(expected.sequences)
    eos = gpt2.tokenizer.eos_token_id
    reasons = set()
    for number, (steps, row) in enumerate(zip(sequences, expected.sequences.tolist(), strict=True)):
        chosen = [step.id for step in steps]
        width = len(row) - len(ids)
        assert ids + chosen + [eos] * (width - len(chosen)) == row
        assert [step.index for step in steps] == list(range(len(steps)))
        assert [step.finish_reason for step in steps[:-1]] == [None] * (len(steps) - 1)
        reason = expected_reason(gpt2.tokenizer, eos, ids + chosen, decoding.stop)
        assert steps[-1].finish_reason == reason
        reasons.add(reason)
        for step in steps:
            beams = getattr(expected, "beam_indices", None)
            place = number if beams is None else beams[number, step.index]
            logits = expected.logits[step.index][place].float()
            scores = expected.scores[step.index][place].float()
            assert_numbers(step, logits, scores, SCORES if beams is None else BEAM_SCORES)
            assert step.trace.ids.tolist() == ids + chosen[: step.index]
        # After the last step: what earlier steps refer to has not been written over.
        for step in steps:
            logprobs = step.trace.logits().log_softmax(-1)
            assert float(logprobs[step.id]) == pytest.approx(step.logprob, abs=LOGITS)
    return reasons


def assert_numbers(step, logits: torch.Tensor, scores: torch.Tensor, within: float) -> None:
    """Compare the numbers of a step with transformers' logits and final scores, (vocab,)."""
    logprobs, probabilities = logits.log_softmax(-1), scores.softmax(-1)
    assert step.logprob == pytest.approx(float(logprobs[step.id]), abs=within)
    assert step.probability == pytest.approx(float(probabilities[step.id]), abs=within)
    # A near tie may round the other way.
    own = logits[step.id]
    fewest, most = (int((logits > own + margin).sum()) + 1 for margin in (within, -within))
    assert fewest <= step.rank <= most
    listed = [alternative.id for alternative in step.alternatives]
    raw = [alternative.raw_probability for alternative in step.alternatives]
    final = [alternative.probability for alternative in step.alternatives]
    assert raw == pytest.approx(logprobs[listed].exp().tolist(), abs=within)
    assert final == pytest.approx(probabilities[listed].tolist(), abs=within)
    assert raw == sorted(raw, reverse=True)
    assert raw[:ALTERNATIVES] == pytest.approx(
        logprobs.topk(ALTERNATIVES).values.exp().tolist(), abs=within
    )
    best = probabilities.topk(ALTERNATIVES).values.tolist()
    assert sorted(final, reverse=True)[:ALTERNATIVES] == pytest.approx(best, abs=within)


# --- the same as transformers --------------------------------------------------------------------


@batches(1)
def test_every_number_is_that_of_generate(gpt2, plain, batch):
    for prompt, settings in batch:
        try:
            assert_same(gpt2, plain, prompt_ids(gpt2, PROMPTS[prompt]), Decoding(**settings))
        except Exception as error:
            pytest.fail(f"{prompt!r} with {settings}: {type(error).__name__}: {error}")


@batches(4)
def test_texts_are_also_those_of_the_default_attention(gpt2, sdpa, batch):
    for prompt, settings in batch:
        ids, decoding = prompt_ids(gpt2, PROMPTS[prompt]), Decoding(**settings)
        expected = reference(sdpa, gpt2.tokenizer, ids, decoding).sequences.tolist()
        sequences = steps_by_sequence(generate(gpt2, ids, decoding))
        for steps, row in zip(sequences, expected, strict=True):
            chosen = [step.id for step in steps]
            assert ids + chosen == row[: len(ids) + len(chosen)], f"{prompt!r} with {settings}"


def test_the_combinations_cover_every_setting():
    for model, count in COMBINATIONS.items():
        prompts, every = zip(*combinations(model), strict=True)
        assert set(prompts) == set(PROMPTS)
        for name in Decoding.__dataclass_fields__:
            assert sum(name in settings for settings in every) > count / 8, name


@pytest.fixture(scope="module")
def ending(random_folder, tmp_path_factory) -> Gpt2:
    """The random model with an end-of-text token that is often likely."""
    folder = tmp_path_factory.mktemp("models") / "ending"
    shutil.copytree(random_folder, folder)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        bias = model.transformer.ln_f.bias
        model.transformer.wte.weight[-1] = 7 * bias / bias.norm() ** 2
    model.save_pretrained(folder)
    return load_model(str(folder), device="cpu")


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "sample", "num_return_sequences": 6, "top_k": 0},
        {"strategy": "sample", "num_return_sequences": 6, "top_k": 0, "min_new_tokens": 4},
        {"strategy": "sample", "num_return_sequences": 6, "top_k": 0, "stop": ["e"], "seed": 3},
        {"strategy": "greedy"},
        {"strategy": "greedy", "min_new_tokens": 3},
        {"strategy": "beam", "num_beams": 4, "num_return_sequences": 4},
        {"strategy": "beam", "num_beams": 3, "num_return_sequences": 2, "min_new_tokens": 3},
        {"strategy": "beam", "num_beams": 4, "num_return_sequences": 4, "stop": ["e"]},
    ],
    ids=str,
)
def test_a_model_that_ends_its_texts(ending, settings):
    model = GPT2LMHeadModel.from_pretrained(
        ending.path, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = encode(ending, "Today we can go to")
    decoding = Decoding(**settings, max_new_tokens=12)
    reasons = assert_same(ending, model, ids, decoding)
    assert "eos" in reasons or "stop" in reasons


def test_sequences_end_each_at_its_own_time(ending):
    decoding = Decoding(num_return_sequences=8, top_k=0, max_new_tokens=12)
    continuations = continue_text(ending, "Today we can go to", decoding)
    lengths = {len(continuation.ids) for continuation in continuations}
    assert len(lengths) > 1
    for continuation in continuations:
        assert len(continuation.ids) == len(continuation.logprobs)
        ended = continuation.ids[-1] == ending.tokenizer.eos_token_id
        assert continuation.finish_reason == ("eos" if ended else "length")
        assert "<|endoftext|>" not in continuation.text


def test_an_empty_text_starts_from_the_beginning_of_text(gpt2):
    decoding = Decoding(max_new_tokens=3)
    empty = [step.id for step in generate(gpt2, "", decoding)]
    assert empty == [step.id for step in generate(gpt2, [gpt2.tokenizer.bos_token_id], decoding)]


def test_a_text_may_fill_the_context_to_the_last_token(random_gpt2):
    ids = [464] * (random_gpt2.n_positions - 2)
    steps = list(generate(random_gpt2, ids, Decoding(strategy="greedy", max_new_tokens=2)))
    assert [step.finish_reason for step in steps] == [None, "length"]
    with pytest.raises(
        Refusal, match=r"126 tokens and 3 more .* room for 128 in all; .* 2 or less"
    ):
        generate(random_gpt2, ids, Decoding(max_new_tokens=3))


def test_what_cannot_work_is_refused_before_the_first_step(random_gpt2):
    with pytest.raises(Refusal, match="max_length is 4, but the prompt alone has 5 tokens"):
        generate(random_gpt2, "Today we can go to", Decoding(max_length=4))
    with pytest.raises(Refusal, match=r"129 tokens, but random .* at most 128; .* by 1"):
        generate(random_gpt2, [464] * 129)


def test_in_half_precision_greedy_ids_are_those_of_generate(random_folder):
    gpt2 = load_model(str(random_folder), device="cpu", dtype="bfloat16")
    model = GPT2LMHeadModel.from_pretrained(
        random_folder, dtype=torch.bfloat16, attn_implementation="eager"
    ).eval()
    ids = encode(gpt2, "Today we can go to")
    for settings in ({"strategy": "greedy"}, {"top_p": 0.9, "num_return_sequences": 2}):
        assert_same_ids(gpt2, model, ids, Decoding(**settings, max_new_tokens=6))


def assert_same_ids(gpt2, model, ids, decoding):
    expected = reference(model, gpt2.tokenizer, ids, decoding).sequences.tolist()
    sequences = steps_by_sequence(generate(gpt2, ids, decoding))
    assert [ids + [step.id for step in steps] for steps in sequences] == expected


# --- alternatives --------------------------------------------------------------------------------


def test_alternatives_are_likely_before_or_possible_after_the_stages(gpt2):
    for step in generate(gpt2, "Today we can go to", Decoding(top_k=2, max_new_tokens=4)):
        likely = set(step.trace.logits().topk(ALTERNATIVES).indices.tolist())
        listed = {one.id for one in step.alternatives}
        possible = {alternative.id for alternative in step.alternatives if alternative.probability}
        assert likely <= listed
        assert listed <= likely | possible
        assert step.id in possible
        assert len(possible) == 2


# --- one step at a time --------------------------------------------------------------------------


def count_calls(monkeypatch, gpt2) -> list[int]:
    """A list that grows by the number of new positions with every pass through the model."""
    calls: list[int] = []
    forward = gpt2.model.transformer.forward

    def counted(input_ids=None, *arguments, **options):
        calls.append(input_ids.shape[1])
        return forward(input_ids, *arguments, **options)

    monkeypatch.setattr(gpt2.model.transformer, "forward", counted)
    return calls


def test_a_generator_computes_only_what_is_asked_for(gpt2, monkeypatch):
    calls = count_calls(monkeypatch, gpt2)
    steps = generate(gpt2, "Today we can go to", Decoding(max_new_tokens=30))
    assert calls == []
    next(steps)
    assert calls == [5]
    next(steps)
    assert calls == [5, 1]
    steps.close()
    assert list(steps) == []
    assert calls == [5, 1]


def test_looking_inside_a_step_costs_no_second_pass(gpt2, monkeypatch):
    calls = count_calls(monkeypatch, gpt2)
    *_, last = generate(gpt2, "Today we can go to", Decoding(max_new_tokens=4))
    last.trace.logits(2)
    last.trace.attention(0)
    last.trace.lens(1)
    assert calls == [5, 1, 1, 1]


def test_the_trace_of_a_step_is_that_of_its_text(gpt2):
    for step in generate(gpt2, "Today we can go to", Decoding(max_new_tokens=5)):
        again = trace_ids(gpt2, step.trace.ids.tolist())
        torch.testing.assert_close(step.trace.hidden, again.hidden, rtol=1e-5, atol=LOGITS)


def test_traces_are_not_written_over_by_later_steps(gpt2):
    early = []
    for step in generate(gpt2, "Today", Decoding(max_new_tokens=6, num_return_sequences=2)):
        early.append((step.trace, step.trace.hidden.clone(), step.trace.ids.clone()))
    for trace, hidden, ids in early:
        assert torch.equal(trace.hidden, hidden)
        assert torch.equal(trace.ids, ids)


@pytest.mark.parametrize("strategy", ["sample", "beam"])
def test_the_consumer_keeps_its_grad_mode(random_gpt2, strategy):
    decoding = Decoding(strategy=strategy, num_beams=2, max_new_tokens=3)
    assert torch.is_grad_enabled()
    for step in generate(random_gpt2, "Today", decoding):
        assert torch.is_grad_enabled()
        assert not step.trace.hidden.requires_grad
    assert torch.is_grad_enabled()


# --- randomness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_global_randomness_is_neither_used_nor_touched(random_gpt2, strategy):
    decoding = Decoding(strategy=strategy, num_beams=2, max_new_tokens=4)
    torch.manual_seed(1)
    random.seed(1)
    first = [step.id for step in generate(random_gpt2, "Today", decoding)]
    torch.manual_seed(2)
    states = torch.get_rng_state(), random.getstate()
    second = [step.id for step in generate(random_gpt2, "Today", decoding)]
    assert first == second
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_seeds_differ(gpt2):
    texts = {
        tuple(step.id for step in generate(gpt2, "Today", Decoding(seed=seed, max_new_tokens=8)))
        for seed in range(5)
    }
    assert len(texts) == 5


def test_seeds_reproduce_while_four_others_generate(gpt2):
    decoding = Decoding(top_p=0.95, num_return_sequences=2, max_new_tokens=12)

    def run() -> list[tuple[int, int, float]]:
        steps = generate(gpt2, "Today we can go to", decoding)
        return [(step.sequence, step.id, round(step.logprob, 3)) for step in steps]

    alone = run()
    done = threading.Event()
    written, failures = [0] * 4, []

    def disturb(number: int) -> None:
        try:
            while not done.is_set():
                strategy = ("sample", "greedy")[number % 2]
                other = Decoding(strategy=strategy, seed=number, max_new_tokens=8)
                for _ in generate(gpt2, "Another text by somebody else", other):
                    written[number] += 1
                    torch.rand(1)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=disturb, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        while not all(written) and not failures:
            time.sleep(0.01)
        together = [run() for _ in range(3)]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert together == [alone] * 3
