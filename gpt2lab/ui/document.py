"""The whole state of the playground as a document: for a link, a file, the browser's storage.

A document says everything that a person chose and wrote, and nothing that can be computed: the
model and its revision, the settings, the transcript as token ids, and what is looked at. So the
numbers on screen are always the model's own, wherever the document was before.

A document that comes back is not trusted. `from_json` takes any JSON value at all, looks at it
piece by piece, uses what is sound, and says in one sentence for each other piece what is wrong
with it and what was done about it.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from gpt2lab.chat import TEMPLATE, checked_template
from gpt2lab.exports import versions
from gpt2lab.inspections import INSPECTIONS
from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal
from gpt2lab.tokens import checked_text
from gpt2lab.transcript import Passage, Transcript, Writing
from gpt2lab.ui.checked_settings import DEFAULTS, checked_settings
from gpt2lab.ui.checked_transcript import checked_transcript
from gpt2lab.ui.complaints import Complaints, described, whole_number
from gpt2lab.ui.session import CHAT, CONTINUE

FORMAT = 1
"""Grows when a document of a new version cannot be read by the old."""
TABS = ("generate", *(one.name for one in INSPECTIONS))

MODES = (CONTINUE, CHAT)
ModelNamed = Callable[[str], Gpt2]
"""The model of a name, "" being the app's default; raises `Refusal` if it is not ready."""


@dataclass(frozen=True)
class Document:
    """What a person has in front of them.

    model, revision: who writes; the revision is the loaded weights' (see `Gpt2.revision`).
    mode, template: whether the model sees the text as it is or as a conversation.
    settings: every field of `Decoding` as it stands in the controls, also those that have no
        effect; `in_effect` turns them into a `Decoding`.
    prompt: what is typed and not yet sent.
    tab: the tab in view. focus: passage and token that are looked at.
    transcript: without `choices`, which are always computed anew.
    """

    model: str
    revision: str | None = None
    mode: str = CONTINUE
    template: str = TEMPLATE
    settings: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS))
    prompt: str = ""
    tab: str = TABS[0]
    focus: tuple[int, int] | None = None
    transcript: Transcript = field(default_factory=Transcript)


def to_json(document: Document) -> dict[str, Any]:
    """The document as plain JSON values, with the versions that it was made with."""
    transcript = document.transcript
    return {
        "gpt2lab": FORMAT,
        "versions": versions(),
        "model": document.model,
        "revision": document.revision,
        "mode": document.mode,
        "template": document.template,
        "settings": _plain(document.settings),
        "prompt": document.prompt,
        "tab": document.tab,
        "focus": None if document.focus is None else list(document.focus),
        "transcript": {
            "passages": [_passage(one) for one in transcript.passages],
            "active": transcript.active,
        },
    }


def _passage(passage: Passage) -> dict[str, Any]:
    return {
        "author": passage.author,
        "ids": list(passage.ids),
        "text": passage.text,
        "parent": passage.parent,
        "at": passage.at,
        "writing": _writing(passage.writing) if passage.writing else None,
    }


def _writing(writing: Writing) -> dict[str, Any]:
    plain = {field.name: getattr(writing, field.name) for field in fields(writing)}
    return {**plain, "decoding": _plain(asdict(writing.decoding))}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()
    }


def from_text(text: str | bytes, model_named: ModelNamed) -> tuple[Document, tuple[str, ...]]:
    """The document that a file holds, and what is wrong with it; whatever the file is."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        reason = "The file is not JSON, so nothing of it can be used."
        return Document(model_named("").name, model_named("").revision), (reason,)
    return from_json(data, model_named)


def from_json(data: object, model_named: ModelNamed) -> tuple[Document, tuple[str, ...]]:
    """The document that `data` describes as far as it is sound, and a sentence for each flaw."""
    complaints = Complaints()
    if not isinstance(data, dict):
        complaints.add(f"The document is {described(data)}, not an object", "nothing of it is used")
        data = {"gpt2lab": FORMAT}
    known = {"gpt2lab", "versions", *Document.__dataclass_fields__}
    complaints.ignore(name for name in data if name not in known)
    version = data.get("gpt2lab")
    if type(version) is not int or version != FORMAT:
        complaints.add(
            f"The document's format is {described(version)}, but {FORMAT} is what is known here",
            "what can be understood of it is used",
        )
    gpt2 = checked_model(data, model_named, complaints)
    template = _template(data, complaints)
    transcript = checked_transcript(data.get("transcript"), gpt2, template, complaints)
    document = Document(
        model=gpt2.name,
        revision=gpt2.revision,
        mode="chat"
        if _one_of(data, "mode", ("continue", "chat"), complaints) == "chat"
        else "continue",
        template=template,
        settings=checked_settings(data.get("settings"), complaints),
        prompt=_prompt(data, complaints),
        tab=_one_of(data, "tab", TABS, complaints),
        focus=_focus(data, transcript, complaints),
        transcript=transcript,
    )
    return document, complaints.sentences


def checked_model(data: dict[str, Any], model_named: ModelNamed, complaints: Complaints) -> Gpt2:
    """The model that the document names, or the default one."""
    default = model_named("")
    name, revision = data.get("model"), data.get("revision")
    gpt2 = default
    if name is not None:
        try:
            if not isinstance(name, str):
                raise Refusal(f"model is {described(name)}, not a name.")
            gpt2 = model_named(name)
        except Refusal as refusal:
            complaints.add(refusal, f"{default.name} is used")
            return default
    if revision is not None and revision != gpt2.revision:
        complaints.add(
            f"The document was made with revision {described(revision)} of {gpt2.name}, but "
            f"here it is {gpt2.revision}",
            "the same tokens are not promised",
        )
    return gpt2


def _one_of(
    data: dict[str, Any], name: str, choices: tuple[str, ...], complaints: Complaints
) -> str:
    """One of the choices; the first is the default."""
    value = data.get(name)
    if isinstance(value, str) and value in choices:
        return value
    if value is not None:
        complaints.add(
            f"{name} is {described(value)}, but must be one of {', '.join(choices)}",
            f"{choices[0]} is used",
        )
    return choices[0]


def _template(data: dict[str, Any], complaints: Complaints) -> str:
    given = data.get("template")
    if given is None:
        return TEMPLATE
    try:
        return checked_template(given)
    except Refusal as refusal:
        complaints.add(refusal, "the usual one is used")
        return TEMPLATE


def _prompt(data: dict[str, Any], complaints: Complaints) -> str:
    given = data.get("prompt")
    try:
        return "" if given is None else checked_text(given, "prompt")
    except Refusal as refusal:
        complaints.add(refusal, "it is left out")
        return ""


def _focus(
    data: dict[str, Any], transcript: Transcript, complaints: Complaints
) -> tuple[int, int] | None:
    given = data.get("focus")
    if given is None:
        return None
    try:
        if not isinstance(given, list) or len(given) != 2:
            raise Refusal(f"focus is {described(given)}, but must be a passage and a token.")
        number = whole_number("focus' passage", given[0], 0, len(transcript.passages) - 1)
        length = len(transcript.passages[number].ids)
        return number, whole_number("focus' token", given[1], 0, length - 1)
    except Refusal as refusal:
        complaints.add(refusal, "no token is in focus")
        return None
