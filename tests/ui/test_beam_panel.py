"""The panel of beams is there after a beam search only, and draws when somebody looks."""

import csv
import io
from typing import Any

import gradio as gr
import pytest

from gpt2lab.beam_tree import STEPS_SHOWN, BeamTree, snippet, table
from gpt2lab.beams import beam_tree
from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2
from gpt2lab.ui.beam_panel import ABSENT, BEAM_PICTURE, View, build_beam_panel
from gpt2lab.ui.downloads import contents
from gpt2lab.ui.theme import STYLES


@pytest.fixture(scope="module")
def tree(random_gpt2: Gpt2) -> BeamTree:
    decoding = Decoding(strategy="beam", num_beams=2, max_new_tokens=24, min_new_tokens=24)
    return beam_tree(random_gpt2, "Today", decoding)


@pytest.fixture(scope="module")
def page(random_gpt2: Gpt2) -> gr.Blocks:
    with gr.Blocks() as page:
        build_beam_panel(gr.State(None), lambda name: random_gpt2)
    return page


def function(page: gr.Blocks, name: str) -> Any:
    (found,) = [one.fn for one in page.fns.values() if one.fn and one.fn.__name__ == name]
    return found


def title(figure: Any) -> str:
    return figure.axes[0].get_title(loc="left")


def skipped(value: Any) -> bool:
    return value == gr.skip()


def test_nothing_is_public_and_what_draws_waits_in_the_models_queue(page: gr.Blocks) -> None:
    assert {one.api_visibility for one in page.fns.values()} == {"private"}
    drawing = [
        one for one in page.fns.values() if one.fn and one.fn.__name__ in {"draw", "replaced"}
    ]
    assert len(drawing) == 2
    assert {one.concurrency_id for one in drawing} == {"model"}


def test_the_panel_is_hidden_and_closed_at_first(page: gr.Blocks) -> None:
    (panel,) = [one for one in page.blocks.values() if isinstance(one, gr.Accordion)]
    assert panel.elem_classes == ABSENT
    assert f".{ABSENT[0]} {{ display: none" in "".join(one.read_text() for one in STYLES)
    assert not panel.open


def test_a_closed_panel_appears_without_drawing(page: gr.Blocks, tree: BeamTree) -> None:
    panel, first, *drawn = function(page, "replaced")(False, tree, False)
    assert panel["elem_classes"] == []
    assert first["visible"]
    assert (first["value"], first["maximum"]) == (0, len(tree.steps) - STEPS_SHOWN)
    assert drawn == [None, None, "", None]


def test_an_open_panel_follows_the_search_and_goes_with_it(
    page: gr.Blocks, tree: BeamTree, random_gpt2: Gpt2
) -> None:
    replaced = function(page, "replaced")
    _, _, picture, rows, code, view = replaced(True, tree, True)
    assert f"steps 0 to {STEPS_SHOWN - 1} of {len(tree.steps)}" in title(picture)
    assert len(rows["data"]) == len(table(tree).rows)
    assert code == snippet(random_gpt2, tree.prompt, tree.decoding)
    assert (view.tree, view.first, view.dark) == (tree, 0, True)
    panel, first, *drawn = replaced(True, None, True)
    assert panel["elem_classes"] == ABSENT
    assert not first["visible"]
    assert drawn == [None, None, "", None]


def test_nothing_is_drawn_twice(page: gr.Blocks, tree: BeamTree) -> None:
    draw = function(page, "draw")
    view = View(tree, 0, False)
    assert all(map(skipped, draw(False, tree, 0, view)))
    picture, rows, code, new = draw(False, tree, 3, view)
    assert "steps 3 to 22" in title(picture)
    assert skipped(rows)
    assert skipped(code)
    assert (new.tree, new.first) == (tree, 3)
    assert draw(False, None, 0, view) == [None, None, "", None]


def test_steps_that_are_not_there_are_refused_in_a_sentence(
    page: gr.Blocks, tree: BeamTree
) -> None:
    with pytest.raises(gr.Error, match="first"):
        function(page, "draw")(False, tree, len(tree.steps), None)


def test_what_is_taken_along_is_what_is_shown(tree: BeamTree) -> None:
    view = View(tree, 4, True)
    rows = list(csv.reader(io.StringIO(contents(BEAM_PICTURE, view, "csv").decode(), newline="")))
    assert tuple(rows[0]) == table(tree).headers
    assert rows[1:] == [[str(cell) for cell in row] for row in table(tree).rows]
    assert contents(BEAM_PICTURE, view, "png").startswith(b"\x89PNG")
    assert "steps 4 to 23" in title(BEAM_PICTURE.figure(view))
