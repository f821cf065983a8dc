"""The local cache of the Hugging Face Hub: which of OpenAI's models are on this computer already.

A model on the Hub is a git repository of a few files. huggingface_hub keeps what it has fetched
in a cache that all programs of a user share, and that an app without network can still read::

    ~/.cache/huggingface/hub/models--openai-community--gpt2/
        refs/main                      the commit that "main" meant when last asked
        snapshots/<commit>/config.json, model.safetensors, …
        blobs/                         the contents; a file that is arriving ends in .incomplete

Everything here is answered from the disk, in about a millisecond; the network is the business of
`gpt2lab.hub`. The environment (``HF_HUB_CACHE``, ``HF_HOME``) is read at each call.
"""

import json
import os
from pathlib import Path

REPOSITORIES: dict[str, tuple[str, ...]] = {
    "gpt2": ("openai-community/gpt2", "gpt2"),
    "distilgpt2": ("distilbert/distilgpt2", "distilgpt2"),
    "gpt2-medium": ("openai-community/gpt2-medium", "gpt2-medium"),
    "gpt2-large": ("openai-community/gpt2-large", "gpt2-large"),
    "gpt2-xl": ("openai-community/gpt2-xl", "gpt2-xl"),
}
"""Where each model lives: its address on the Hub, then the short one that older programs used.

The Hub answers both, but each has its own folder in the cache, so both are looked up.
"""

LONGEST_TABLE = 100_000_000  # bytes; safetensors itself refuses more


def cached_folder(name: str) -> Path | None:
    """The folder in the local Hub cache that holds the model ``name`` completely, or None."""
    for repository in REPOSITORIES.get(name, ()):
        root = cache_root() / f"models--{repository.replace('/', '--')}"
        try:
            folder = root / "snapshots" / (root / "refs" / "main").read_text().strip()
            present = set(os.listdir(folder))
            tokenizer = "tokenizer.json" in present or {"vocab.json", "merges.txt"} <= present
            # stat follows the link into blobs/, so a link to a deleted blob is no file.
            complete = tokenizer and (folder / "config.json").is_file()
            if complete and is_whole(folder / "model.safetensors"):
                return folder
        except (OSError, ValueError):
            continue
    return None


def repository_of(folder: Path) -> str:
    """The repository that a folder of the cache belongs to, as `from_pretrained` takes it."""
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/")


def is_whole(weights: Path) -> bool:
    """Whether a safetensors file is as long as its own table of tensors says.

    The file is: the table's length (8 bytes), the table (JSON), the numbers. Reading the first
    few kilobytes is enough to notice a file that was cut off, whatever its size.
    """
    size = weights.stat().st_size
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size, LONGEST_TABLE):
            return False
        try:
            table = json.loads(file.read(length))
            ends = [row["data_offsets"][1] for key, row in table.items() if key != "__metadata__"]
            return size == 8 + length + max(ends)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return False


def cache_root() -> Path:
    """The folder of the cache, as the environment says now.

    huggingface_hub computes the same, but once, when it is imported.
    """
    home = os.environ.get("HF_HOME")
    if not home:
        home = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expanduser(os.path.expandvars(chosen or os.path.join(home, "hub"))))
