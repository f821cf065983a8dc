"""The command line, as a person uses it: in a process of its own."""

import re
import runpy
import signal
import socket
import sys
from pathlib import Path

import pytest
from app_process import ROOT, free_port, running, wait_for

NOISE = re.compile(r"warning|error|traceback|deprecat", re.IGNORECASE)


def test_it_serves_pocket_and_ends_cleanly_on_ctrl_c() -> None:
    port = free_port()
    with running("--model", "pocket", "--host", "127.0.0.1", "--port", str(port)) as process:
        page = wait_for(port, process)
        process.send_signal(signal.SIGINT)
        log, _ = process.communicate(timeout=30)
    assert "pocket" in page
    assert "trained for this project; not OpenAI" in page
    assert process.returncode == 0
    assert not NOISE.search(log), log


def test_the_environment_sets_the_same(random_folder: Path) -> None:
    port = free_port()
    environment = {"GPT2LAB_MODEL": str(random_folder), "GRADIO_SERVER_PORT": str(port)}
    with running(**environment) as process:
        page = wait_for(port, process)
    assert "random · 2 M parameters · local folder" in page


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bring another OpenMP")
def test_threads_that_wait_sleep() -> None:
    with running("--model", "gpt7", OMP_DISPLAY_ENV="TRUE") as process:
        log, _ = process.communicate(timeout=120)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in log


def test_what_cannot_be_loaded_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with running("--model", "gpt2", HF_HOME=str(tmp_path)) as process:
        log, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "pocket" in log
    assert len(log.strip().splitlines()) == 1


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What the app says when it ends at once; in this process, since starting one takes long."""
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
    assert isinstance(ended.value.code, str)  # Python prints it and returns 1.
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "gpt7"], "gpt7"),
        (["--model", "pocket", "--dtype", "int3"], "int3"),
        (["--model", "pocket", "--device", "abacus"], "abacus"),
    ],
)
def test_arguments_that_cannot_be_are_refused_in_one_sentence(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    said = refusal(monkeypatch, *arguments)
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_a_port_in_use_is_refused_in_one_sentence(
    random_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refusal(monkeypatch, "--model", str(random_folder), "--port", port)
    assert port in said
    assert "--port" in said
    assert "Traceback" not in "".join(capfd.readouterr())
