"""The tree of branches: every passage once, and depth counts choices."""

import json
from dataclasses import replace
from typing import Any

from gpt2lab.decoding import Decoding
from gpt2lab.models import load_model
from gpt2lab.transcript import Passage, Transcript, Writing
from gpt2lab.ui.branches import build_branches, tree_lines

WRITING = Writing("pocket", Decoding())


def said(text: str, length: int = 4) -> Passage:
    return Passage("model", tuple(range(length)), text, writing=WRITING)


def tree(transcript: Transcript) -> str:
    return tree_lines(transcript, load_model("pocket", device="cpu"))


def lines(transcript: Transcript) -> list[dict[str, Any]]:
    return json.loads(tree(transcript))


def chain() -> Transcript:
    return Transcript().continued(Passage("you", (1, 2), "one")).continued(said("two"))


def depths(transcript: Transcript) -> list[tuple[int, int]]:
    return [(line["passage"], line["depth"]) for line in lines(transcript)]


def test_a_text_without_branches_has_no_tree() -> None:
    assert tree(Transcript()) == "[]"
    assert tree(chain().continued(said("three"))) == "[]"


def test_two_answers_are_one_step_further_in_and_what_follows_stays_there() -> None:
    transcript = chain().continued(said("again"), behind=0).continued(said("and on"))
    assert depths(transcript) == [(0, 0), (1, 1), (2, 1), (3, 1)]


def test_each_choice_is_a_step() -> None:
    transcript = chain().continued(said("again"), behind=0)
    transcript = transcript.continued(said("a"), behind=1).continued(said("b"), behind=1)
    assert depths(transcript) == [(0, 0), (1, 1), (3, 2), (4, 2), (2, 1)]


def test_two_beginnings_stand_below_each_other() -> None:
    transcript = chain().added(Passage("you", (9,), "another"))
    assert depths(transcript) == [(0, 0), (1, 0), (2, 0)]


def test_leaving_a_passage_in_the_middle_is_a_branch() -> None:
    forced = replace(WRITING, forced=1)
    branch = Passage("model", (262, 5822), " the king", parent=1, at=3, writing=forced)
    transcript = chain().added(branch)
    assert depths(transcript) == [(0, 0), (1, 0), (2, 1)]
    *_, last = lines(transcript)
    assert (last["behind"], last["forced"]) == (3, "␣the")
    first, second, _ = lines(transcript)
    assert first["behind"] is None
    assert second["forced"] is None


def test_the_way_to_the_active_passage_is_marked() -> None:
    transcript = chain().continued(said("again"), behind=0).continued(said("and on")).at(2)
    marks = [(line["passage"], line["path"], line["active"]) for line in lines(transcript)]
    assert marks == [(0, True, False), (1, False, False), (2, True, True), (3, False, False)]
    assert not any(line["path"] for line in lines(transcript.at(None)))


def test_a_long_text_is_cut_and_stands_in_one_line() -> None:
    transcript = chain().continued(said("a\n\n b  " + "word " * 30), behind=0)
    *_, last = lines(transcript)
    assert last["text"].startswith("a b word")
    assert len(last["text"]) == 41
    assert last["text"].endswith("…")


def test_three_hundred_passages_in_a_row_are_no_trouble() -> None:
    transcript = chain().continued(said("again"), behind=0)
    for _ in range(297):
        transcript = transcript.continued(said("on"))
    assert {depth for _, depth in depths(transcript)} == {0, 1}
    assert len(depths(transcript)) == 300


def test_no_line_holds_a_tag() -> None:
    transcript = chain().continued(said("<script>alert(1)</script>"), behind=0)
    assert "<" not in tree(transcript)
    assert lines(transcript)[-1]["text"] == "<script>alert(1)</script>"


def test_the_component_has_one_template_for_every_text() -> None:
    component = build_branches()
    assert component.elem_id == "branches"
    assert "{" not in component.html_template
    assert "innerHTML" not in component.js_on_load
