"""The picture and the table show the whole search; the code gives the same numbers."""

import contextlib
import io
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch
from prompts import HOSTILE

from gpt2lab.beam_tree import LONGEST_TOKEN, STEPS_SHOWN, BeamTree, figure, snippet, table
from gpt2lab.beams import beam_tree
from gpt2lab.decoding import Decoding
from gpt2lab.figures import DARK, LIGHT
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import encode, prompt_ids

ROOT = Path(__file__).parent.parent
EXACT = 1e-5


@pytest.fixture(scope="module")
def tree(random_gpt2) -> BeamTree:
    """A search of 24 steps in which beams also end before the last."""
    decoding = Decoding(
        strategy="beam", num_beams=4, num_return_sequences=3, max_new_tokens=24, stop=("C",)
    )
    tree = beam_tree(random_gpt2, "Today we can go to", decoding)
    assert len(tree.steps) > STEPS_SHOWN
    assert any(beam.ended for beams in tree.steps[:-1] for beam in beams)
    return tree


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def edges(axes) -> list[PathPatch]:
    return [patch for patch in axes.patches if isinstance(patch, PathPatch)]


def test_every_beam_of_the_steps_shown_is_there_with_its_score(tree):
    (axes,) = figure(tree, first=2, last=6).axes
    drawn = texts(axes)
    beams = [beam for beams in tree.steps[2:7] for beam in beams]
    assert len(drawn) == 2 * len(beams)
    for beam, token, note in zip(beams, drawn[::2], drawn[1::2], strict=True):
        assert token.removesuffix("…") in beam.shown
        assert len(token) <= LONGEST_TOKEN
        expected = f"{beam.ended} {beam.final_score:.3f}" if beam.ended else f"{beam.score:.2f}"
        assert note.endswith(expected)


def test_an_edge_leads_from_every_beam_to_its_parent(tree):
    (axes,) = figure(tree, first=3, last=5).axes
    positions = {}
    beams = [(step, place) for step in (3, 4, 5) for place in range(len(tree.steps[step]))]
    for (step, place), text in zip(beams, axes.texts[::2], strict=True):
        positions[step, place] = text.get_position()
        assert text.get_position()[0] == step
    assert len(set(positions.values())) == len(beams)
    lines = [tuple(map(tuple, edge.get_path().vertices[[0, -1]])) for edge in edges(axes)]
    # Edges come in from the step before the first, and lead out to the step behind the last.
    assert len(lines) == sum(len(tree.steps[step]) for step in (3, 4, 5, 6))
    for step in (4, 5):
        for place, beam in enumerate(tree.steps[step]):
            assert (positions[step - 1, beam.parent], positions[step, place]) in lines


@pytest.mark.parametrize(("dark", "colours"), [(False, LIGHT), (True, DARK)])
def test_the_winners_way_alone_has_the_accent_colour(tree, dark, colours):
    (axes,) = figure(tree, dark, first=0, last=9).axes
    accent = [edge for edge in edges(axes) if to_hex(edge.get_edgecolor()) == colours.accent]
    winners = [
        place for beams in tree.steps[:11] for place, beam in enumerate(beams) if beam.winner
    ]
    assert winners == list(tree.hypotheses[0].path[:11])
    assert len(accent) == len(winners)
    assert to_hex(axes.title.get_color()) == to_hex(axes._left_title.get_color()) == colours.ink


def test_a_long_search_shows_a_window_and_says_so(tree):
    count = len(tree.steps)
    (axes,) = figure(tree).axes
    assert f"steps 0 to {STEPS_SHOWN - 1} of {count};" in axes.get_title(loc="left")
    assert axes.get_xticks().tolist() == list(range(STEPS_SHOWN))
    (axes,) = figure(tree, first=count - 2).axes
    assert f"steps {count - 2} to {count - 1} of {count};" in axes.get_title(loc="left")
    (axes,) = figure(tree, first=0, last=count - 1).axes
    assert f"all {count} steps" in axes.get_title(loc="left")
    best = tree.hypotheses[0]
    score = f"{best.total:.2f} / {len(best.ids)} tokens = {best.score:.4f}"
    assert axes.get_title(loc="left").endswith(score)
    first, *_ = [text for text in texts(axes) if text.startswith("1. ")]
    assert first == f"1. {best.finish_reason} {best.score:.3f}"
    for wrong in ({"first": count}, {"first": -1}, {"first": 5, "last": 4}):
        with pytest.raises(Refusal):
            figure(tree, **wrong)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_token_can_be_drawn(random_gpt2, text):
    decoding = Decoding(strategy="beam", num_beams=3, max_new_tokens=3)
    tree = beam_tree(random_gpt2, text, decoding)
    image = io.BytesIO()
    figure(tree).savefig(image, format="svg")
    assert image.getvalue().startswith(b"<?xml")


def test_the_table_has_all_beams_with_all_digits(tree):
    shown = table(tree)
    rows = [dict(zip(shown.headers, row, strict=True)) for row in shown.rows]
    assert len(rows) == sum(map(len, tree.steps))
    for row in rows:
        beam = tree.steps[row["step"]][row["place"]]
        assert (row["id"], row["token"]) == (beam.id, beam.shown)
        assert (row["score"], row["log-probability"]) == (beam.score, beam.logprob)
        assert row["parent's place"] == ("" if beam.parent is None else beam.parent)
        assert row["beam"] == ("" if beam.row is None else beam.row)
        assert (row["survived"], row["winner's way"]) == (beam.survived, beam.winner)
        assert row["ended"] == (beam.ended or "")
    returned = {row["returned as"]: row["final score"] for row in rows if row["returned as"]}
    assert returned == {number: one.score for number, one in enumerate(tree.hypotheses, 1)}


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 4, "num_return_sequences": 2},
        {"num_beams": 3, "num_return_sequences": 3, "stop": ["e"], "repetition_penalty": 1.2},
    ],
    ids=str,
)
def test_the_code_gives_the_same_numbers(gpt2, settings, monkeypatch):
    monkeypatch.chdir(ROOT)
    decoding = Decoding(strategy="beam", max_new_tokens=6, **settings)
    ids = prompt_ids(gpt2, HOSTILE["triple quotes"])
    tree = beam_tree(gpt2, ids, decoding)
    code = snippet(gpt2, ids, decoding)
    assert "import gpt2lab" not in code
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 16
    names, printed = {"__name__": "__main__"}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "snippet", "exec"), names)
    output, scores = names["output"], names["scores"]
    assert output.sequences_scores.tolist() == pytest.approx(
        [one.score for one in tree.hypotheses], abs=EXACT
    )
    for number, one in enumerate(tree.hypotheses):
        length = len(one.ids)
        assert output.sequences[number, len(ids) : len(ids) + length].tolist() == list(one.ids)
        assert output.beam_indices[number, :length].tolist() == list(one.beam_indices)
        way = tree.way(length - 1, one.path[-1])
        assert scores[number, :length].tolist() == pytest.approx(
            [beam.logprob for beam in way], abs=EXACT
        )
    lines = printed.getvalue().splitlines()
    assert len(lines) == sum(1 + len(one.ids) for one in tree.hypotheses)
    assert float(lines[0].split()[0]) == pytest.approx(tree.hypotheses[0].score, abs=1e-4)


def test_a_beams_way_leads_back_to_the_prompt(random_gpt2, tree):
    assert tree.prompt == tuple(encode(random_gpt2, "Today we can go to"))
    assert tree.way(0, 1) == (tree.steps[0][1],)
    for place, beam in enumerate(tree.steps[7]):
        way = tree.way(7, place)
        assert len(way) == 8
        assert way[-1] is beam
        assert sum(one.logprob for one in way) == pytest.approx(beam.score, abs=1e-4)
