"""The way to the Hub, walked by the real huggingface_hub client against a stand-in server."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hub_server import COMMIT, StandIn, black_hole, closed_port, serving, sha256
from transformers import GPT2LMHeadModel

from gpt2lab import hub, hub_cache, hub_contact, models
from gpt2lab.refusal import Refusal

POCKET = Path(models.__file__).parent / "pocket"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty Hugging Face home, as in a process that has not asked the Hub yet."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", closed_port())
    monkeypatch.setattr(hub, "_downloads", {})
    monkeypatch.setattr(models, "_loaded", {})
    monkeypatch.setattr(hub, "PAUSE_SECONDS", 0.05)
    return tmp_path / "home"


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """What huggingface_hub says on its logger, which writes to the terminal."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "handlers", [handler])
    return said


@pytest.fixture
def small_pocket(random_folder, monkeypatch) -> Path:
    """A random model in pocket's place: these tests are about which model, not about how good."""
    monkeypatch.setattr(models, "POCKET", random_folder)
    return random_folder


def watch(download: hub.Download, seconds: float = 20) -> list[hub.DownloadStatus]:
    """Every status until the download has finished."""
    seen = [download.status()]
    deadline = time.monotonic() + seconds
    while not download.finished.wait(0.01):
        assert time.monotonic() < deadline, seen[-1]
        seen.append(download.status())
    return [*seen, download.status()]


def test_from_the_hub_to_the_same_logits(home, published, monkeypatch):
    with serving(StandIn(published, seconds_per_mb=0.05)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert not models.is_cached("gpt2")
        seen = watch(hub.start_download("gpt2"))
        fetching = [s for s in seen if s.state == "downloading"]
        asked = len(server.requests)
        gpt2 = models.load_model("gpt2", device="cpu")
        assert models.load_model("auto", device="cpu") is gpt2
        assert len(server.requests) == asked, "what is in the cache needs no network"

    total = sum(file.stat().st_size for file in published.iterdir())
    received = [status.received for status in seen]
    assert received == sorted(received)
    assert len(set(received)) >= 4
    assert (received[-1], seen[-1].total) == (total, total)
    assert next(s.state for s in seen if s.state != "downloading") == "connecting"
    assert f"gpt2 is downloading: 12 of {total / 1e6:.0f} MB." in {s.message for s in fetching}
    assert seen[-1].state == "ready"
    assert seen[-1].message == "gpt2 is ready: choose it to switch."

    assert (gpt2.name, gpt2.source, gpt2.revision) == ("gpt2", "hub", COMMIT)
    assert gpt2.path == "openai-community/gpt2"
    assert "OpenAI's GPT-2 from the Hugging Face Hub" in gpt2.description
    original = GPT2LMHeadModel.from_pretrained(published, attn_implementation="eager")
    ids = torch.tensor([[8888, 356, 460, 467, 284]])
    with torch.no_grad():
        assert torch.equal(gpt2.model(ids).logits, original(ids).logits)
    assert [entry.name for entry in home.iterdir()] == ["hub"], "nothing beside the cache"


def test_short_name_in_the_cache_counts_too(home, published, small_pocket):
    root = home / "hub" / "models--gpt2"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    shutil.copytree(published, root / "snapshots" / COMMIT)
    assert models.load_model("auto", device="cpu").path == "gpt2"
    weights = root / "snapshots" / COMMIT / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert not models.is_cached("gpt2")
    assert models.load_model("auto", device="cpu").name == "pocket"


def test_a_cut_is_resumed(home, published, monkeypatch, capfd, log):
    with serving(StandIn(published, cut_at=12_000_000)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        seen = watch(hub.start_download("gpt2"))
    assert seen[-1].state == "ready", seen[-1]
    assert server.ranges == [f"bytes={10 << 20}-"]
    received = [status.received for status in seen]
    assert received == sorted(received)
    assert received[-1] == seen[-1].total
    folder = hub_cache.cached_folder("gpt2")
    assert folder is not None
    for file in published.iterdir():
        assert sha256(folder / file.name) == sha256(file)
    assert capfd.readouterr() == ("", "")
    assert log == [], "retries are the page's business, not the terminal's"


def test_a_server_that_cannot_resume_sends_everything_again(home, published, monkeypatch):
    stand_in = StandIn(published, cut_at=12_000_000, resumable=False, seconds_per_mb=0.02)
    with serving(stand_in) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        seen = watch(hub.start_download("gpt2"))
    assert seen[-1].state == "ready", seen[-1]
    received = [status.received for status in seen]
    assert received == sorted(received), "what was announced is not taken back"
    assert received[-1] == seen[-1].total
    folder = hub_cache.cached_folder("gpt2")
    assert folder is not None
    assert sha256(folder / "model.safetensors") == sha256(published / "model.safetensors")


def test_who_waits_for_bytes_that_never_come_is_told(home, published, monkeypatch):
    monkeypatch.setattr(hub, "STALL_SECONDS", 1.0)
    monkeypatch.setattr(hub, "ATTEMPTS", 1)  # its thread outlives the test and must not ask anew
    with serving(StandIn(published, stall_at=1_000_000)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(Refusal, match="gpt2 stopped arriving"):
            models.load_model("gpt2", device="cpu")


def test_a_reset_connection_begins_the_file_again(home, published, monkeypatch):
    with serving(StandIn(published, cut_at=11_000_000, reset=True, cuts=2)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        seen = watch(hub.start_download("gpt2"))
    assert seen[-1].state == "ready", seen[-1]
    received = [status.received for status in seen]
    assert received == sorted(received)
    assert received[-1] == seen[-1].total
    folder = hub_cache.cached_folder("gpt2")
    assert folder is not None
    assert sha256(folder / "model.safetensors") == sha256(published / "model.safetensors")


def test_a_line_that_keeps_breaking_fails_with_a_sentence(home, published, monkeypatch):
    with serving(StandIn(published, cut_at=11_000_000, reset=True, cuts=99)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        last = watch(hub.start_download("gpt2"))[-1]
        assert last.state == "failed"
        assert last.message == (
            "gpt2 could not be downloaded, because the Hugging Face Hub cannot be reached; "
            "connect to the internet and start again."
        )
        assert not models.is_cached("gpt2")
        assert not list(home.rglob("*.incomplete"))
        server.cuts = 0
        gpt2 = models.load_model("gpt2", device="cpu")  # asking by name tries again
    assert gpt2.source == "hub"


def test_without_network_pocket_comes_at_once(home, small_pocket):
    begin = time.monotonic()
    assert models.load_model("auto", device="cpu").name == "pocket"
    last = watch(hub.start_download("gpt2"), seconds=3)[-1]
    with pytest.raises(Refusal, match=r"gpt2 is not in .* cache .* cannot be reached.* use pocket"):
        models.load_model("gpt2")
    assert time.monotonic() - begin < 5
    assert last.state == "unavailable"
    assert last.message == (
        "Only pocket is available, because the Hugging Face Hub cannot be reached; "
        "to get gpt2, connect to the internet and start again."
    )
    assert models.load_model("auto", device="cpu").name == "pocket"


def test_a_black_hole_holds_up_nobody(home, small_pocket, monkeypatch):
    monkeypatch.setattr(hub, "REACH_SECONDS", 3.0)
    with black_hole() as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        begin = time.monotonic()
        download = hub.start_download("gpt2")
        assert models.load_model("auto", device="cpu").name == "pocket"
        assert download.status().state == "connecting"
        last = watch(download, seconds=10)[-1]
        assert last.state == "unavailable"
        assert "does not answer" in last.message
        with pytest.raises(Refusal, match="does not answer"):
            models.load_model("gpt2")
        assert time.monotonic() - begin < 16


def test_a_name_server_that_never_answers_is_given_up(monkeypatch):
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        hub_contact.within(0.2, lambda: time.sleep(5))
    assert time.monotonic() - begin < 1


def test_a_wish_to_stay_offline_is_honoured(home, published, monkeypatch):
    with serving(StandIn(published)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        last = watch(hub.start_download("gpt2"))[-1]
    assert last.state == "unavailable"
    assert "HF_HUB_OFFLINE" in last.message
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "words"), [(200, "something else answers"), (503, "answers with error 503")]
)
def test_something_else_than_the_hub_answers(home, published, monkeypatch, status, words):
    with serving(StandIn(published, status=status)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        last = watch(hub.start_download("gpt2"))[-1]
    assert last.state == "unavailable"
    assert words in last.message


def test_a_full_disk_is_named(home, published, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: usage)
    with serving(StandIn(published)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        last = watch(hub.start_download("gpt2"))[-1]
    assert last.state == "failed"
    assert "15 MB needed, 1 MB free" in last.message


def test_one_download_per_name(home):
    assert hub.start_download("gpt2") is hub.start_download("gpt2")
    with pytest.raises(Refusal, match="not on the Hub"):
        hub.start_download("../../etc")


CLIENT = """
import time
start = time.monotonic()
from gpt2lab import hub, models
imported = time.monotonic()
models.POCKET = models.Path({pocket!r})
download = hub.start_download()
gpt2 = models.load_model("auto", device="cpu")
print(gpt2.name, time.monotonic() - imported, flush=True)
while True:
    status = download.status()
    if status.received > 10_000_000 or status.state in ("unavailable", "failed"):
        break
    time.sleep(0.01)
print(status.state, flush=True)
time.sleep(60)
"""


def test_ctrl_c_ends_a_process_that_downloads(published, random_folder, tmp_path):
    """In a process of its own, as a user has it: HF_ENDPOINT set before anything is imported."""
    with serving(StandIn(published, stall_at=11_000_000)) as server:
        environment = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": server.url}
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT.format(pocket=str(random_folder))],
            env=environment | {"PYTHONPATH": str(Path(models.__file__).parent.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            name, seconds = process.stdout.readline().split()
            assert process.stdout.readline().strip() == "downloading"
            assert list(tmp_path.rglob("*.incomplete"))
            process.send_signal(signal.SIGINT)
            begin = time.monotonic()
            _, errors = process.communicate(timeout=10)
        finally:
            process.kill()
    paths = [path for _, path, _ in server.requests]
    assert all(path.startswith(("/openai-community/gpt2/resolve/", "/cdn/")) for path in paths)
    assert name == "pocket"
    assert float(seconds) < 3
    assert time.monotonic() - begin < 3
    assert errors.strip().splitlines()[-1] == "KeyboardInterrupt"
    assert errors.count("Traceback") == 1, errors
    assert not list(tmp_path.rglob("*.incomplete")), "half a file would only fill the disk"


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08\0\0", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"],
)
def test_no_safetensors_file_is_not_whole(tmp_path, content):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    assert not hub_cache.is_whole(file)


def test_a_safetensors_file_is_whole_to_the_byte(tmp_path, published):
    content = (published / "model.safetensors").read_bytes()
    file = tmp_path / "model.safetensors"
    for cut, whole in ((0, True), (1, False), (5_000_000, False)):
        file.write_bytes(content[: len(content) - cut])
        assert hub_cache.is_whole(file) is whole
    assert json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
