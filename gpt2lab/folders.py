"""A GPT-2 on disk: a folder of three things, read with care.

- ``config.json``: the architecture, a dozen numbers. It says how many blocks to stack and how
  wide they are, so it decides the shape of every tensor before a weight is read;
- ``model.safetensors``: the weights, a table of names and shapes followed by plain numbers. The
  older ``pytorch_model.bin`` is a pickle, that is, a program that runs when it is opened: it is
  refused, and so is any Python code that a folder brings along;
- ``vocab.json`` and ``merges.txt`` (or ``tokenizer.json``): how text becomes token ids.

What cannot be read, or is not a GPT-2, is refused in one sentence before transformers sees it.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    GPT2LMHeadModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from gpt2lab.hub_cache import is_whole
from gpt2lab.refusal import Refusal

_reading = threading.Lock()  # one from_pretrained at a time, see _quietly


def read_folder(
    folder: Path, device: str, dtype: torch.dtype
) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerBase]:
    """The model in ``folder``, ready to compute and never to be trained, with its tokenizer."""
    config = read_config(folder)
    _check_config(folder, config)
    _check_files(folder)
    # The files are a stranger's: anything may be wrong with them, so anything may be raised.
    try:
        with _quietly():
            model, report = GPT2LMHeadModel.from_pretrained(
                str(folder),
                dtype=dtype,
                # SDPA, the default, never forms the attention weights that we show, and rounds
                # differently: with one implementation for all, every number is the same everywhere.
                attn_implementation="eager",
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".:")
        raise Refusal(
            f"The files in {folder} make no GPT-2 ({reason}): copy or download them again."
        ) from error
    try:
        with _quietly():
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
    except Exception as error:
        raise Refusal(
            f"The tokenizer files in {folder} make no tokenizer: copy or download them again."
        ) from error
    # from_pretrained fills what the file lacks with random numbers and only warns.
    misfits = {str(key[0]) for key in report["mismatched_keys"]}
    if lacking := sorted(misfits.union(report["missing_keys"])):
        raise Refusal(
            f"The weights in {folder} do not fit config.json, {len(lacking)} tensors are missing "
            f"or of another shape (such as {lacking[0]}): copy or download both files again."
        )
    _check_tokenizer(folder, tokenizer, model.config.vocab_size)
    _use_plain_generation(model, tokenizer)
    try:
        return model.requires_grad_(False).eval().to(device), tokenizer
    except torch.OutOfMemoryError:
        raise Refusal(
            f"The model in {folder} does not fit into the memory of {device}: choose a smaller "
            "model, the dtype bfloat16, or the device cpu."
        ) from None


def read_config(folder: Path) -> dict[str, Any]:
    """The settings in ``config.json``, unchecked."""
    return _read_json(folder / "config.json")


def fingerprint(folder: Path) -> str:
    """Tells two versions of the weights apart: the start of a hash of all of them.

    One edited matrix in one layer makes another model, so there is no shortcut by sampling.
    """
    digests = []
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            digests.append(file_digest(weights, "sha256").hexdigest())
    return (
        digests[0][:12] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()[:12]
    )


def _use_plain_generation(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Forget the sampling defaults that the folder's ``generation_config.json`` brings.

    A folder may say "temperature 0.7, top_k 5"; `generate` would then apply them silently, and
    what is computed would not be what the sidebar shows. Only the special ids are kept. Padding
    falls back to the end token, as `generate` itself would choose, with a warning each time.
    """
    own, config = model.generation_config, model.config
    bos = own.bos_token_id if own.bos_token_id is not None else config.bos_token_id
    eos = own.eos_token_id if own.eos_token_id is not None else config.eos_token_id
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = eos[0] if isinstance(eos, list) else eos
    model.generation_config = GenerationConfig(bos_token_id=bos, eos_token_id=eos, pad_token_id=pad)


def _check_config(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if kind != "gpt2":
        what = f"a {kind} model" if kind else "of no stated kind (config.json has no model_type)"
        raise Refusal(f"The model in {folder} is {what}, not a GPT-2; give a folder with a GPT-2.")
    tokenizer_file = folder / "tokenizer_config.json"
    tokenizer_config = _read_json(tokenizer_file) if tokenizer_file.is_file() else {}
    if "auto_map" in config or "auto_map" in tokenizer_config:
        raise Refusal(
            f"The model in {folder} wants to run Python code of its own (auto_map), which is "
            "never done here; give a folder with a plain GPT-2."
        )
    for setting, meaning in (
        ("add_cross_attention", "has cross-attention, so it is half of an encoder-decoder"),
        ("quantization_config", "has quantised weights"),
    ):
        if config.get(setting):
            raise Refusal(f"The model in {folder} {meaning}; give a folder with a plain GPT-2.")


def _check_files(folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and any(folder.glob("*.bin")):
        raise Refusal(
            f"{folder} has its weights only as a pickle (.bin), which can run code when opened; "
            "save them with model.save_pretrained(folder) as model.safetensors and try again."
        )
    if not weights:
        raise Refusal(f"{folder} has no model.safetensors: copy or download the weights again.")
    for file in weights:
        if not is_whole(file):
            raise Refusal(f"{file} is cut off or damaged: delete it and copy or download it again.")
    present = {file.name for file in folder.iterdir()}
    if "tokenizer.json" not in present and not {"vocab.json", "merges.txt"} <= present:
        raise Refusal(
            f"{folder} has no tokenizer: put GPT-2's vocab.json and merges.txt beside the weights."
        )


def _check_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """The rest of the house relies on byte-level pieces and on one embedding row per token."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if "ByteLevel" not in type(getattr(backend, "decoder", None)).__name__:
        raise Refusal(
            f"The tokenizer in {folder} does not split text into bytes as GPT-2's does; "
            "use a model with GPT-2's vocab.json and merges.txt."
        )
    if len(tokenizer) != rows:
        raise Refusal(
            f"The tokenizer in {folder} has {len(tokenizer):,} tokens but the model {rows:,}; "
            "they do not belong together, so put the model's own tokenizer files there."
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """No progress bars and reports on the terminal: what matters is checked and said as Refusal.

    transformers keeps these switches per process, so the loads take turns, or one load could
    restore the state that another had only just changed.
    """
    with _reading:
        bars, level = (
            transformers_logging.is_progress_bar_enabled(),
            transformers_logging.get_verbosity(),
        )
        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(level)
            if bars:
                transformers_logging.enable_progress_bar()


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refusal(f"{file} is missing: copy or download the model's folder again.") from None
    except (OSError, ValueError) as error:
        reason = f"it is not JSON ({error})" if isinstance(error, ValueError) else error.strerror
        raise Refusal(f"{file} cannot be read, {reason}: copy or download it again.") from None
    if not isinstance(value, dict):
        raise Refusal(f"{file} holds no settings: copy or download it again.")
    return value
