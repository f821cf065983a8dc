"""Fetching OpenAI's models from the Hugging Face Hub while everything else goes on.

A download may take minutes, break off, or never begin, so it is the business of a daemon thread.
`start_download` begins it and returns at once; the page then only asks for `Download.status`:
connecting, downloading with the bytes so far, ready, or one sentence on why not.

Where does the time go, and what if the line is cut? The thread asks the Hub once for the first
file's size and gives up after five seconds without an answer. Then it fetches the files one by
one, the weights last, through huggingface_hub: that client resumes a broken transfer where it
stopped, and when it gives up, the file is begun again a few times. Each finished file appears in
the cache (`gpt2lab.hub_cache`) at once and whole, so a half-finished download harms nobody.

Importing this module asks and starts nothing.
"""

import atexit
import errno
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
from huggingface_hub import errors

from gpt2lab.hub_cache import REPOSITORIES, cache_root, cached_folder
from gpt2lab.hub_contact import ask, endpoint, is_local, keep_quiet, why, within
from gpt2lab.refusal import Refusal

REQUIRED = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
OPTIONAL = ("generation_config.json", "tokenizer_config.json", "tokenizer.json")

REACH_SECONDS = 5.0  # how long the Hub may take for its first answer
STALL_SECONDS = 90.0  # how long `fetch` waits for the next bytes
ATTEMPTS = 4  # how often a file is begun; within one attempt huggingface_hub resumes by itself
PAUSE_SECONDS = 3.0  # between attempts

THREAD_NAME = "gpt2lab-download"

State = Literal["connecting", "downloading", "ready", "unavailable", "failed"]


@dataclass(frozen=True)
class DownloadStatus:
    """A download at one moment; ``message`` is the sentence for the page's header.

    ``received`` and ``total`` count bytes over all files; ``total`` is None until it is known.
    """

    name: str
    state: State
    received: int
    total: int | None
    message: str


class _Unavailable(Exception):
    """There is no way to the Hub at all; the cause says why."""


class Download:
    """One model on its way from the Hub into the local cache, in a thread of its own.

    The thread is a daemon and holds nothing that others wait for: the page opens and the process
    ends as if it were not there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.finished = threading.Event()
        self.last_sign = time.monotonic()  # when the Hub last sent something
        self.reason = ""  # why there is no model, as a clause: "the Hub cannot be reached"
        self.remedy = ""  # what would help: "connect to the internet"
        self._lock = threading.Lock()
        self._state: State = "connecting"
        self._total: int | None = None
        self._done = 0  # bytes of the files that are complete
        self._current = 0  # bytes of the file that is arriving
        self._received = 0  # what the status says; see _advance
        self._partial: str | None = None  # hash of the file that is arriving
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        atexit.register(self._discard_partial)
        self._thread.start()

    def status(self) -> DownloadStatus:
        """Where the download stands, with a sentence for the page's header."""
        with self._lock:
            state, received, total = self._state, self._received, self._total
            reason, remedy = self.reason, self.remedy
        amount = f"{received / 1e6:,.0f}" + (f" of {total / 1e6:,.0f} MB" if total else " MB")
        message = {
            "connecting": f"Looking for {self.name} on the Hugging Face Hub.",
            "downloading": f"{self.name} is downloading: {amount}.",
            "ready": f"{self.name} is ready: choose it to switch.",
            "unavailable": f"Only pocket is available, because {reason}; "
            f"to get {self.name}, {remedy} and start again.",
            "failed": f"{self.name} could not be downloaded, because {reason}; "
            f"{remedy} and start again.",
        }[state]
        return DownloadStatus(self.name, state, received, total, message)

    def _run(self) -> None:
        keep_quiet(THREAD_NAME)
        try:
            if cached_folder(self.name) is None:
                self._download()
            self._become("ready")
        except _Unavailable as error:
            self._become("unavailable", error.__cause__)
        except Exception as error:  # the last stop of the thread: whatever it is, the page says it
            self._become("failed", error)
        finally:
            self._partial = None
            self.finished.set()

    def _become(self, state: State, trouble: BaseException | None = None) -> None:
        with self._lock:
            self._state = state
            self.reason, self.remedy = why(trouble) if trouble else ("", "")

    def _download(self) -> None:
        try:
            first = within(REACH_SECONDS + 1, lambda: self._ask("config.json"))
        except Exception as error:
            raise _Unavailable from error
        files = {"config.json": first}
        for file in (*OPTIONAL, *REQUIRED[1:]):  # the weights last: they make the model complete
            try:
                files[file] = self._ask(file)
            except errors.EntryNotFoundError:
                if file in REQUIRED:
                    raise
        sizes = [size for _, size in files.values()]
        with self._lock:
            self._total = sum(size or 0 for size in sizes) if all(sizes) else None
        self._check_space()
        self._become("downloading")
        for file, (etag, size) in files.items():
            self._get(file, etag)
            with self._lock:
                self._done, self._current = self._done + (size or self._current), 0
            self._advance(0)
        if cached_folder(self.name) is None:
            raise errors.FileMetadataError("the files in the cache do not belong together")

    def _ask(self, file: str) -> tuple[str, int | None]:
        found = ask(self._repository, file, REACH_SECONDS)
        self.last_sign = time.monotonic()
        return found

    def _get(self, file: str, etag: str) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                huggingface_hub.hf_hub_download(
                    self._repository,
                    file,
                    cache_dir=cache_root(),
                    endpoint=endpoint(),
                    tqdm_class=self._progress_for(etag),
                )
                return
            except Exception as error:
                if attempt == ATTEMPTS or is_local(error):
                    raise
                time.sleep(PAUSE_SECONDS)
            finally:
                self._partial = None

    @property
    def _repository(self) -> str:
        return REPOSITORIES[self.name][0]

    def _progress_for(self, etag: str) -> Any:
        """A stand-in for tqdm through which huggingface_hub reports bytes, for HTTP and for Xet."""
        download = self

        class Progress:
            n = 0
            total: int | None = None

            def __init__(self, *_: Any, total: int | None = None, **__: Any) -> None:
                # Bars are made once the file is ours alone to write (huggingface_hub holds a lock).
                self.total = total
                download._partial = etag
                download._current = 0

            def update(self, count: float | None = 1) -> None:
                download._advance(int(count or 0))

            # Xet also counts bytes on the wire; with this method it does so in the same bar
            # instead of making a second one. What has reached the disk is what counts here.
            def update_transfer(self, count: float | None = 1) -> None:
                download.last_sign = time.monotonic()

            def __enter__(self) -> "Progress":
                return self

            def __exit__(self, *_: object) -> None: ...

            def __getattr__(self, _: str) -> Callable[..., None]:
                return lambda *_, **__: None  # set_postfix_str, refresh, close and their kin

        return Progress

    def _advance(self, count: int) -> None:
        """Count bytes. A file that must begin anew does not take back what was announced."""
        self.last_sign = time.monotonic()
        with self._lock:
            self._current += count
            self._received = max(self._received, self._done + self._current)

    def _check_space(self) -> None:
        cache = cache_root()
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
        if self._total and free < self._total:
            needed = f"{self._total / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free in {cache}"
            raise OSError(errno.ENOSPC, needed)

    def _discard_partial(self) -> None:
        """At exit: a file that was arriving could not be resumed, so it would only fill the disk.

        huggingface_hub deletes it when a download fails, but a daemon thread ends without that.
        """
        if etag := self._partial:
            folder = f"models--{self._repository.replace('/', '--')}"
            for file in (cache_root() / folder / "blobs").glob(f"{etag}.*.incomplete"):
                with suppress(OSError):
                    file.unlink()


_downloads: dict[str, Download] = {}
_downloads_lock = threading.Lock()


def start_download(name: str = "gpt2") -> Download:
    """Fetch the model ``name`` in the background; a process starts at most one download of each."""
    return _begin(name, again=False)


def fetch(name: str) -> Path:
    """Fetch the model ``name`` and wait for it; returns its folder in the cache.

    Refuses within seconds where the Hub cannot be reached, and later when no more bytes come. A
    call after a failure tries again.
    """
    download = _begin(name, again=True)
    while not download.finished.wait(0.5):
        if time.monotonic() - download.last_sign > STALL_SECONDS:
            raise Refusal(
                f"{name} stopped arriving from the Hugging Face Hub: wait a little and try again, "
                "or use pocket."
            )
    folder = cached_folder(name)
    if folder is None:
        raise Refusal(
            f"{name} is not in this computer's cache and could not be downloaded, because "
            f"{download.reason}: {download.remedy} and try again, or use pocket."
        )
    return folder


def _begin(name: str, again: bool) -> Download:
    if name not in REPOSITORIES:
        raise Refusal(f"{ascii(name)[:80]} is not on the Hub: choose {', '.join(REPOSITORIES)}.")
    with _downloads_lock:
        download = _downloads.get(name)
        if download is None or (again and download.finished.is_set()):
            download = _downloads[name] = Download(name)
            download.start()
        return download
