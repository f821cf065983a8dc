"""Messages about a computation: what they say, to which event, and that they come seldom."""

from types import SimpleNamespace
from typing import Any

import pytest
from gradio.context import LocalContext

from gpt2lab.ui import waiting


def test_a_message_at_most_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int, str]] = []
    now = 10.0

    def set_progress(event: str, items: list[Any]) -> None:
        told.extend((event, one.index, one.length, one.unit) for one in items)

    blocks = SimpleNamespace(_queue=SimpleNamespace(set_progress=set_progress))
    places = LocalContext.blocks.set(blocks), LocalContext.event_id.set("this event")  # type: ignore[arg-type]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now)
    listener = waiting.shown_while_waiting()
    for done in range(12):
        now = 10 + 0.2 * done
        listener(done, 12, "blocks")
    LocalContext.blocks.reset(places[0])
    LocalContext.event_id.reset(places[1])
    assert told == [("this event", done, 12, "blocks") for done in (3, 6, 9)]
