"""The endpoints, through the real client and as raw requests."""

import inspect
import itertools
import json
import threading
import urllib.error
import urllib.request
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from gradio.components.api_component import Api
from gradio_client import Client
from gradio_client.exceptions import AppError

from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import NAMES, Gpt2
from gpt2lab.tokens import MAX_CHARACTERS, encode
from gpt2lab.trace import trace_text

TEXT = "Today we can go 😀 to"
WEIGHTS_WITHIN = 1e-5
CONTROLS: dict[str, dict[str, Any]] = {
    "tokens": {},
    "merges": {"position": 1},
    "parameters": {},
    "next_token": {"position": 2, "show": 3, "token": "Ġthe", "temperature": 0.7, "top_k": 5},
    "temperature": {"position": 2, "temperature": 0.7, "top_k": 5, "top_p": 0.9},
    "choices": {"endings": [" the end", "<b>"]},
    "batch": {"padding_side": "right", "use_mask": False, "max_new_tokens": 3},
    "score": {"window": 4, "stride": 2},
    "logits_or_scores": {"steps": 2, "temperature": 0.7, "top_k": 5},
    "pipeline": {"steps": 2, "temperature": 0.7, "top_k": 5},
    "kv_cache": {"fill": "alone"},
    "attention": {"layer": 2, "head": 3},
    "heads": {"sort": "distance", "hide_first": True},
    "query_key": {"layer": 1, "head": 3, "position": 4, "key": 2},
    "hidden_states": {},
    "path": {"position": 2, "show": 4, "unit_length": False},
    "logit_lens": {"position": 2, "show": 3},
    "lens_grid": {"position": 2, "token": "Ġthe", "colour": "rank"},
    "attribution": {"position": 2, "token": 464, "difference": "against the best other token"},
    "ablate": {"heads": "1.2, 0.mlp", "position": 2, "steps": 2, "temperature": 0.7},
    "gradients": {"position": 2, "output": "log-probability"},
    "weight_tying": {"noise": 0.1},
}


@pytest.fixture(scope="session")
def client(url: str) -> Client:
    return Client(url, verbose=False)


def raw(url: str, endpoint: str, parameters: dict[str, Any]) -> str:
    """What curl sees: the last event of a call with named parameters."""
    request = urllib.request.Request(
        f"{url}/gradio_api/call/v2/{endpoint}",
        json.dumps(parameters).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        event = json.load(answer)["event_id"]
    address = f"{url}/gradio_api/call/v2/{endpoint}/{event}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read().decode()


def test_the_public_endpoints_are_those_of_the_design(client: Client) -> None:
    public = set(client.view_api(return_format="dict", print_info=False)["named_endpoints"])
    inspections = {f"/{one.name}" for one in INSPECTIONS}
    assert public == {"/models", "/generate"} | inspections
    assert {"/tokens", "/next_token", "/attention", "/parameters", "/weight_tying"} <= inspections


def test_models_lists_the_catalogue_and_the_default(client: Client, random_gpt2: Gpt2) -> None:
    answer = client.predict(api_name="/models")
    assert answer["default"] == random_gpt2.name
    models = {one["name"]: one for one in answer["models"]}
    assert set(NAMES) | {random_gpt2.name} <= set(models)
    assert models["gpt2"]["parameters"] == 124_439_808
    random = models[random_gpt2.name]
    assert random["ready"]
    assert (random["n_layer"], random["n_head"], random["n_embd"]) == (3, 4, 32)
    assert random["parameters"] == random_gpt2.parameters


def test_tokens_are_those_of_the_tokenizer(client: Client, random_gpt2: Gpt2) -> None:
    answer = client.predict(TEXT, api_name="/tokens")
    assert answer["ids"] == random_gpt2.tokenizer(TEXT)["input_ids"]
    assert answer["tokens"] == random_gpt2.tokenizer.tokenize(TEXT)
    assert answer["count"] == len(answer["ids"]) == len(answer["shown"])
    assert answer["limit"] == 128
    assert answer["shown"][1] == "␣we"


@pytest.mark.parametrize("text", ["", "a b" * 200], ids=["empty", "longer than the context"])
def test_tokens_are_counted_even_where_none_can_be_read(
    client: Client, random_gpt2: Gpt2, text: str
) -> None:
    answer = client.predict(text, api_name="/tokens")
    assert answer["ids"] == random_gpt2.tokenizer.encode(text, verbose=False)
    assert answer["count"] == len(answer["ids"]) == len(answer["tokens"]) == len(answer["shown"])
    assert set(answer) == {"ids", "tokens", "shown", "count", "limit", "round_trip"}
    assert answer["round_trip"] is True


def test_parameters_are_about_the_model_alone(client: Client, random_gpt2: Gpt2) -> None:
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    names = [one["parameter_name"] for one in described["/parameters"]["parameters"]]
    assert names == ["model"]
    answer = client.predict(api_name="/parameters")
    assert answer["total"] == random_gpt2.parameters
    assert answer["tensors"][-1] == {
        "name": "lm_head.weight",
        "shape": [50257, 32],
        "count": 50257 * 32,
        "dtype": "float32",
        "shares_storage_with": "transformer.wte.weight",
    }


def test_generate_streams_and_ends_with_what_the_library_gives(
    client: Client, random_gpt2: Gpt2
) -> None:
    job = client.submit(
        TEXT, max_new_tokens=7, num_return_sequences=2, temperature=1.3, api_name="/generate"
    )
    final = job.result()
    decoding = Decoding(max_new_tokens=7, num_return_sequences=2, temperature=1.3)
    expected = continue_text(random_gpt2, TEXT, decoding)
    assert final["prompt_ids"] == encode(random_gpt2, TEXT)
    assert final["seed"] == 42
    assert [tuple(one["ids"]) for one in final["sequences"]] == [one.ids for one in expected]
    assert [one["text"] for one in final["sequences"]] == [one.text for one in expected]
    assert [one["finish_reason"] for one in final["sequences"]] == ["length", "length"]
    for got, wanted in zip(final["sequences"], expected, strict=True):
        assert got["logprobs"] == pytest.approx(wanted.logprobs, abs=1e-6)
    lengths = [sum(len(one["ids"]) for one in each["sequences"]) for each in job.outputs()]
    assert lengths == sorted(lengths)
    assert lengths[-1] == 14


@pytest.mark.parametrize("strategy", ["greedy", "beam"])
def test_generate_knows_the_other_strategies(
    client: Client, random_gpt2: Gpt2, strategy: str
) -> None:
    beams = 3 if strategy == "beam" else 1
    answer = client.predict(
        TEXT, strategy=strategy, num_beams=beams, max_new_tokens=5, api_name="/generate"
    )
    decoding = Decoding(strategy=strategy, num_beams=beams, max_new_tokens=5)
    assert tuple(answer["sequences"][0]["ids"]) == continue_text(random_gpt2, TEXT, decoding)[0].ids


def test_an_empty_text_starts_from_the_beginning_of_text_token(client: Client) -> None:
    answer = client.predict("", max_new_tokens=2, api_name="/generate")
    assert answer["prompt_ids"] == [50256]
    assert len(answer["sequences"][0]["ids"]) == 2


def test_batch_pads_and_says_how_far_each_row_is_from_its_text_alone(
    client: Client, random_gpt2: Gpt2
) -> None:
    texts = ["Hello dear!", "Today we can go to"]
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    names = [one["parameter_name"] for one in described["/batch"]["parameters"]]
    assert names[:4] == ["texts", "padding_side", "use_mask", "pad_token"]
    assert not {"text", "others", "window"} & set(names)
    answer = client.predict(texts, strategy="greedy", max_new_tokens=4, api_name="/batch")
    first, second = (encode(random_gpt2, text) for text in texts)
    assert answer["input_ids"] == [[50256, 50256, *first], second]
    assert answer["attention_mask"] == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert answer["position_ids"] == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]
    decoding = Decoding("greedy", max_new_tokens=4)
    alone = [continue_text(random_gpt2, text, decoding)[0].text for text in texts]
    assert answer["outputs"] == alone
    assert max(answer["max_logit_error"]) < 1e-4
    broken = client.predict(texts, "right", max_new_tokens=1, api_name="/batch")
    assert broken["max_logit_error"][0] > 1e-2
    assert broken["max_logit_error"][1] < 1e-4


def test_choices_are_those_between_the_endings_of_a_context(
    client: Client, random_gpt2: Gpt2
) -> None:
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    names = [one["parameter_name"] for one in described["/choices"]["parameters"]]
    assert names == ["context", "endings", "model"]
    answer = client.predict(context=TEXT, endings=[" Paris", " the zoo"], api_name="/choices")
    assert [one["text"] for one in answer["endings"]] == [" Paris", " the zoo"]
    log_p = trace_text(random_gpt2, TEXT).logits().double().log_softmax(-1)
    one, other = answer["endings"]
    assert one["logprob"] == one["mean_logprob"]
    assert one["logprob"] == pytest.approx(float(log_p[one["ids"][0]]), abs=1e-5)
    assert other["logprob"] == pytest.approx(2 * other["mean_logprob"])
    odds = np.exp([one["logprob"], other["logprob"]])
    expected = (odds / odds.sum()).tolist()
    assert [one["probability"], other["probability"]] == pytest.approx(expected, abs=1e-9)


def test_next_token_lists_every_stage(client: Client, random_gpt2: Gpt2) -> None:
    answer = client.predict(TEXT, **CONTROLS["next_token"], api_name="/next_token")
    assert answer["position"] == 2
    assert [stage["name"] for stage in answer["stages"]] == ["logits", "temperature", "top_k"]
    assert [stage["kept"] for stage in answer["stages"]] == [50257, 50257, 5]
    logits = trace_text(random_gpt2, TEXT).logits(2)
    top = answer["stages"][0]["top"]
    assert [one["id"] for one in top] == logits.topk(3).indices.tolist()
    assert [one["rank"] for one in top] == [1, 2, 3]
    for one in top:
        assert one["logit"] == pytest.approx(float(logits[one["id"]]), abs=1e-5)
        assert one["probability"] == pytest.approx(float(logits.softmax(-1)[one["id"]]), abs=1e-7)


def test_attention_gives_the_whole_map(client: Client, random_gpt2: Gpt2) -> None:
    answer = client.predict(TEXT, **CONTROLS["attention"], api_name="/attention")
    weights = np.array(answer["weights"])
    expected = trace_text(random_gpt2, TEXT).attention(2)[3].numpy()
    assert np.abs(weights - expected).max() < WEIGHTS_WITHIN
    assert answer["tokens"] == random_gpt2.tokenizer.tokenize(TEXT)


def test_heads_are_named_in_words_or_as_pairs(client: Client) -> None:
    named = client.predict(TEXT, heads="1.2, 0.mlp", steps=1, api_name="/ablate")
    paired = client.predict(TEXT, heads=[[1, 2], [0, "mlp"]], steps=1, api_name="/ablate")
    assert named == paired
    assert named["kl_bits"] > 0
    assert named["before"] != named["after"]


def test_weight_tying_with_and_without_noise(client: Client, random_gpt2: Gpt2) -> None:
    embedding = random_gpt2.model.transformer.wte.weight.clone()
    plain = client.predict(TEXT, api_name="/weight_tying")
    assert plain["equal"]
    assert plain["same_storage"]
    assert plain["config_says_tied"]
    assert plain["parameters_untied"] - plain["parameters_tied"] == 50257 * 32
    assert "largest_change_tied" not in plain
    noisy = client.predict(TEXT, noise=0.1, api_name="/weight_tying")
    assert noisy["largest_change_tied"] > 0
    assert noisy["largest_change_untied"] > 0
    assert torch.equal(embedding, random_gpt2.model.transformer.wte.weight)


@pytest.mark.parametrize("inspection", INSPECTIONS, ids=lambda one: one.name)
def test_every_inspection_answers_as_its_function_does(
    client: Client, random_gpt2: Gpt2, inspection: Any
) -> None:
    values = CONTROLS[inspection.name]
    text: Any = [TEXT, "hi"] if inspection.of_texts else TEXT
    given = () if inspection.of_model else (text,)
    answer = client.predict(*given, **values, api_name=f"/{inspection.name}")
    names = {control.name for control in inspection.controls}
    arguments = {name: value for name, value in values.items() if name in names}
    if inspection.uses_decoding:
        settings = {name: value for name, value in values.items() if name not in names}
        arguments["decoding"] = Decoding(**settings)
    if inspection.of_texts:
        result = inspection.of_texts(random_gpt2, text, **arguments)
    else:
        result = inspection.compute(trace_text(random_gpt2, TEXT), **arguments)
    assert _close(answer, json.loads(json.dumps(inspection.answer(result))))


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_close, one, other))
    return one == (pytest.approx(other, abs=1e-5) if isinstance(other, float) else other)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("tokens", {"text": "a\0b"}, "null character at position 1"),
    ("tokens", {"text": "a \ud83d b"}, "lone surrogate U+D83D"),
    ("tokens", {"text": "x" * 2**20}, f"1,048,576 characters; at most {MAX_CHARACTERS:,}"),
    ("tokens", {"text": 5}, "must be a string"),
    ("tokens", {"text": "hi", "model": "gpt5"}, "gpt5"),
    ("tokens", {"text": "hi", "model": "../../etc"}, "../../etc"),
    ("generate", {"text": "hi " * 500}, "501 tokens, but random reads at most 128"),
    ("generate", {"text": "hi", "max_new_tokens": 128}, "max_new_tokens to 127 or less"),
    ("generate", {"text": "hi", "temperature": 0}, "temperature is 0"),
    ("generate", {"text": "hi", "temperature": float("nan")}, "temperature is nan"),
    ("generate", {"text": "hi", "top_p": float("inf")}, "top_p is inf"),
    ("generate", {"text": "hi", "top_k": "many"}, "top_k is 'many'"),
    ("generate", {"text": "hi", "seed": -1}, "seed is -1"),
    ("generate", {"text": "hi", "num_return_sequences": 9}, "at most 8"),
    ("generate", {"text": "hi", "strategy": "beam", "num_beams": 16}, "at most 8"),
    ("generate", {"text": "hi", "strategy": "beam"}, "num_beams must be 2 or more"),
    ("generate", {"text": "hi", "strategy": "<b>"}, "strategy is '<b>'"),
    ("generate", {"text": "hi", "stop": "end"}, "list of strings"),
    ("generate", {"text": "hi", "stop": [""]}, "stop string is empty"),
    ("generate", {"text": "hi", "stop": ["a"] * 9}, "stop has 9 strings"),
    ("generate", {"text": "hi", "stop": ["a" * 51] * 2}, "102 characters together"),
    (
        "generate",
        {"text": "hi", "strategy": "beam", "num_beams": 8, "max_new_tokens": 500},
        "ask for 200 or fewer",
    ),
    ("next_token", {"text": "hi", "position": 7}, "position is 7"),
    ("next_token", {"text": "hi", "show": None}, "show is None"),
    (
        "next_token",
        {"text": "hi", "token": "zebra"},
        "but must be one token, and this is 2: z · ebra",
    ),
    ("temperature", {"text": "hi", "position": 7}, "position is 7"),
    ("heads", {"text": "hi", "sort": "size"}, "sort is 'size', but must be one of layer"),
    ("query_key", {"text": "hi", "key": 7}, "key is 7, but must be a whole number from -1 to 0"),
    ("score", {"text": "hi", "stride": 1024}, "stride is 1024"),
    ("score", {"text": "hi " * 9000, "stride": 9}, "please shorten the text"),
    ("batch", {"texts": []}, "texts has 0 texts"),
    ("batch", {"texts": ["hi"] * 9}, "texts has 9 texts, but must have 1 to 8"),
    ("batch", {"texts": "hi"}, "texts is 'hi', but must be a list of strings"),
    ("batch", {"texts": ["hi", ""]}, "Row 1: The text is empty"),
    ("batch", {"texts": ["hi", 5]}, "Row 1: The text must be a string"),
    ("batch", {"texts": ["hi " * 500]}, "Row 0: The text has 501 tokens"),
    ("batch", {"texts": ["hi"], "use_mask": "no"}, "use_mask is 'no', but must be true or false"),
    ("batch", {"texts": ["hi"], "padding_side": "up"}, "padding_side is 'up'"),
    ("choices", {"context": "hi", "endings": []}, "endings has 0 texts, but must have 1 to 8"),
    ("choices", {"context": "hi", "endings": [" a", 5]}, "must be a list of texts"),
    ("choices", {"context": "hi", "endings": [" a" * 129]}, "Ending 1 has 129 tokens"),
    ("choices", {"context": "hi " * 500, "endings": [" a"]}, "501 tokens, but random reads"),
    ("path", {"text": "hi", "show": 6}, "show is 6"),
    ("path", {"text": "hi", "position": 7}, "position is 7"),
    ("attention", {"text": "hi", "layer": 3}, "layer is 3"),
    ("attention", {"text": "hi", "head": 1.5}, "head is 1.5"),
    ("logit_lens", {"text": "hi", "position": 7}, "position is 7"),
    ("logit_lens", {"text": "hi", "show": 0}, "show is 0"),
    ("logit_lens", {"text": "hi", "token": "zebra"}, "token is 'zebra', but must be one token"),
    ("lens_grid", {"text": "hi", "colour": "red"}, "colour is 'red', but must be one of proba"),
    ("weight_tying", {"text": "hi", "noise": float("nan")}, "noise is nan"),
]


@pytest.mark.parametrize(("endpoint", "parameters", "sentence"), REFUSED)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    url: str, endpoint: str, parameters: dict[str, Any], sentence: str
) -> None:
    event, data = raw(url, endpoint, parameters).strip().split("\n")[-2:]
    assert event == "event: error"
    message = json.loads(data.removeprefix("data: "))["error"]
    assert sentence in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert message.endswith(".")


ODD = [[1], {"a": 1}, None, True, "\ud83d", 10**400, -1e308, [[]]]
BRIEF = {"text": "hi", "max_new_tokens": 1}


def assert_sentence(message: str, name: str) -> None:
    assert message, name
    assert message.endswith("."), name
    assert len(message) < 300, name


@pytest.mark.parametrize("endpoint", ["generate", *(one.name for one in INSPECTIONS)])
def test_no_value_of_any_parameter_leads_to_a_bare_error(app: gr.Blocks, endpoint: str) -> None:
    """The published functions themselves: what they raise beside gr.Error is a bare error."""
    (published,) = (one for one in app.fns.values() if one.api_name == endpoint)
    # These hand on what the JSON says, so that the function is asked what a request would ask it.
    assert all(isinstance(component, Api) for component in published.inputs)
    parameters = inspect.signature(published.fn).parameters
    given = {name: BRIEF.get(name, one.default) for name, one in parameters.items()}
    for name, odd in itertools.product(parameters, ODD):
        try:
            answer = published.fn(*(given | {name: odd}).values())
            json.dumps(list(answer) if inspect.isgenerator(answer) else answer)
        except gr.Error as error:
            assert_sentence(error.message, f"{name}={odd}")
        except Exception as error:
            pytest.fail(f"{name}={odd!r}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(("endpoint", "name"), [("tokens", "text"), ("attention", "head")])
def test_nor_does_a_request_with_such_a_value(url: str, endpoint: str, name: str, odd: Any) -> None:
    *_, event, data = raw(url, endpoint, {"text": "hi"} | {name: odd}).strip().split("\n")
    if event == "event: error":
        assert_sentence(json.loads(data.removeprefix("data: "))["error"], name)


def test_refusals_reach_the_client_as_an_app_error(client: Client) -> None:
    with pytest.raises(AppError, match="null character"):
        client.predict("a\0b", api_name="/generate")


def test_a_body_beyond_the_limit_is_answered_413(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        raw(url, "tokens", {"text": "x" * (9 * 2**20)})
    assert error.value.code == 413
    assert b"8 MB" in error.value.read()


def test_seeds_reproduce_while_others_generate(url: str, random_gpt2: Gpt2) -> None:
    parameters = {"text": TEXT, "max_new_tokens": 20, "seed": 7}
    expected = continue_text(random_gpt2, TEXT, Decoding(max_new_tokens=20, seed=7))[0]
    answers: dict[int, Any] = {}

    def ask(seed: int) -> None:
        last = raw(url, "generate", {**parameters, "seed": seed}).strip().split("\n")
        data = next(line for line in reversed(last) if line.startswith("data: ["))
        answers[seed] = json.loads(data.removeprefix("data: "))[0]["sequences"][0]["ids"]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in (7, 1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert tuple(answers[7]) == expected.ids
    assert len({tuple(ids) for ids in answers.values()}) == 5
