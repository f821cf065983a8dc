"""Tell the reader who waits for a picture how far its computation has come."""

import time

import gradio as gr

from gpt2lab.progress import Listener

SELDOM = 0.5
"""Seconds between two messages, since each of them costs the browser some work."""


def shown_while_waiting() -> Listener:
    """A listener for the event that runs: its picture says "3/16 points" until it is drawn."""
    progress = gr.Progress()
    last = time.monotonic()

    def listener(done: int, total: int, unit: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SELDOM:
            last = now
            progress((done, total), unit=unit)

    return listener
