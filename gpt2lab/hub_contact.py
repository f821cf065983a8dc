"""Asking the Hugging Face Hub one question, and saying in words what went wrong.

A computer may be offline, behind a proxy that swallows everything, or in a hotel whose login page
answers in the Hub's place. `ask` and `within` put a bound on all of that; `why` turns whatever
came back into a clause that a person can read and a remedy that a person can try.
"""

import logging
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import TypeGuard, TypeVar

import huggingface_hub
from huggingface_hub import constants, errors

T = TypeVar("T")


def endpoint() -> str | None:
    """The address of the Hub if ``HF_ENDPOINT`` names another than the usual one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def ask(repository: str, file: str, seconds: float) -> tuple[str, int | None]:
    """The hash and the size of a file on the Hub: one request, tried once."""
    wishes = os.environ.get("HF_HUB_OFFLINE", ""), os.environ.get("TRANSFORMERS_OFFLINE", "")
    if any(wish.upper() in constants.ENV_VARS_TRUE_VALUES for wish in wishes):
        raise errors.OfflineModeIsEnabled
    found = huggingface_hub.get_hf_file_metadata(
        huggingface_hub.hf_hub_url(repository, file, endpoint=endpoint()),
        timeout=seconds,
        endpoint=endpoint(),
    )
    if found.commit_hash is None or found.etag is None:
        raise errors.FileMetadataError
    return found.etag, found.size


def within(seconds: float, question: Callable[[], T]) -> T:
    """What ``question`` returns, or TimeoutError after ``seconds``.

    Looking up a host name takes as long as the system likes, whatever timeout the request has.
    """
    answers: list[T] = []
    troubles: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(question())
        except BaseException as error:
            troubles.append(error)

    thread = threading.Thread(target=run, name=threading.current_thread().name, daemon=True)
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0]
    raise troubles[0] if troubles else TimeoutError


def is_local(error: BaseException) -> TypeGuard[OSError]:
    """Whether the trouble is this computer's disk, so that asking the Hub again will not help."""
    network = isinstance(error, ConnectionError | TimeoutError | errors.HfHubHTTPError)
    return isinstance(error, OSError) and bool(error.errno) and not network


def why(error: BaseException) -> tuple[str, str]:
    """The reason, as a clause after "because", and the remedy, as a clause before "and"."""
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids asking the Hugging Face Hub", "unset HF_HUB_OFFLINE"
    if is_local(error):
        return f"the disk refuses it ({error.strerror})", "make room, or set HF_HOME elsewhere,"
    if isinstance(error, errors.FileMetadataError):
        return "something else answers in place of the Hugging Face Hub", "check the connection"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        return f"the Hugging Face Hub answers with error {status}", "wait a little"
    if "Timeout" in type(error).__name__:
        return "the Hugging Face Hub does not answer", "connect to the internet"
    return "the Hugging Face Hub cannot be reached", "connect to the internet"


@cache
def keep_quiet(thread_name: str) -> None:
    """Keep huggingface_hub's messages about retries in the threads of this name off the terminal.

    The page's header says it all. A filter by thread leaves the logging of everybody else alone.
    """

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.threadName != thread_name

    for logger in ("huggingface_hub.file_download", "huggingface_hub.utils._http"):
        logging.getLogger(logger).addFilter(elsewhere)
    # The names of the tools around would be sent along, and a list to recognise them by would be
    # fetched first and stored outside the cache. Whoever wants that sets the variable to 0.
    if "HF_HUB_DISABLE_TELEMETRY" not in os.environ:
        constants.HF_HUB_DISABLE_TELEMETRY = True
