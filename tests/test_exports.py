"""Text, JSON and picture of a run: complete, and valid whatever is in it."""

import io
import itertools
import json
import math
import time
import warnings
from dataclasses import asdict, replace

import pytest
import torch
import transformers
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from prompts import HOSTILE, PROMPTS

from gpt2lab.chips import LEFT, RIGHT, WIDTH, luminance, readable_on
from gpt2lab.decoding import Decoding
from gpt2lab.exports import MEASURES, aligned, as_json, as_text, scale_of, strip_figure
from gpt2lab.figures import COLORMAP
from gpt2lab.generation import generate
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.step import Alternative, Choice
from gpt2lab.tokens import decode, encode
from gpt2lab.transcript import Passage, Transcript, Writing

TEXTS = {**PROMPTS, **HOSTILE}


def written(gpt2: Gpt2, text: str, decoding: Decoding) -> Transcript:
    """A text and how the model goes on with it, the first sample active."""
    ids = tuple(encode(gpt2, text)) or (gpt2.tokenizer.bos_token_id,)
    transcript = Transcript().continued(Passage("you", ids, text))
    samples: dict[int, list] = {}
    for step in generate(gpt2, ids, decoding):
        samples.setdefault(step.sequence, []).append(step)
    for number, steps in sorted(samples.items()):
        new = tuple(step.id for step in steps)
        writing = Writing(gpt2.name, decoding, 0, 0, steps[-1].finish_reason, number)
        choices = tuple(step.choice for step in steps)
        passage = Passage("model", new, decode(gpt2, new), 0, len(ids), writing, choices)
        transcript = transcript.added(passage)
    return transcript.at(1)


def loaded(text: str) -> dict:
    """Parsed by the letter of the standard, which knows neither NaN nor Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text.encode(), parse_constant=refuse)


# --- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_text_is_whole_even_where_passages_share_a_character(random_gpt2, text):
    ids = encode(random_gpt2, text)
    for cut in range(len(ids) + 1):
        transcript = Transcript().continued(Passage("you", tuple(ids[:cut]), "one"))
        transcript = transcript.continued(Passage("model", tuple(ids[cut:]), "other"))
        assert as_text(random_gpt2, transcript) == text


def test_the_text_is_that_of_the_active_path(random_gpt2):
    one, two, three = (tuple(encode(random_gpt2, text)) for text in ("One two", " three", " four"))
    transcript = Transcript().continued(Passage("you", one, "")).continued(Passage("you", two, ""))
    branched = transcript.added(Passage("you", three, "", parent=0, at=1))
    assert as_text(random_gpt2, transcript) == "One two three"
    assert as_text(random_gpt2, branched) == "One four"
    assert as_text(random_gpt2, branched.at(None)) == as_text(random_gpt2, Transcript()) == ""


# --- JSON ----------------------------------------------------------------------------------------


def test_the_json_has_everything(gpt2):
    decoding = Decoding(
        seed=5, top_k=7, num_return_sequences=3, max_new_tokens=4, stop=("zz", "'\"")
    )
    transcript = written(gpt2, PROMPTS["emoji"], decoding).at(2)
    run = loaded(as_json(gpt2, transcript))
    assert run["model"] == {
        "name": gpt2.name,
        "source": gpt2.source,
        "revision": gpt2.revision,
        "dtype": "float32",
        "device": "cpu",
        "parameters": gpt2.parameters,
    }
    assert run["versions"]["torch"] == torch.__version__
    assert run["versions"]["transformers"] == transformers.__version__
    assert run["versions"]["python"].startswith("3.")
    assert run["text"] == as_text(gpt2, transcript)
    length = len(transcript.passages[0].ids)
    assert run["path"] == [{"passage": 0, "length": length}, {"passage": 2, "length": 4}]
    assert run["samples"] == [1, 2, 3]
    assert sorted(one["number"] for one in run["passages"]) == [0, 1, 2, 3]
    for record in run["passages"]:
        passage = transcript.passages[record["number"]]
        assert record["author"] == passage.author
        assert record["text"] == passage.text
        assert (record["parent"], record["at"]) == (passage.parent, passage.at)
        assert record["ids"] == list(passage.ids)
        assert record["tokens"] == gpt2.tokenizer.convert_ids_to_tokens(passage.ids)
        assert len(record["choices"]) == len(passage.ids)
        if passage.writing is None:
            assert record["writing"] is None
            assert record["choices"] == [None] * len(passage.ids)
            continue
        writing = record["writing"]
        assert writing["model"] == gpt2.name
        assert writing["decoding"] == {**asdict(decoding), "stop": ["zz", "'\""]}
        assert writing["generate_arguments"] == decoding.generate_arguments()
        for name in ("dropped", "forced", "finish_reason", "sample"):
            assert writing[name] == getattr(passage.writing, name)
        for one, choice in zip(record["choices"], passage.choices, strict=True):
            for name in ("id", "logprob", "probability", "rank", "entropy_bits"):
                assert one[name] == getattr(choice, name)
            assert one["token"] == gpt2.tokenizer.convert_ids_to_tokens(choice.id)
            for listed, alternative in zip(one["alternatives"], choice.alternatives, strict=True):
                token = gpt2.tokenizer.convert_ids_to_tokens(alternative.id)
                assert listed == {**asdict(alternative), "token": token}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_json_is_valid_whatever_is_written(random_gpt2, text):
    stop = (text[:90],) if text else ()
    writing = Writing(random_gpt2.name, Decoding(stop=stop))
    passage = Passage("model", tuple(encode(random_gpt2, text)), text, writing=writing)
    run = loaded(as_json(random_gpt2, Transcript().continued(passage)))
    assert run["text"] == run["passages"][0]["text"] == text
    assert run["passages"][0]["writing"]["decoding"]["stop"] == list(stop)


def test_numbers_that_json_does_not_know_are_null(random_gpt2):
    nan, infinite = float("nan"), float("-inf")
    choice = Choice(464, infinite, nan, 3, nan, (Alternative(464, math.inf, 0.5),))
    passage = Passage("model", (464,), "The", choices=(choice,))
    run = loaded(as_json(random_gpt2, Transcript().continued(passage)))
    (one,) = run["passages"][0]["choices"]
    assert (one["logprob"], one["probability"], one["entropy_bits"]) == (None, None, None)
    assert one["rank"] == 3
    assert one["alternatives"][0]["raw_probability"] is None
    assert one["alternatives"][0]["probability"] == 0.5


def test_half_a_character_in_a_name_and_ids_of_another_model_are_json_too(random_gpt2):
    named = replace(random_gpt2, name="caf\udce9")
    transcript = Transcript().continued(Passage("you", (464, 60_000), "The?"))
    run = loaded(as_json(named, transcript))
    assert run["model"]["name"] == "caf\udce9"
    assert run["passages"][0]["tokens"] == ["The", None]


def test_an_empty_transcript_is_an_empty_run(random_gpt2):
    run = loaded(as_json(random_gpt2, Transcript()))
    assert (run["path"], run["samples"], run["passages"], run["text"]) == ([], [], [], "")


def test_only_the_active_path_and_the_last_run_are_taken_along(random_gpt2):
    transcript = written(random_gpt2, "Today", Decoding(max_new_tokens=3))
    again = transcript.passages[1]
    transcript = transcript.added(replace(again, at=1)).continued(Passage("you", (464,), "The"))
    run = loaded(as_json(random_gpt2, transcript))
    assert [one["number"] for one in run["passages"]] == [0, 2, 3]
    assert run["samples"] == [2]


def test_numbers_are_missing_at_the_front(random_gpt2):
    choice = Choice(464, -1.0, 0.5, 1, 2.0, ())
    ids = (464, 464, 464)
    assert aligned(Passage("you", ids, "", choices=(choice,))) == (None, None, choice)
    assert aligned(Passage("you", ids, "", choices=(None, choice, choice)))[0] is None
    assert aligned(Passage("you", ids, "")) == (None, None, None)


# --- the strip -----------------------------------------------------------------------------------


def boxes(drawing: Figure) -> list[FancyBboxPatch]:
    return [one for one in drawing.axes[0].patches if isinstance(one, FancyBboxPatch)]


def said(drawing: Figure) -> list[str]:
    return [text.get_text() for text in drawing.axes[0].texts]


def answer_of(gpt2: Gpt2, count: int, text: str = "Good 👩‍🚀 morning") -> Passage:
    decoding = Decoding(max_new_tokens=count, top_k=0, temperature=2.0)
    return written(gpt2, text, decoding).passages[1]


def long_answer(gpt2: Gpt2, count: int) -> Passage:
    """So many tokens, with the numbers of a few real ones over and over."""
    few = answer_of(gpt2, 60)
    times = -(-count // len(few.ids))
    return replace(few, ids=(few.ids * times)[:count], choices=(few.choices * times)[:count])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("by", MEASURES)
def test_each_token_has_the_colour_of_its_number_and_the_number_below(random_gpt2, by, dark):
    passage = answer_of(random_gpt2, 60)
    drawing = strip_figure(random_gpt2, passage, by, dark)
    scale = scale_of(random_gpt2, by)
    expected = {
        "probability": lambda choice: f"{math.exp(choice.logprob):.2g}".replace("-", "−"),
        "processed": lambda choice: f"{choice.probability:.2g}".replace("-", "−"),
        "rank": lambda choice: f"{choice.rank:,}",
        "entropy": lambda choice: f"{choice.entropy_bits:.1f}",
    }[by]
    drawn = boxes(drawing)
    assert len(drawn) == len(passage.ids) == 60
    below = {round(text.get_position()[0], 6): set() for text in drawing.axes[0].texts}
    for text in drawing.axes[0].texts:
        below[round(text.get_position()[0], 6)].add(text.get_text())
    for box, choice in zip(drawn, passage.choices, strict=True):
        colour = colormaps[COLORMAP](scale.share(MEASURES[by](choice)))
        assert box.get_facecolor() == pytest.approx(colour)
        assert expected(choice) in below[round(box.get_x() + box.get_width() / 2, 6)]
    assert scale.title in said(drawing)
    assert {text for _, text in scale.ticks} <= set(said(drawing))


def test_what_was_expected_is_bright_and_what_surprises_is_dark(random_gpt2):
    sure = Choice(464, 0.0, 1.0, 1, 0.0, ())
    unsure = Choice(464, math.log(0.05), 0.05, 40, 5.0, ())
    surprise = Choice(464, -30.0, 0.0, 50_257, 15.6, ())
    for by, number in MEASURES.items():
        scale = scale_of(random_gpt2, by)
        shares = [scale.share(number(one)) for one in (sure, unsure, surprise)]
        assert shares[0] == 1
        assert 0 < shares[1] < 1
        assert shares[2] == pytest.approx(0, abs=1e-12)
        assert scale.share(math.nan) is None
        places = [place for place, _ in scale.ticks]
        assert places == sorted(places)
        assert (min(places), max(places)) == pytest.approx((0, 1), abs=1e-12)


def test_the_ticks_stand_where_their_numbers_are(random_gpt2):
    for name, text, choice in (
        ("probability", "0.1", Choice(0, math.log(0.1), 0.3, 2, 1.0, ())),
        ("processed", "0.01", Choice(0, -1.0, 0.01, 2, 1.0, ())),
        ("rank", "100", Choice(0, -1.0, 0.3, 100, 1.0, ())),
        ("entropy", "4", Choice(0, -1.0, 0.3, 2, 4.0, ())),
    ):
        scale = scale_of(random_gpt2, name)
        (place,) = (place for place, tick in scale.ticks if tick == text)
        assert scale.share(MEASURES[name](choice)) == pytest.approx(place)


def test_the_text_can_be_read_on_every_colour():
    for step in range(257):
        colour = to_rgb(colormaps[COLORMAP](step / 256))
        ink = luminance(to_rgb(readable_on(colour)))
        bright, dim = sorted((ink, luminance(colour)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5


def test_luminance_is_that_of_wcag():
    assert luminance((1, 1, 1)) == pytest.approx(1)
    assert luminance((0, 0, 0)) == 0
    assert luminance((0.5, 0.5, 0.5)) == pytest.approx(0.2140, abs=1e-4)
    assert luminance((1, 0, 0)) == pytest.approx(0.2126)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_tokens_without_numbers_are_grey_and_every_text_draws(random_gpt2, text):
    ids = tuple(encode(random_gpt2, text))
    choice = Choice(0, -1.0, 0.3, 2, 1.0, ())
    passage = Passage("you", ids, text, choices=(choice,) * max(0, len(ids) - 1))
    drawing = strip_figure(random_gpt2, passage, "rank")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing.savefig(io.BytesIO(), format="png")
    assert len(boxes(drawing)) == len(ids)
    if ids:
        colours = [box.get_facecolor() for box in boxes(drawing)]
        red, green, blue, _ = colours[0]
        assert max(red, green, blue) - min(red, green, blue) < 0.05
        expected = colormaps[COLORMAP](scale_of(random_gpt2, "rank").share(choice.rank))
        assert all(colour == pytest.approx(expected) for colour in colours[1:])
        assert said(drawing)[-1].endswith("grey: no number")
        assert "–" in said(drawing)


def test_bytes_of_a_character_stand_together_under_its_name(random_gpt2):
    passage = Passage("you", tuple(encode(random_gpt2, "a 🎉 b")), "a 🎉 b")
    drawing = strip_figure(random_gpt2, passage)
    assert "U+1F389" in said(drawing)
    assert {"␣ f0 9f", "8e", "89"} <= set(said(drawing))
    first, *pieces, _ = boxes(drawing)
    assert len(pieces) == 3
    for left, right in itertools.pairwise(pieces):
        assert left.get_x() + left.get_width() == pytest.approx(right.get_x())
    assert first.get_x() + first.get_width() < pieces[0].get_x()


@pytest.mark.parametrize("count", [1, 60, 1000])
def test_long_answers_wrap_within_the_paper(random_gpt2, count):
    passage = long_answer(random_gpt2, count)
    began = time.process_time()
    drawing = strip_figure(random_gpt2, passage)
    picture = io.BytesIO()
    drawing.savefig(picture, format="png")
    seconds = time.process_time() - began
    assert len(boxes(drawing)) == count
    renderer = FigureCanvasAgg(drawing).get_renderer()
    for box in boxes(drawing):
        assert box.get_x() >= LEFT
        assert box.get_x() + box.get_width() <= RIGHT + 1e-9
    # Measuring a text takes longer than drawing it, so of a long strip only the first rows.
    for text in filter(Text.get_text, drawing.axes[0].texts[:200]):
        extent = text.get_window_extent(renderer).transformed(drawing.dpi_scale_trans.inverted())
        assert 0 <= extent.x0 < extent.x1 <= WIDTH, text.get_text()
    # About 4 seconds of one slow core for 1,000; the bound finds work that grows with n².
    assert seconds < 20


@pytest.mark.parametrize("by", MEASURES)
def test_the_legend_fits_the_paper(random_gpt2, by):
    """At its longest: joined bytes and tokens without numbers."""
    passage = Passage("you", tuple(encode(random_gpt2, "a 🎉 b")), "a 🎉 b")
    drawing = strip_figure(random_gpt2, passage, by)
    drawing.savefig(io.BytesIO(), format="png")
    legend = drawing.axes[0].texts[-1]
    extent = legend.get_window_extent(FigureCanvasAgg(drawing).get_renderer())
    assert "joined" in legend.get_text()
    assert "grey" in legend.get_text()
    assert extent.x1 / drawing.dpi <= RIGHT + 0.1


def test_the_facts_are_the_sums_of_the_numbers(random_gpt2):
    passage = answer_of(random_gpt2, 12)
    total = sum(choice.logprob for choice in passage.choices)
    facts = f"random · 12 tokens · log-probability {total:,.2f} nats, {total / 12:.2f} a token"
    assert facts in said(strip_figure(random_gpt2, passage))
    assert "you · 1 token" in said(strip_figure(random_gpt2, Passage("you", (464,), "The")))


def test_what_cannot_be_coloured_is_refused(random_gpt2):
    with pytest.raises(Refusal, match=r"coloured by 'mood', but .*'probability'"):
        strip_figure(random_gpt2, Passage("you", (464,), "The"), "mood")
    with pytest.raises(Refusal, match="does not have all tokens of this passage"):
        strip_figure(random_gpt2, Passage("you", (464, 60_000), "The?"))
