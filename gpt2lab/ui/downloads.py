"""Take a picture or a table along: PNG and SVG for papers and slides, CSV with every digit.

The file is made when it is asked for, from the record that the tab has drawn, and handed to the
browser as one string, without a way over the server's disk.

An inspection that has `arrays` offers them too: always as one .npz archive, in which each array has
its name, so that `np.load(file)["hidden_states"]` is it. Those of a long text have many megabytes,
so this file is written to the disk for a few minutes, and the browser fetches it.
"""

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
import numpy as np
from matplotlib.figure import Figure

from gpt2lab.inspection import Table
from gpt2lab.ui.files import FILES
from gpt2lab.ui.limits import MODEL_QUEUE, QUIET

FORMATS = ("png", "svg", "csv")
TYPES = {"png": "image/png", "svg": "image/svg+xml", "csv": "text/csv"}
SAVE = """(file) => {
  if (!file) return;
  const { name, type, content } = JSON.parse(file);
  const link = document.createElement("a");
  link.href = `data:${type};base64,${content}`;
  link.download = name;
  link.click();
}"""
FETCH = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


class Drawable(Protocol):
    """What can be taken along: an inspection, and whatever else has a picture and a table."""

    @property
    def name(self) -> str:
        """Of the file."""

    @property
    def figure(self) -> Callable[..., Figure]:
        """From a record to its picture."""

    @property
    def table(self) -> Callable[[Any], Table]:
        """From a record to its numbers."""


def build_downloads(drawable: Drawable, shown: gr.State) -> None:
    """One button a format in the current layout; `shown` holds the record that is on screen."""
    file = gr.Textbox(visible="hidden")
    with gr.Row(elem_classes="downloads"):
        for kind in FORMATS:
            button = gr.Button(f"{kind.upper()} ↓", size="sm", scale=0, min_width=80)
            button.click(
                lambda result, kind=kind: packed(drawable, result, kind),
                shown,
                file,
                **QUIET,
                **MODEL_QUEUE,
            ).success(None, file, None, js=SAVE, **QUIET)
        # Not everything that can be drawn has arrays: the tree of beams has none.
        if getattr(drawable, "arrays", None):
            fetched = gr.DownloadButton(visible="hidden")
            button = gr.Button("NPZ ↓", size="sm", scale=0, min_width=80)
            button.click(
                lambda result: archive(drawable, result, fetched.GRADIO_CACHE),
                shown,
                fetched,
                **QUIET,
                **MODEL_QUEUE,
            ).success(None, fetched, None, js=FETCH, **QUIET)


def packed(drawable: Drawable, result: Any, kind: str) -> str:
    """Name, type and base64 content of a file as JSON; "" if nothing has been drawn."""
    if result is None:
        return ""
    content = base64.b64encode(contents(drawable, result, kind)).decode()
    name = f"{drawable.name}.{kind}"
    return json.dumps({"name": name, "type": TYPES[kind], "content": content})


def contents(drawable: Drawable, result: Any, kind: str) -> bytes:
    """Bytes of the figure ("png", "svg") or of the table ("csv") of a record."""
    if kind == "csv":
        table = drawable.table(result)
        text = io.StringIO()
        csv.writer(text).writerows([table.headers, *table.rows])
        return text.getvalue().encode()
    image = io.BytesIO()
    drawable.figure(result).savefig(image, format=kind)
    return image.getvalue()


def archive(drawable: Any, result: Any, folder: str) -> str | None:
    """Path of an .npz archive of the record's arrays, below `folder`; None if nothing is drawn."""
    if result is None:
        return None

    def write(file: Path) -> None:
        np.savez(file, allow_pickle=False, **drawable.arrays(result))

    return FILES.write(folder, f"{drawable.name}.npz", write)
