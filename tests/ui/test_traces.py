"""The store of traces computes only what it does not have."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch

from gpt2lab import trace as trace_module
from gpt2lab.models import Gpt2
from gpt2lab.trace import Trace, trace_ids
from gpt2lab.ui import traces as module
from gpt2lab.ui.traces import Traces

IDS = [8888, 356, 460, 467, 284]
STATES_WITHIN = 1e-4


def test_a_text_is_traced_once_and_its_beginnings_are_views(
    random_gpt2: Gpt2, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []

    def counted(gpt2: Gpt2, ids: list[int]) -> Trace:
        passes.append(len(ids))
        return trace_ids(gpt2, ids)

    monkeypatch.setattr(module, "trace_ids", counted)
    traces = Traces()
    whole = traces.trace(random_gpt2, IDS)
    again = traces.trace(random_gpt2, IDS)
    beginning = traces.trace(random_gpt2, IDS[:3])
    assert passes == [5]
    assert again.hidden.data_ptr() == beginning.hidden.data_ptr() == whole.hidden.data_ptr()
    assert beginning.ids.tolist() == IDS[:3]


def test_who_asks_for_a_text_that_is_being_traced_waits_for_it(
    random_gpt2: Gpt2, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[Sequence[int]] = []
    begun, go_on = Event(), Event()

    def slow(gpt2: Gpt2, ids: Sequence[int]) -> Trace:
        passes.append(ids)
        begun.set()
        assert go_on.wait(10)
        return trace_ids(gpt2, ids)

    monkeypatch.setattr(module, "trace_ids", slow)
    traces = Traces()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(traces.trace, random_gpt2, IDS)
        assert begun.wait(10)
        second = pool.submit(traces.trace, random_gpt2, IDS)
        other = pool.submit(traces.trace, random_gpt2, IDS[1:])
        with pytest.raises(TimeoutError):
            second.result(0.3)
        go_on.set()
        assert second.result().hidden.data_ptr() == first.result().hidden.data_ptr()
        assert other.result().ids.tolist() == IDS[1:]
    # Another text waits for nobody.
    assert sorted(map(len, passes)) == [4, 5]


def test_a_longer_text_continues_the_longest_known_beginning(
    random_gpt2: Gpt2, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = Traces()
    traces.trace(random_gpt2, IDS[:2])
    traces.trace(random_gpt2, IDS[:4])
    monkeypatch.setattr(module, "trace_ids", None)
    continued = traces.trace(random_gpt2, IDS)
    assert (continued.hidden - trace_ids(random_gpt2, IDS).hidden).abs().max() < STATES_WITHIN
    assert torch.equal(continued.hidden[:, :4], traces.trace(random_gpt2, IDS[:4]).hidden)


def test_models_do_not_share_traces(random_gpt2: Gpt2, pocket: Gpt2) -> None:
    traces = Traces()
    traces.trace(random_gpt2, IDS)
    assert traces.trace(pocket, IDS).gpt2 is pocket


def test_the_oldest_traces_go_when_the_store_is_full(random_gpt2: Gpt2) -> None:
    one = trace_ids(random_gpt2, IDS)
    traces = Traces(capacity=3 * one.bytes)
    for first in range(6):
        traces.trace(random_gpt2, [first, *IDS[1:]])
    assert traces.bytes == 3 * one.bytes


def test_a_view_of_a_large_buffer_is_kept_without_the_buffer(random_gpt2: Gpt2) -> None:
    buffer = torch.zeros(4, 128, 32)
    traces = Traces()
    traces.add(Trace(random_gpt2, torch.tensor(IDS), buffer[:, :5]))
    kept = traces.trace(random_gpt2, IDS)
    assert kept.hidden.untyped_storage().nbytes() == kept.bytes


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many positions each pass through the model computes."""
    counts: list[int] = []
    states = trace_module._states

    def counted(gpt2: Gpt2, ids: Sequence[int], cache: object) -> torch.Tensor:
        counts.append(len(ids))
        return states(gpt2, ids, cache)

    monkeypatch.setattr(trace_module, "_states", counted)
    return counts


def test_a_text_is_computed_from_where_it_parts_from_a_known_one(
    random_gpt2: Gpt2, computed: list[int]
) -> None:
    whole = {"other": [8888, 356, 460, 99, 284, 262], "none": [464, 356, 460]}
    expected = {name: trace_ids(random_gpt2, ids) for name, ids in whole.items()}
    traces = Traces()
    traces.trace(random_gpt2, IDS)
    computed.clear()
    found = traces.trace(random_gpt2, whole["other"])
    assert computed == [3]
    assert found.ids.tolist() == whole["other"]
    assert (found.hidden - expected["other"].hidden).abs().max() < STATES_WITHIN
    # Not one token in common: all of it.
    found = traces.trace(random_gpt2, whole["none"])
    assert computed == [3, 3]
    assert (found.hidden - expected["none"].hidden).abs().max() < STATES_WITHIN
    # The nearest of the known ones counts, wherever it stands.
    traces.trace(random_gpt2, [*IDS[:4], 1])
    traces.trace(random_gpt2, [8888, 356, 460, 99, 284, 1])
    assert computed == [3, 3, 1, 1]


def test_only_the_last_token_changes_many_times(random_gpt2: Gpt2, computed: list[int]) -> None:
    traces = Traces()
    for last in range(1000, 1020):
        found = traces.trace(random_gpt2, [*IDS, last])
        assert found.ids.tolist() == [*IDS, last]
    assert computed == [6] + [1] * 19
    whole = trace_ids(random_gpt2, [*IDS, 1019])
    assert (found.hidden - whole.hidden).abs().max() < STATES_WITHIN


def test_the_number_of_traces_is_bounded_and_the_last_used_ones_stay(
    random_gpt2: Gpt2, computed: list[int]
) -> None:
    traces = Traces(entries=3)
    for first in range(3):
        traces.trace(random_gpt2, [first, *IDS])
    traces.trace(random_gpt2, [0, *IDS])
    traces.trace(random_gpt2, [3, *IDS])
    computed.clear()
    traces.trace(random_gpt2, [0, *IDS])
    traces.trace(random_gpt2, [2, *IDS])
    assert computed == []
    traces.trace(random_gpt2, [1, *IDS])
    assert computed == [6]
