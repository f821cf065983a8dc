"""From a name to a GPT-2 in memory, loaded once and shared.

A name may mean three kinds of folder: the one *built in* (``pocket``, trained for this project),
one in the local cache of the Hugging Face *Hub* (``gpt2`` and its relatives, see
`gpt2lab.hub_cache`), or any *local* folder. How a folder becomes a model is told in
`gpt2lab.folders`; from there on all three are the same thing, a `Gpt2`.

>>> gpt2 = load_model("pocket")
>>> gpt2.tokenizer("Today we can go to").input_ids
[8888, 356, 460, 467, 284]
"""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from gpt2lab import hub
from gpt2lab.architectures import ARCHITECTURES, count_parameters
from gpt2lab.folders import fingerprint, read_config, read_folder
from gpt2lab.hub_cache import REPOSITORIES, cached_folder, repository_of
from gpt2lab.pocket import FOLDER as POCKET
from gpt2lab.refusal import Refusal, quoted

NAMES: tuple[str, ...] = ("pocket", *REPOSITORIES)
"""The catalogue: the names that `load_model` knows without a folder."""

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Gpt2:
    """A loaded GPT-2 with its tokenizer: shared by everybody in the process, so never changed.

    ``source`` is "hub", "local" or "built-in". ``revision`` tells two versions of the weights
    apart: the commit on the Hub, else a fingerprint of the weights file. ``path`` is what plain
    ``from_pretrained`` takes to load the same model in a snippet.
    """

    model: GPT2LMHeadModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    source: str
    revision: str
    path: str

    @property
    def parameters(self) -> int:
        """How many numbers the model has learned; tied weights count once."""
        return sum(tensor.numel() for tensor in self.model.parameters())

    @property
    def n_layer(self) -> int:
        """The number of transformer blocks."""
        return self.model.config.n_layer

    @property
    def n_head(self) -> int:
        """The number of attention heads in each block."""
        return self.model.config.n_head

    @property
    def n_embd(self) -> int:
        """The width of the residual stream."""
        return self.model.config.n_embd

    @property
    def n_positions(self) -> int:
        """The most tokens the model can see at once."""
        return self.model.config.n_positions

    @property
    def vocab_size(self) -> int:
        """The number of different tokens."""
        return self.model.config.vocab_size

    @property
    def dtype(self) -> str:
        """The number format of the weights, such as "float32"."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Where the weights lie and the computing happens, such as "cpu"."""
        return str(self.model.device)

    @property
    def description(self) -> str:
        """One line for the page's header: who is speaking, how large, from where, on what."""
        origin = "local folder"
        if self.source == "built-in":
            origin = "built in, trained for this project; not OpenAI's GPT-2"
        elif self.name == "distilgpt2":
            origin = "distilled from OpenAI's GPT-2, from the Hugging Face Hub"
        elif self.source == "hub":
            origin = "OpenAI's GPT-2 from the Hugging Face Hub"
        count = self.parameters
        size = f"{count / 1e6:,.0f} M" if count >= 1e6 else f"{count / 1e3:,.0f} k"
        return f"{self.name} · {size} parameters · {origin} · {self.dtype} · {self.device}"


@dataclass(frozen=True)
class ModelInfo:
    """What the catalogue says about a model, loaded or not.

    ``ready`` means that it can be used at once, without network.
    """

    name: str
    source: str
    ready: bool
    parameters: int
    n_layer: int
    n_head: int
    n_embd: int
    n_positions: int
    vocab_size: int


_Key = tuple[str, str, str]  # (catalogue name or folder, device, dtype)
_loaded: dict[_Key, Gpt2] = {}
_locks: dict[_Key, threading.Lock] = {}
_registry = threading.Lock()  # guards the two dictionaries, never held while loading


def load_model(name: str = "auto", device: str = "auto", dtype: str = "float32") -> Gpt2:
    """The model called ``name``, loaded at the first call and shared ever after.

    ``name`` is one of `NAMES`, a local folder, or "auto": OpenAI's gpt2 if it lies complete in
    the local cache, else pocket; "auto" never touches the network. A Hub model that is not in
    the cache is downloaded first, which may take minutes. ``device`` is "auto" (a GPU if there
    is one), "cpu", "cuda", "cuda:1", "mps"; ``dtype`` one of `DTYPES`.
    """
    if name == "auto":
        name = "gpt2" if is_cached("gpt2") else "pocket"
    target = _target(name)
    key = (target, _device(device), _dtype(dtype))
    with _registry:
        lock = _locks.setdefault(key, threading.Lock())
    # Whoever comes first loads; the others wait here and find the result. A failure leaves no
    # entry behind, so the next caller tries again.
    with lock:
        if key not in _loaded:
            gpt2 = _load(*key)
            with _registry:
                _loaded[key] = gpt2
        return _loaded[key]


def named_model(name: str, device: str = "auto", dtype: str = "float32") -> Gpt2:
    """`load_model` for a name that came over the network: no paths, and no downloads.

    It knows the models that are ready: pocket, Hub models in the local cache, and local folders
    that the owner of this process has already loaded, by their name. A stranger's request must
    neither read the owner's disk nor fetch six gigabytes.
    """
    with _registry:
        folders = {gpt2.name: gpt2.path for gpt2 in _loaded.values() if gpt2.source == "local"}
    if name in folders:
        return load_model(folders[name], device, dtype)
    if name in REPOSITORIES and not is_cached(name):
        raise Refusal(
            f"{name} is not on this computer yet: whoever runs the app can fetch it with "
            f"python app.py --model {name}."
        )
    if name not in NAMES:
        ready = [info.name for info in catalogue() if info.ready]
        raise Refusal(f"There is no model called {quoted(name)}; choose {_either(ready or NAMES)}.")
    return load_model(name, device, dtype)


def is_cached(name: str) -> bool:
    """Whether the Hub model ``name`` lies complete in the local cache; asks no network."""
    return cached_folder(name) is not None


def catalogue() -> list[ModelInfo]:
    """Every model that has a name here: the catalogue, then the local folders loaded so far."""
    pocket = _config_or_nothing(POCKET)
    infos = [_info("pocket", "built-in", (POCKET / "model.safetensors").is_file(), pocket)]
    for name, (n_layer, n_head, n_embd) in ARCHITECTURES.items():
        folder = cached_folder(name)
        published = {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd}
        config = _config_or_nothing(folder) if folder else published
        infos.append(_info(name, "hub", folder is not None, config))
    with _registry:
        local = {gpt2.path: gpt2 for gpt2 in _loaded.values() if gpt2.source == "local"}
    infos += [
        _info(gpt2.name, "local", True, gpt2.model.config.to_dict()) for gpt2 in local.values()
    ]
    return infos


def _target(name: str) -> str:
    """The catalogue name, or the absolute folder, that ``name`` means."""
    if not isinstance(name, str) or not name.strip():
        raise Refusal(f"The model needs a name: choose {_either(NAMES)}, or give a folder.")
    name = name.strip()
    if name in NAMES:
        return name
    for known, repositories in REPOSITORIES.items():
        if name in repositories:
            return known
    folder = os.path.expanduser(name)
    if os.path.isdir(folder):
        return os.path.realpath(folder)
    if os.path.isfile(folder):
        raise Refusal(f"{quoted(name)} is a file: give the folder that holds config.json instead.")
    raise Refusal(
        f"There is no model called {quoted(name)}: choose {_either(NAMES)}, "
        "or give the path of a folder that exists."
    )


def _device(device: str) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise Refusal(f"There is no device {quoted(device)}: use auto, cpu, cuda or mps.") from None
    kind, index = wanted.type, wanted.index or 0
    if kind == "cpu":
        return "cpu"
    if kind == "cuda" and torch.cuda.is_available() and index < torch.cuda.device_count():
        return f"cuda:{index}"
    if kind == "mps" and torch.backends.mps.is_available():
        return "mps:0"
    raise Refusal(
        f"The device {quoted(device)} is not available on this computer: use auto or cpu."
    )


def _dtype(dtype: str) -> str:
    if dtype not in DTYPES:
        raise Refusal(f"The dtype {quoted(dtype)} is not supported: use {_either(tuple(DTYPES))}.")
    return dtype


def _load(target: str, device: str, dtype: str) -> Gpt2:
    if target == "pocket":
        name, source, folder, path = target, "built-in", POCKET, str(POCKET)
    elif target in REPOSITORIES:
        folder = cached_folder(target) or hub.fetch(target)
        name, source, path = target, "hub", repository_of(folder)
    else:
        folder = Path(target)
        name, source, path = _local_name(folder), "local", target
    model, tokenizer = read_folder(folder, device, DTYPES[dtype])
    revision = folder.name if source == "hub" else fingerprint(folder)
    return Gpt2(model, tokenizer, name, source, revision, path)


def _config_or_nothing(folder: Path) -> dict[str, Any]:
    try:
        return read_config(folder)
    except Refusal:
        return {}


def _info(name: str, source: str, ready: bool, config: Mapping[str, Any]) -> ModelInfo:
    known = {"n_layer", "n_head", "n_embd"} <= config.keys()
    return ModelInfo(
        name=name,
        source=source,
        ready=ready and known,
        parameters=count_parameters(config) if known else 0,
        n_layer=config.get("n_layer", 0),
        n_head=config.get("n_head", 0),
        n_embd=config.get("n_embd", 0),
        n_positions=config.get("n_positions", 1024),
        vocab_size=config.get("vocab_size", 50257),
    )


def _local_name(folder: Path) -> str:
    """The folder's own name, with its parent's where that name is already taken."""
    with _registry:
        others = {gpt2.name for gpt2 in _loaded.values() if gpt2.path != str(folder)}
    taken = others.union(NAMES, {"auto"})
    return f"{folder.parent.name}/{folder.name}" if folder.name in taken else folder.name


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
