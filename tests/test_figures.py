"""Figures show any token as text, in the colours of the page's mode, without pyplot."""

import itertools

import pytest
from matplotlib.colors import to_hex
from prompts import HOSTILE

from gpt2lab.figures import (
    DARK,
    LIGHT,
    LONGEST_LABEL,
    bars,
    label,
    new_figure,
    style,
    token_ticks,
)


@pytest.mark.parametrize(
    ("shown", "drawn"),
    [
        ("␣we", "␣we"),
        ("↵", "↵"),
        ("⇥", "⇥"),
        ("$x_1$", "$x_1$"),
        ("<script>", "<script>"),
        ("é", "é"),
        ("مر", "مر"),
        ("你好", "‹U+4F60›‹U+597D›"),
        ("🎉", "‹U+1F389›"),
        ("x" * LONGEST_LABEL, "x" * LONGEST_LABEL),
        ("x" * (LONGEST_LABEL + 1), "x" * (LONGEST_LABEL - 1) + "…"),
        ("", ""),
    ],
)
def test_labels_are_short_and_drawable(shown, drawn):
    assert label(shown) == drawn


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_label_is_longer_than_it_says(text):
    assert len(label(text)) <= LONGEST_LABEL


@pytest.mark.parametrize(("dark", "colours"), [(False, LIGHT), (True, DARK)])
def test_colours_follow_the_mode(dark, colours):
    figure = new_figure(3, 2, dark)
    axes = figure.subplots()
    axes.set_title("title")
    style(axes, dark)
    assert to_hex(figure.get_facecolor()) == to_hex(axes.get_facecolor()) == colours.paper
    assert to_hex(axes.title.get_color()) == colours.ink
    assert figure.canvas.manager is None


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize(
    ("count", "most", "drawn"), [(3, 8, 3), (8, 8, 8), (9, 8, 5), (100, 16, 15)]
)
def test_ticks_are_evenly_spread_and_numbered_where_some_are_left_out(which, count, most, drawn):
    axes = new_figure(3, 2, dark=False).subplots()
    token_ticks(axes, which, ["$a$"] * count, most)
    axis = axes.xaxis if which == "x" else axes.yaxis
    places = axis.get_ticklocs().tolist()
    assert len(places) == drawn <= most
    assert len({after - before for before, after in itertools.pairwise(places)}) == 1
    texts = axis.get_ticklabels()
    expected = [f"{int(place)} $a$" if count > most else "$a$" for place in places]
    assert [text.get_text() for text in texts] == expected
    assert not any(text.get_parse_math() for text in texts)


def test_bars_start_at_zero_and_read_from_the_top():
    axes = new_figure(3, 2, dark=False).subplots()
    bars(axes, ["a", "b", "c"], [0.5, 0.25, 0.0], dark=False)
    assert [patch.get_width() for patch in axes.patches] == [0.5, 0.25, 0.0]
    assert axes.get_xlim()[0] == 0
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]


def test_bars_of_nothing_but_zeros_can_be_drawn():
    axes = new_figure(3, 2, dark=False).subplots()
    bars(axes, ["a"], [0.0], dark=False)
    assert axes.get_xlim()[1] > 0
