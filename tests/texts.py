"""Texts of many kinds, each of which some tokenizer, table or figure has stumbled over."""

import pytest
from prompts import HOSTILE


def long_text() -> str:
    """A text of exactly 1,024 of GPT-2's tokens: 64 sentences of 16, no two of them alike."""
    return "".join(
        f" On day {day} the old king walked to the bridge and counted {day + 100} large ships."
        for day in range(1, 65)
    )


TEXTS: dict[str, str] = {
    # English
    "ordinary": "Today we can go to",
    "one token": "The",
    "sentence": "The quick brown fox jumps over the lazy dog.",
    "contractions": "I'm sure they'd've said it wasn't what we'll do; it's John's, you're told.",
    "capitals": "HELLO World hELLO wORLD McDonald NASA iPhone",
    "numbers": "3.14159 2026-11-23 1,000,000 0x1F +49 89 1234567 1e-5 12345678901234567890",
    "punctuation": "Wait... what?! (Really?) -- \"Yes,\" she said; 'no'... [sic] {etc.} <ok>",
    "repeats": "to be or not to be or not to be or",
    "rare words": "antidisestablishmentarianism floccinaucinihilipilification",
    "misspelled": "teh qiuck borwn fxo jmups",
    "typography": "“Quoted” — an em‑dash… and ‘single’ ones, 50 € or £40 ½ №5 ™",
    "e-mail and address": "write to a.b+c@example.org or https://example.org/a?b=1&c=%20#d",
    # code
    "python": "def f(x):\n\treturn x**2  # square\n\nprint(f(3))\n",
    "indented": "class A:\n    def b(self):\n        if True:\n            return [i for i in ()]",
    "json": '{"a": [1, 2.5, null], "b": {"c": "\\u00e9\\n"}}',
    "html": "<script>alert('x')</script><img src=x onerror=y>&amp;",
    "formulas": "$x_1$ and $\\frac{1}{2}$ costs $5, \\$6 and $",
    "backslashes": "C:\\new\\table \\N{BULLET} \\x41 \\",
    "braces": "{0} {ids} {{}} %s %(x)s",
    "quotation marks": '""" and \'\'\' end """ it\'s "fine"',
    # emoji
    "skin tones": "👍🏽👋🏿 ok 👩🏻‍💻 👨🏾‍🚀",
    "family": "👨‍👩‍👧‍👦 and 👩‍❤️‍💋‍👨",
    "flags": "🇫🇷🇩🇪🇯🇵 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🏳️‍🌈",
    "one emoji": "🎉",
    "emoji in words": "Good 👩‍🚀 morning🎉!",
    # scripts
    "arabic": "مرحبا بالعالم",
    "arabic with vowels": "السَّلَامُ عَلَيْكُمْ",
    "hebrew": "שָׁלוֹם עולם",
    "chinese": "你好,世界。今天我们去哪里?",
    "japanese": "こんにちは世界、カタカナと漢字。",
    "korean": "안녕하세요 세계",
    "thai": "สวัสดีชาวโลก",
    "hindi": "नमस्ते दुनिया",
    "russian": "Привет, мир!",
    "greek": "Καλημέρα κόσμε",
    "german": "Größenwahn über Straßenbahnhöfe, naïve café, Übermut",
    "turkish": "İstanbul'da ılık ığdır",
    "old scripts": "𒀀𓀀 𝔘𝔫𝔦 𐍈",
    "mixed scripts": "naïve café 你 好 مرحبا 🎉! Ω≈ç√∫",
    # combining marks and characters that cannot be seen
    "combining marks": "Z̷̡͎̈́a̴͓͠l e\u0301 n\u0303",
    "right to left": "\u202eabc\u202c \u200b\u200f x \u2066y\u2069",
    "zero width": "a\u200bb\u200cc\u200dd\ufeffe\u00adf",
    "replacement character": "a\ufffdb",
    "private use": "\ue000 \U0010fffd",
    "control characters": "bell \x07 escape \x1b[31m delete \x7f",
    # blanks and line breaks
    "blank runs": "a    b      c         d",
    "blanks alone": "       ",
    "one blank": " ",
    "line breaks": "one\n\n\n\ntwo\r\n\r\nthree\x0b\x0cfour\u2028five\x85six",
    "tabs and blanks": "\t\t x \t \n \t y  \n\n\n  z ",
    "wide blanks": "a\u00a0b\u3000c\u2003d\u202fe",
    "ends in blanks": "Once upon a time  \n ",
    # other edges
    "empty": "",
    "one byte": "é",
    "one letter": "a",
    "end of text": "The end.<|endoftext|>Once upon",
    "nearly end of text": "<|endoftext |> <|endoftext|",
    "no blanks": "TheQuickBrownFoxJumpsOverTheLazyDog" * 3,
    "one letter often": "a" * 300,
    "base64": "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24=" * 4,
    "1,024 tokens": long_text(),
}
"""By name; "empty" has no tokens, and "1,024 tokens" is the only one with more than 300."""

EVERY_THIRD: dict[str, str] = dict([*TEXTS.items()][::3])
"""For what takes long and does not depend on the text: drawing, settings, random numbers."""

EVERY: dict[str, str] = {**HOSTILE, **TEXTS}
every_text = pytest.mark.parametrize("text", EVERY.values(), ids=EVERY)
