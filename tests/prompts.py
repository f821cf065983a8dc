"""Texts that every test of the core reads: ordinary ones, and those that break careless code."""

PROMPTS = {
    "ordinary": "Today we can go to",
    "one token": "The",
    "empty": "",
    "emoji": "Good 👩‍🚀 morning 🇩🇪 🎉",
    "arabic": "مرحبا بالعالم",
    "chinese": "你好,世界",
    "code": "def f(x):\n\treturn x**2  # square",
    "blank runs": "a    b \n\n\n  c ",
    "repeats": "to be or not to be or not to be or",
    "end of text": "The end.<|endoftext|>Once upon",
}

HOSTILE = {
    "math": "$x_1$ and $\\frac{1}{2}$ costs $5",
    "html": "<script>alert('x')</script><img src=x onerror=y>",
    "emoji": "👩‍🚀🎉 🇩🇪",
    "arabic": "مرحبا",
    "chinese": "你好",
    "combining marks": "Z̷̡͎̈́a̴͓͠l e\u0301",
    "double quotes": 'say "hello" and ""',
    "single quotes": "it's 'fine'",
    "triple quotes": '""" and \'\'\' end """',
    "line ends": "one\ntwo\r\nthree\tfour\x0bfive\u2028six",
    "code injection": '"); import os; raise SystemExit("',
    "quoted injection": "'); import os; raise SystemExit('",
    "braces": "{0} {ids} {{}} %s %(x)s",
    "backslashes": "C:\\new\\table \\N{BULLET} \\x41 \\",
    "right to left": "\u202eabc\u202c \u200b\u200f x",
    "control characters": "bell \x07 escape \x1b[31m delete \x7f",
}
"""None of them may become code, markup, mathematics or a warning anywhere."""
