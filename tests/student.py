"""Runs code as a student would run it in a new process, without reading the same files again.

Reading a tokenizer or a model takes most of the time of a snippet. Each is read once; every run
gets the tokenizer as it was read, and a copy of the model that it may change.
"""

import contextlib
import copy
import functools
import io
from collections.abc import Iterator
from typing import Any
from unittest import mock

from transformers import AutoTokenizer, GPT2LMHeadModel

_tokenizer_read = functools.cache(AutoTokenizer.from_pretrained)
_model_read = functools.cache(GPT2LMHeadModel.from_pretrained)


def _tokenizer(*arguments: Any, **options: Any) -> Any:
    tokenizer = _tokenizer_read(*arguments, **options)
    # GPT-2's has no token to pad with, and pads on the right.
    tokenizer.pad_token, tokenizer.padding_side = None, "right"
    return tokenizer


def _model(*arguments: Any, **options: Any) -> GPT2LMHeadModel:
    return copy.deepcopy(_model_read(*arguments, **options))


@contextlib.contextmanager
def files_read_once() -> Iterator[None]:
    with (
        mock.patch.object(AutoTokenizer, "from_pretrained", _tokenizer),
        mock.patch.object(GPT2LMHeadModel, "from_pretrained", _model),
    ):
        yield


def run(*cells: str) -> dict[str, Any]:
    """The names that the code binds, in one cell or several, and as "printed" what it prints."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()) as printed, files_read_once():
        for cell in cells:
            exec(compile(cell, "snippet", "exec"), names)
    return {**names, "printed": printed.getvalue()}
