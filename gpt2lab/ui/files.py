"""Files that are too large to travel to the browser as text.

Gradio serves what lies in its folder to everybody who knows the path, and the path of what is
copied there follows from the content. So a file is written straight into that folder, below a name
that nobody can guess and that only the asking browser is told. It is gone after ten minutes, or
earlier when others need the room, and when the app ends; what an app that was killed has left
behind is removed by the next one.
"""

import atexit
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

KEPT_SECONDS = 600.0
MOST_BYTES = 2 * 2**30
"""Of all files together; but the newest stays, however large it is."""
MOST_FILES = 64
PREFIX = "download-"


class Files:
    """Files for download, each in a folder of its own."""

    def __init__(self, seconds: float = KEPT_SECONDS, most_bytes: int = MOST_BYTES) -> None:
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._sizes: dict[Path, int] = {}
        self._timers: dict[Path, threading.Timer] = {}
        self._lock = threading.Lock()
        atexit.register(self.clear)

    def write(self, root: str | Path, name: str, write: Callable[[Path], object]) -> str:
        """Let `write` fill a new file of that name below `root`; its path, the only way to it."""
        self._remove_left_behind(Path(root))
        folder = Path(root) / f"{PREFIX}{secrets.token_hex(32)}"
        folder.mkdir(mode=0o700, parents=True)
        try:
            write(folder / name)
            self._keep(folder, (folder / name).stat().st_size)
        except BaseException:
            self._remove(folder)
            raise
        return str(folder / name)

    def clear(self) -> None:
        """Remove all files."""
        for folder in list(self._sizes):
            self._remove(folder)

    def _keep(self, folder: Path, size: int) -> None:
        """Remember a folder until its time is over, and make room for it."""
        timer = threading.Timer(self._seconds, self._remove, [folder])
        timer.daemon = True
        with self._lock:
            room = self._most_bytes - size
            oldest_last = list(reversed(self._sizes.items()))
            self._sizes[folder] = size
            self._timers[folder] = timer
            timer.start()
        for others, (other, other_size) in enumerate(oldest_last, start=1):
            room -= other_size
            if room < 0 or others >= MOST_FILES:
                self._remove(other)

    def _remove(self, folder: Path) -> None:
        with self._lock:
            self._sizes.pop(folder, None)
            timer = self._timers.pop(folder, None)
        if timer:
            timer.cancel()
        shutil.rmtree(folder, ignore_errors=True)

    def _remove_left_behind(self, root: Path) -> None:
        for folder in root.glob(f"{PREFIX}*"):
            try:
                age = time.time() - folder.stat().st_mtime
            except OSError:  # It has just been removed.
                continue
            if age > self._seconds and not folder.is_symlink():
                self._remove(folder)


FILES = Files()
