"""How the app is served: one set of launch arguments for the local page, Spaces and share links."""

import logging
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt2lab.ui.limits import MAX_BODY_BYTES
from gpt2lab.ui.theme import STYLES, THEME

DRAINED_BYTES = 8 * MAX_BODY_BYTES


class BodyLimit:
    """Refuses request bodies over `MAX_BODY_BYTES`, whatever length they announce."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, at most so many bytes of it, and only then pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received: list[Message] = []
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            # What is too much is read on and dropped: a sender hears no answer while it sends.
            if size <= MAX_BODY_BYTES:
                received.append(message)
            elif size > DRAINED_BYTES:
                break
        if size > MAX_BODY_BYTES:
            await _too_large(scope, receive, send)
            return

        async def replay() -> Message:
            return received.pop(0) if received else await receive()

        await self.app(scope, replay, send)


_too_large = PlainTextResponse(
    f"The request is larger than {MAX_BODY_BYTES // 2**20} MB; please send less text.\n", 413
)


def _is_news(record: logging.LogRecord) -> bool:
    """Right padding is wrong on purpose here, and the tab says what comes of it."""
    return "right-padding was detected" not in record.getMessage()


def launch_arguments() -> dict[str, Any]:
    """Arguments of `Blocks.launch` that hold wherever the app runs."""
    logging.getLogger("transformers.generation.utils").addFilter(_is_news)
    return {
        "theme": THEME,
        "css_paths": STYLES,
        "footer_links": ["api", "settings"],
        # Gradio would store every prompt and output in the browser, and delay each event by it.
        "run_history": False,
        # Without Node, server-side rendering stalls the start for half a minute.
        "ssr_mode": False,
        # Each kept session holds its last outputs.
        "state_session_capacity": 50,
        "app_kwargs": {
            "middleware": [Middleware(BodyLimit)],
            "openapi_url": None,
            "docs_url": None,
        },
    }
