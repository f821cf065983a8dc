"""A page of the app, served on loopback for as long as a test needs it."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from gpt2lab.ui.serving import launch_arguments


@contextmanager
def served(page: gr.Blocks) -> Iterator[str]:
    """Address of the running page, without a slash at its end."""
    _, address, _ = page.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_arguments()
    )
    yield address.rstrip("/")
    page.close(verbose=False)
