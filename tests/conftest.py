"""Models for the tests: a small random GPT-2, pocket, and plain copies to compare with."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import student
import torch
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from gpt2lab.models import Gpt2, load_model

# The tests run in as many processes as there are cores at least (.pytest.ini).
torch.set_num_threads(1)

POCKET = Path(__file__).parent.parent / "gpt2lab" / "pocket"


@pytest.fixture(scope="session")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random GPT-2 of 3 layers and 4 heads, and GPT-2's tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "random"
    torch.manual_seed(1)
    config = GPT2Config(n_layer=3, n_head=4, n_embd=32, n_positions=128)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Far from the tiny initial values, so that attention and logits are not flat.
            parameter += 0.15 * torch.randn_like(parameter)
    assert model.num_parameters() == 1_650_496
    model.save_pretrained(folder)
    GPT2Tokenizer(str(POCKET / "vocab.json"), str(POCKET / "merges.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def random_gpt2(random_folder: Path) -> Gpt2:
    return load_model(str(random_folder), device="cpu")


@pytest.fixture(scope="session")
def wide_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Gpt2:
    """A random GPT-2 of one thin layer that reads 1,024 tokens; its logits are not flat."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    torch.manual_seed(4)
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter)
    model.save_pretrained(folder)
    GPT2Tokenizer(str(POCKET / "vocab.json"), str(POCKET / "merges.txt")).save_pretrained(folder)
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="session")
def pocket() -> Gpt2:
    return load_model("pocket", device="cpu")


@pytest.fixture(params=["random_gpt2", "pocket"])
def gpt2(request: pytest.FixtureRequest) -> Gpt2:
    """Each test that asks for it runs on both models."""
    return request.getfixturevalue(request.param)


_config_once = functools.cache(AutoConfig.from_pretrained)
_loads_once = functools.cache(json.loads)


@pytest.fixture
def run_quickly(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run a snippet about a tokenizer; what one before has read from a file is not read again.

    Gives the names that it binds, and as "printed" what it prints.
    """

    def run(code: str) -> dict[str, Any]:
        assert "gpt2lab" not in code.replace("gpt2lab/pocket", "").replace("gpt2lab's folder", "")
        assert len([line for line in code.splitlines() if line.strip()]) <= 18
        return student.run(code)

    monkeypatch.setattr(AutoConfig, "from_pretrained", _config_once)
    monkeypatch.setattr(json, "loads", _loads_once)
    return run


@functools.cache
def _from_pretrained(path: str, attention: str) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(
        path, dtype=torch.float32, attn_implementation=attention
    ).eval()


@pytest.fixture
def plain(gpt2: Gpt2) -> GPT2LMHeadModel:
    """The same weights as `gpt2`, loaded as the snippets do, and shared with nothing of ours."""
    return _from_pretrained(gpt2.path, "eager")


@pytest.fixture
def sdpa(gpt2: Gpt2) -> GPT2LMHeadModel:
    """The same weights under the attention that transformers chooses by itself."""
    return _from_pretrained(gpt2.path, "sdpa")


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stand-in serves as gpt2. The client hands on 10 MiB at a time, so it is larger."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(3)
    GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=64, n_positions=64)).save_pretrained(
        folder
    )
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(POCKET / file, folder)
    assert (folder / "model.safetensors").stat().st_size > 12_000_000
    return folder
