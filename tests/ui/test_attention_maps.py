"""The other heads of a layer, for the browser: equal to the tab's; hostile requests are refused."""

import base64
import json

import numpy as np
import pytest

import gpt2lab
from gpt2lab.inspections import attention
from gpt2lab.trace import Trace, trace_ids, trace_text
from gpt2lab.ui.attention_maps import LAYERS, NAMES, head_weights_of, permission
from gpt2lab.ui.interactive import drawing_value
from gpt2lab.ui.traces import Traces


@pytest.fixture
def trace(random_gpt2) -> Trace:
    return trace_text(random_gpt2, "to be or not to be or")


@pytest.fixture
def traces(trace) -> Traces:
    kept = Traces()
    kept.add(trace)
    return kept


def asked(trace: Trace, **other) -> dict:
    """A request by somebody who has been shown what is asked for."""
    ids = trace.ids.tolist()
    request = {"model": trace.gpt2.name, "ids": ids, "layer": 1, "head": 2, **other}
    return {"permission": permission(request["model"], request["ids"] or []), **request}


def test_a_browser_gets_the_same_heads(trace, traces):
    head_weights = head_weights_of(traces)
    for layer, head in [(1, 0), (1, 3), (2, 3)]:
        sent = head_weights(asked(trace, layer=layer, head=head))["weights"]
        assert sent == attention.interactive(gpt2lab.attention(trace, layer, head))["weights"]
    shorter = trace_ids(trace.gpt2, trace.ids[:3].tolist())
    sent = head_weights(asked(shorter))["weights"]
    weights = gpt2lab.attention(shorter, 1, 2).weights
    got = np.frombuffer(base64.b64decode(sent), "<f4")
    np.testing.assert_allclose(got, weights[np.tril_indices(3)], rtol=0, atol=1e-5)


def test_a_burst_of_heads_works_a_layer_out_once(trace, traces, monkeypatch):
    worked_out: list[int] = []
    heads = Trace.heads
    monkeypatch.setattr(
        Trace, "heads", lambda self, one: worked_out.append(one) or heads(self, one)
    )
    head_weights = head_weights_of(traces)
    for layer in (1, 2):
        for head in range(4):
            assert "weights" in head_weights(asked(trace, layer=layer, head=head))
    assert worked_out == [1, 2]
    for length in range(1, LAYERS + 1):  # others come, and what is kept is bounded
        head_weights(asked(trace, ids=trace.ids[:length].tolist()))
    head_weights(asked(trace, layer=1))
    assert len(worked_out) == 2 + LAYERS + 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"layer": 3}, "layer is 3, but must be a whole number from 0 to 2."),
        ({"layer": -1}, "layer is -1, but must be"),
        ({"head": 4}, "head is 4, but must be a whole number from 0 to 3."),
        ({"head": True}, "head is True, but must be a int."),
        ({"layer": "1"}, "layer is '1', but must be"),
        ({"layer": 10**30}, "layer is 1000"),
        ({"ids": [1, 2, 3]}, "This text is not kept any more; please draw it again."),
        ({"ids": []}, "This text is not kept"),
        ({"ids": [None] * 100_000}, "This text is not kept"),
        ({"ids": [[1]]}, "This text is not kept"),
        ({"ids": "464"}, "ids is '464', but must be a list."),
        ({"model": "gpt2-xl"}, "This text is not kept"),
        ({"model": None}, "model is None, but must be a str."),
        ({"more": 1}, "A head is asked for by model, ids, layer, head, permission, not by "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_browser_must_not_ask_is_refused(trace, traces, wrong, sentence):
    answer = head_weights_of(traces)(asked(trace, **wrong))
    assert list(answer) == ["refusal"]
    assert answer["refusal"].startswith(sentence)
    assert len(answer["refusal"]) < 200


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "unknown"])
def test_nobody_finds_out_what_others_have_written(trace, traces, kept):
    """A guess gets the same answer whether somebody looks at such a text or not."""
    ids = trace.ids.tolist()
    guess = asked(trace, ids=ids[:4] if kept else [1, 2, 3, 4])
    for forged in (
        "",
        "0" * 64,
        permission(trace.gpt2.name, ids),
        permission("pocket", guess["ids"]),
    ):
        answer = head_weights_of(traces)({**guess, "permission": forged})
        assert answer == {"refusal": "This text has not been drawn for you; please draw it."}


def test_the_drawing_brings_the_permission(trace, traces):
    value = drawing_value(attention.INSPECTION, gpt2lab.attention(trace, 1, 2))
    given = {name: json.loads(value)[name] for name in NAMES}
    assert "weights" in head_weights_of(traces)(given)


@pytest.mark.parametrize("wrong", [None, [], ["a", 1], "x", 3])
def test_what_is_no_question_is_refused(traces, wrong):
    assert head_weights_of(traces)(wrong)["refusal"].startswith("A head is asked for by model")


def test_no_pass_is_run_for_a_browser(random_gpt2, monkeypatch):
    monkeypatch.setattr(random_gpt2.model.transformer, "forward", lambda *_, **__: 1 / 0)
    request = {"model": "random", "ids": [464], "layer": 0, "head": 0}
    answer = head_weights_of(Traces())({**request, "permission": permission("random", [464])})
    assert answer == {"refusal": "This text is not kept any more; please draw it again."}
