"""The strip above the tabs has the tokens of the text, and nothing that the page could execute."""

import json

from gpt2lab.models import Gpt2
from gpt2lab.tokens import describe, encode
from gpt2lab.ui.session import Subject
from gpt2lab.ui.strip_above import strip_lines

TEXT = "<script>alert(1)</script> 👋🏽 مرحبا\n"


def test_the_lines_are_the_tokens_behind_the_position(random_gpt2: Gpt2) -> None:
    ids = tuple(encode(random_gpt2, TEXT))
    head, *lines = strip_lines(random_gpt2, Subject(ids, len(ids)), -1).splitlines()
    assert json.loads(head) == {"position": -1}
    tokens = [json.loads(line) for line in lines]
    assert [token[2] for token in tokens] == list(ids)
    assert [token[1] for token in tokens] == list(range(len(ids)))
    assert tuple(token[3] for token in tokens) == describe(random_gpt2, list(ids)).shown
    assert b"".join(bytes.fromhex(token[5]) for token in tokens).decode() == TEXT
    # gradio warns of a value with this in it; JSON can say it in another way.
    assert "<script" not in strip_lines(random_gpt2, Subject(ids, len(ids)), 0)
