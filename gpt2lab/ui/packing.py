"""Values for the page's own scripts, as JSON."""

import json

# Pure ASCII: the page compares whole strings at each update, and those of ASCII twice as fast.
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def packed(value: object) -> str:
    """JSON in one line of ASCII, without "<".

    Gradio warns of a script when it sees one in a value, even where it is only text.
    """
    return _ENCODER.encode(value).replace("<", "\\u003c")
