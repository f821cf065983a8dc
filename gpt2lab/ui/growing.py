"""The lines of a transcript whose last turns are being written: they only grow.

What was sent to the browser is never sent again; each update appends the lines of the new tokens,
and the last one the turns' ends.
"""

from gpt2lab.models import Gpt2
from gpt2lab.transcript import Transcript
from gpt2lab.ui.branches import tree_lines
from gpt2lab.ui.session import Session
from gpt2lab.ui.token_strip import (
    end_line,
    focus_line,
    passage_lines,
    token_line,
    transcript_lines,
    turn_line,
)


def drawn(gpt2: Gpt2, session: Session) -> tuple[str, str]:
    """The values of the transcript and of the branches."""
    lines = transcript_lines(gpt2, session.transcript)
    if session.focus:
        lines += focus_line(session.focus.passage, session.focus.offset)
    return lines, tree_lines(session.transcript, gpt2)


class Growing:
    """The lines of one generation, whose samples are the passages from `first` on.

    stop: what ends the samples and is no part of them; "" outside a chat.
    """

    def __init__(self, gpt2: Gpt2, transcript: Transcript, first: int, stop: str = "") -> None:
        self._gpt2 = gpt2
        self._first = first
        self._stop = stop
        self._lines = transcript_lines(gpt2, transcript)
        self._turn: int | None = None
        self._sent: list[int] = []
        """How many tokens of each sample are in the lines."""

    def grown(self, transcript: Transcript, samples: int, finished: bool) -> str:
        """The lines with what the transcript has more; `samples` passages are being written."""
        passages = transcript.passages[self._first :]
        if not passages:
            return self._lines
        if self._turn is None:
            # A branch cuts the passage that it leaves, so what stands before is drawn anew.
            before = transcript.path(self._first)[:-1]
            self._turn = len(before)
            self._lines = "".join(
                passage_lines(self._gpt2, turn, piece.number, piece.passage, length=piece.length)
                for turn, piece in enumerate(before)
            )
        row = self._turn if samples > 1 else None
        for sample, passage in enumerate(passages):
            turn, number = self._turn + sample, self._first + sample
            if sample == len(self._sent):
                active = number == transcript.active
                self._lines += turn_line(
                    turn, number, passage, row=row, active=active, stop=self._stop
                )
                self._sent.append(0)
            missing = len(passage.ids) - len(passage.choices)
            for offset in range(self._sent[sample], len(passage.ids)):
                choice = passage.choices[offset - missing] if offset >= missing else None
                self._lines += token_line(self._gpt2, turn, offset, passage.ids[offset], choice)
            self._sent[sample] = len(passage.ids)
            if finished:
                self._lines += end_line(self._gpt2, turn, passage)
        return self._lines
