"""The app on loopback, around the small random model."""

from collections.abc import Iterator

import pytest

from gpt2lab.models import Gpt2
from gpt2lab.ui.page import build_page
from gpt2lab.ui.serving import launch_arguments


@pytest.fixture(scope="session")
def url(random_gpt2: Gpt2) -> Iterator[str]:
    """Address of the running app."""
    page = build_page(random_gpt2)
    _, address, _ = page.launch(
        prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch_arguments()
    )
    yield address.rstrip("/")
    page.close(verbose=False)
