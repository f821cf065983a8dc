"""Files for download go as they came: nobody has to tidy up behind them."""

import os
import threading
import time
from pathlib import Path

import pytest

from gpt2lab.ui.files import MOST_FILES, Files


def filled(size: int):
    return lambda file: file.write_bytes(bytes(size))


def test_a_file_is_gone_when_its_time_is_over(tmp_path: Path) -> None:
    path = Path(Files(seconds=0.5).write(tmp_path, "a.npz", filled(5)))
    assert path.read_bytes() == bytes(5)
    assert path.parent.stat().st_mode & 0o077 == 0
    deadline = time.monotonic() + 30
    while path.parent.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_files_make_room_and_the_newest_stays(tmp_path: Path) -> None:
    files = Files(most_bytes=10)
    paths = [Path(files.write(tmp_path, "a", filled(size))) for size in (4, 3, 3, 4)]
    assert [path.exists() for path in paths] == [False, True, True, True]
    large = Path(files.write(tmp_path, "a", filled(100)))
    assert [path.exists() for path in (*paths, large)] == [False] * 4 + [True]
    files.clear()
    assert list(tmp_path.iterdir()) == []


def test_many_small_files_take_neither_room_nor_threads(tmp_path: Path) -> None:
    files, before = Files(), threading.active_count()
    for _ in range(3 * MOST_FILES):
        files.write(tmp_path, "a", filled(1))
    assert len(list(tmp_path.iterdir())) == MOST_FILES
    deadline = time.monotonic() + 30
    while threading.active_count() > before + MOST_FILES and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before + MOST_FILES
    files.clear()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def fails(file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        Files().write(tmp_path, "a", fails)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_app_left_behind_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = Path(Files().write(tmp_path, "a", filled(1))).parent
    fresh = Path(Files().write(tmp_path, "a", filled(1))).parent
    foreign = tmp_path / "of-others"
    foreign.mkdir()
    for folder in (left, foreign):
        os.utime(folder, (0, 0))
    Files().write(tmp_path, "a", filled(1))
    assert not left.exists()
    assert fresh.exists()
    assert foreign.exists()
