"""The app around the small random model, and its address on loopback."""

from collections.abc import Iterator

import gradio as gr
import pytest
from served import served

from gpt2lab.models import Gpt2
from gpt2lab.ui.page import build_page


@pytest.fixture(scope="session")
def app(random_gpt2: Gpt2) -> gr.Blocks:
    return build_page(random_gpt2)


@pytest.fixture(scope="session")
def url(app: gr.Blocks) -> Iterator[str]:
    """Address of the running app."""
    with served(app) as address:
        yield address
