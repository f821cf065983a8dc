"""Traces that were computed, kept for whoever looks at the same text again.

The store is bounded in bytes and shared by all sessions: it is keyed by the model and the token
ids, so nobody can get at a text that they do not have. A text that begins as a stored one is
computed from where the two part; one that a stored text continues is a view of it. When several
ask for the same text at once, as a tab and the look ahead do when typing pauses, one of them
computes it and the others wait.
"""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from weakref import WeakValueDictionary

from gpt2lab.models import Gpt2
from gpt2lab.trace import Trace, trace_ids


class Traces:
    """Least recently used traces: at most `capacity` bytes and `entries` of them."""

    def __init__(self, capacity: int = 512 * 2**20, entries: int = 256) -> None:
        self._capacity = capacity
        self._entries = entries
        self._traces: OrderedDict[tuple[Gpt2, tuple[int, ...]], Trace] = OrderedDict()
        self._lock = Lock()
        self._turns: WeakValueDictionary[tuple[Gpt2, tuple[int, ...]], Lock] = WeakValueDictionary()

    def add(self, trace: Trace) -> None:
        """Keep a trace and drop the oldest ones beyond the capacity."""
        key = (trace.gpt2, tuple(trace.ids.tolist()))
        if trace.hidden.untyped_storage().nbytes() > trace.bytes:
            # A generation's trace is a view of a buffer with room for all that was asked for.
            trace = Trace(trace.gpt2, trace.ids, trace.hidden.clone())
        with self._lock:
            self._traces[key] = trace
            self._traces.move_to_end(key)
            while len(self._traces) > 1 and self._full():
                self._traces.popitem(last=False)

    def _full(self) -> bool:
        return self.bytes > self._capacity or len(self._traces) > self._entries

    @property
    def bytes(self) -> int:
        """Memory that the kept traces take."""
        return sum(trace.bytes for trace in self._traces.values())

    def kept(self, model: str, ids: Sequence[int]) -> Trace | None:
        """Trace of `ids` by the model of that name, if nothing has to be computed for it."""
        wanted = tuple(ids)
        with self._lock:
            for (owner, kept), trace in self._traces.items():
                if wanted and owner.name == model and kept[: len(wanted)] == wanted:
                    return trace.prefix(len(wanted))
        return None

    def trace(self, gpt2: Gpt2, ids: Sequence[int]) -> Trace:
        """Trace of `ids`, with as little computation as what is kept allows."""
        wanted = tuple(ids)
        with self._lock:
            turn = self._turns.setdefault((gpt2, wanted), Lock())
        with turn:
            return self._trace(gpt2, wanted)

    def _trace(self, gpt2: Gpt2, wanted: tuple[int, ...]) -> Trace:
        longest = 0
        nearest: Trace | None = None
        with self._lock:
            for (owner, kept), trace in self._traces.items():
                if owner is not gpt2:
                    continue
                # Typing changes the last token; what stands before it need not be computed again.
                common = _common(kept, wanted)
                if common == len(wanted):
                    self._traces.move_to_end((owner, kept))
                    return trace.prefix(common)
                if common > longest:
                    longest, nearest = common, trace
        if nearest is None:
            found = trace_ids(gpt2, wanted)
        else:
            found = nearest.prefix(longest).extended(wanted[longest:])
        self.add(found)
        return found


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))
