"""A conversation is one text: what is said stands in it once, with the template around it."""

import doctest

import pytest
from prompts import HOSTILE

from gpt2lab import chat
from gpt2lab.chat import TEMPLATE, checked_template, line, reworded, stop_string, without_stop
from gpt2lab.decoding import Decoding
from gpt2lab.refusal import Refusal

TEMPLATES = {
    "usual": TEMPLATE,
    "nothing behind": "Q: {text}",
    "no blank": "[me]{text}[you]",
    "line before": "\nQ: {text}\nA:",
    "two lines before": "\n\n### You\n{text}\n\n### It\n",
    "three lines": "Question\nfrom me: {text} \nanswer:",
    "braces": "{0} {text} {}",
    "blank before": "  > {text}\n< ",
    "arabic": "أنا: {text}\nهو:",
    "tag": "<b>me</b> {text}\n<b>it</b>",
}


def test_the_examples_in_the_module_are_true():
    assert doctest.testmod(chat).failed == 0
    assert doctest.testmod(chat).attempted >= 4


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("text", ["Hello", *HOSTILE.values(), "{text}", "User:"])
def test_a_conversation_holds_each_line_once_and_in_its_place(template, text):
    """Whatever of the next line's beginning the model has already written."""
    opening, _, closing = template.partition("{text}")
    stop = stop_string(template)
    first = line(template, text, before="")
    assert first == opening + text + closing
    for written in range(len(stop) + 1):
        before = f"{first} an answer.{stop[:written]}"
        said = before + line(template, text, before)
        # One line break or more, and the words of the template once.
        words = opening.lstrip("\n")
        beginning, found, rest = said.removeprefix(f"{first} an answer.").partition(words)
        assert found
        assert beginning
        assert beginning.strip("\n") == ""
        assert rest == text + closing


def test_what_the_model_wrote_of_the_beginning_is_not_written_again():
    before = "User: Hello\nGPT-2: Hi."
    whole = f"{before}\nUser: Why?\nGPT-2:"
    for written in range(len("\nUser: ") + 1):
        so_far = before + "\nUser: "[:written]
        assert so_far + line(TEMPLATE, "Why?", so_far) == whole
    # Something that only looks like it, in the middle of a line, is no beginning.
    assert line(TEMPLATE, "Why?", "GPT-2: I am a User:") == "\nUser: Why?\nGPT-2:"


def test_an_answer_ends_where_your_next_line_begins():
    assert stop_string(TEMPLATE) == "\nUser:"
    assert stop_string("\n\n Q : {text} A") == "\n Q :"
    assert without_stop(" I am fine.\nUser:", TEMPLATE) == "I am fine."
    # A token may bring more than the stop string's last character.
    assert without_stop(' Fine.\nUser:"', TEMPLATE) == "Fine."
    assert without_stop("\nUser:", TEMPLATE) == ""
    assert without_stop(" Two\nlines \n", TEMPLATE) == "Two\nlines"
    assert without_stop(" The word User:", TEMPLATE) == "The word User:"


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_stop_string_is_one_that_generation_accepts(template):
    assert Decoding(stop=(stop_string(template),)).stop == (stop_string(template),)
    answer = f"Yes.{stop_string(template)}"
    assert without_stop(answer, template) == "Yes."


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("old", ["Hello", "User", "GPT-2", "me", "A", *HOSTILE.values()])
def test_other_words_leave_the_template_as_it_is(template, old):
    for before in ("", "Hello.", f"Hello.{stop_string(template)}"):
        spelled = line(template, old, before)
        if template.endswith("{text}") and old in template:
            continue  # Which of the two it is cannot be told.
        assert reworded(spelled, old, "NEW", template) == line(template, "NEW", before)


@pytest.mark.parametrize("end", ["", "\nUser:", '\nUser:"', "\n"])
def test_an_answer_with_other_words_still_ends_as_it_did(end):
    spelled = f" Fine, thanks.{end}"
    shown = without_stop(spelled, TEMPLATE)
    assert reworded(spelled, shown, "Not well.", TEMPLATE) == f" Not well.{end}"
    assert reworded(end, "", "Not well.", TEMPLATE) == f"Not well.{end}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "The chat template must be a string, not NoneType."),
        (["{text}"], "must be a string, not list"),
        ("User:", "must contain {text} once"),
        ("", "must contain {text} once"),
        ("a {text} {text}", "must contain {text} once"),
        ("a { text }", "must contain {text} once"),
        ("{text}", "needs a word before {text}"),
        (" \n\t{text}\nGPT-2:", "needs a word before {text}"),
        ("User\0: {text}", "null character at position 4"),
        ("User\ud800: {text}", "half of a character"),
        ("x" * 501 + "{text}", "has 507 characters; at most 500"),
        ("x" * 200_000, "has 200,000 characters"),
    ],
)
def test_a_template_that_cannot_be_used(template, said):
    for use in (
        checked_template,
        stop_string,
        lambda template: line(template, "Hello", ""),
        lambda template: without_stop("Hello", template),
    ):
        with pytest.raises(Refusal) as caught:
            use(template)
        assert said in str(caught.value)
        assert str(caught.value).count(".") - str(caught.value).count(". ") >= 1
        assert "\n" not in str(caught.value)
