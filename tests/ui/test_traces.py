"""The store of traces computes only what it does not have."""

import pytest
import torch

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
