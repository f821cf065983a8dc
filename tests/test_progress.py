"""Whoever listens hears of each item before it is worked on; whoever does not changes nothing."""

import threading

import pytest

from gpt2lab.backward import slope
from gpt2lab.progress import counted, heard_by
from gpt2lab.scoring import Window, numbers
from gpt2lab.trace import trace_ids


def test_each_item_is_counted_before_it_is_worked_on():
    told: list[object] = []
    with heard_by(lambda *said: told.append(said)):
        for item in counted("ab", "letters"):
            told.append(item)
    assert told == [(0, 2, "letters"), "a", (1, 2, "letters"), "b"]


def test_nobody_listens_outside_or_in_another_thread():
    told: list[object] = []
    with heard_by(lambda *said: told.append(said)):
        other = threading.Thread(target=lambda: list(counted("ab", "letters")))
        other.start()
        other.join()
    assert list(counted("ab", "letters")) == ["a", "b"]
    assert told == []


def test_the_listener_goes_even_if_the_computation_fails():
    def fails() -> None:
        for item in counted([0], "numbers"):
            1 / item

    told: list[object] = []
    with pytest.raises(ZeroDivisionError), heard_by(lambda *said: told.append(said)):
        fails()
    list(counted([1], "numbers"))
    assert told == [(0, 1, "numbers")]


def test_what_takes_long_says_what_it_goes_through(random_gpt2):
    told: list[tuple[int, int, str]] = []
    ids = list(range(300, 360))
    with heard_by(lambda *said: told.append(said)):
        numbers(random_gpt2, ids, Window(32, 16))
        slope(trace_ids(random_gpt2, ids), 5, log=False)
    # The whole windows are read together, the last one, which is shorter, alone; and the last of
    # the three blocks is not among those that are gone through.
    assert [one for one in told if one[2] == "windows"] == [(0, 2, "windows"), (1, 2, "windows")]
    assert [one for one in told if one[2] == "blocks"] == [(0, 2, "blocks"), (1, 2, "blocks")]
