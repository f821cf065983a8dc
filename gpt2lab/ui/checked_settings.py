"""Decoding settings that came from elsewhere, taken over one by one.

Which values are possible is known to `Decoding` and to the limits of this app alone. So nothing is
checked here: the settings are built up field by field, and the field with which they are refused
is the one that is replaced, with the sentence of the refusal.

A person's settings are more than a `Decoding`: the temperature stays in its field while the
strategy is greedy. `in_effect` says what they mean.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from gpt2lab.decoding import MAX_STOP_STRINGS, STRATEGIES, Decoding
from gpt2lab.refusal import Refusal, quoted
from gpt2lab.ui.complaints import Complaints, described
from gpt2lab.ui.limits import allowed

DEFAULTS: dict[str, Any] = asdict(Decoding())
"""Every setting with the value that it has when nobody says anything else."""
BEAMS = 4
"""How many beams there are when somebody asks for beam search and does not say."""

_STRATEGIES_OF = {
    field.name: field.metadata.get("strategies", STRATEGIES) for field in fields(Decoding)
}
# Others depend on these two, so they come first.
_ORDER = (
    "strategy",
    "num_beams",
    *(name for name in DEFAULTS if name not in ("strategy", "num_beams")),
)


def in_effect(settings: Mapping[str, Any]) -> Decoding:
    """What a person's settings mean; those that the strategy does not use are left out."""
    strategy = settings.get("strategy", DEFAULTS["strategy"])
    used = {name: value for name, value in settings.items() if strategy in _STRATEGIES_OF[name]}
    if strategy not in STRATEGIES:
        used["strategy"] = strategy
    if used.get("max_length") is not None:
        used.pop("max_new_tokens", None)
    return allowed(Decoding(**used))


def checked_settings(given: object, complaints: Complaints) -> dict[str, Any]:
    """Every setting: as given where that is possible, else its default."""
    settings = dict(DEFAULTS)
    if not isinstance(given, dict):
        if given is not None:
            complaints.add(f"settings is {described(given)}, not an object", "defaults are used")
        return settings
    complaints.ignore(f"settings.{name}" for name in given if name not in DEFAULTS)
    for name in _ORDER:
        if name not in given:
            continue
        if name == "stop":
            settings["stop"] = _checked_stop(given["stop"], settings, complaints)
            continue
        try:
            value = _checked_alone(name, given[name])
            changed = {**settings, name: value}
            if value == "beam":
                changed["num_beams"] = BEAMS
            in_effect(changed)
        except Refusal as refusal:
            complaints.add(refusal, f"{quoted(settings[name])} is used")
        else:
            settings = changed
    return _with_one_length(settings, given)


def _checked_alone(name: str, value: object) -> Any:
    """A value that is possible beside some others, as the type that `Decoding` gives it.

    The settings in effect are not enough: what the strategy does not use must be sound as well.
    """
    if isinstance(value, dict | list | tuple):
        raise Refusal(f"{name} is {described(value)}, but must be a single value.")
    if value is None and Decoding.__dataclass_fields__[name].default is None:
        return None
    others: dict[str, Any] = {}
    if name == "strategy":
        others["num_beams"] = BEAMS
    if name == "min_new_tokens":
        others["max_new_tokens"] = Decoding.__dataclass_fields__["max_new_tokens"].metadata["high"]
    decoding = Decoding(**{name: value, **others})
    checked = getattr(allowed(decoding), name)
    if name == "num_beams" and checked > 1:
        allowed(Decoding(strategy="beam", num_beams=checked))
    return checked


def _checked_stop(
    given: object, settings: Mapping[str, Any], complaints: Complaints
) -> tuple[str, ...]:
    stop: tuple[str, ...] = ()
    if not isinstance(given, list | tuple):
        complaints.add(f"stop is {described(given)}, not a list of strings", "none is used")
        return stop
    if len(given) > MAX_STOP_STRINGS:
        complaints.add(
            f"stop has {len(given):,} strings, but at most {MAX_STOP_STRINGS} work",
            "only the first ones are used",
        )
    for text in given[:MAX_STOP_STRINGS]:
        try:
            stop = in_effect({**settings, "stop": (*stop, text)}).stop
        except Refusal as refusal:
            complaints.add(refusal, "that stop string is left out")
    return stop


def _with_one_length(settings: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """As `Decoding` has it: max_new_tokens has a default where no max_length is given."""
    if settings["max_length"] is not None and given.get("max_new_tokens") is None:
        return {**settings, "max_new_tokens": None}
    if settings["max_length"] is None and settings["max_new_tokens"] is None:
        return {**settings, "max_new_tokens": DEFAULTS["max_new_tokens"]}
    return settings
