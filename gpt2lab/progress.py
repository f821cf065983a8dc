"""How far a long computation has come, told to whoever waits for it.

A computation that takes seconds goes through blocks, windows or points, one after the other. It
counts them here while it goes through them; it need not know who listens, or whether anybody does.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Listener = Callable[[int, int, str], None]
"""Takes how many are done, of how many, and what they are."""
Item = TypeVar("Item")

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def counted(items: Sequence[Item], unit: str) -> Iterator[Item]:
    """The items, one by one; before each the listener hears how many are done."""
    listener = _LISTENER.get()
    for done, item in enumerate(items):
        if listener:
            listener(done, len(items), unit)
        yield item


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """What is counted in this context, and in no other thread, is told to `listener`."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
