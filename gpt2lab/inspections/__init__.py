"""Every inspection, in the order of the tabs. A new one is a new file and a new name here."""

from gpt2lab.inspection import Inspection
from gpt2lab.inspections import (
    attention,
    attribution,
    hidden_states,
    logit_lens,
    next_token,
    parameters,
    score,
    tokens,
    weight_tying,
)

INSPECTIONS: tuple[Inspection, ...] = (
    tokens.INSPECTION,
    next_token.INSPECTION,
    score.INSPECTION,
    attention.INSPECTION,
    hidden_states.INSPECTION,
    logit_lens.INSPECTION,
    attribution.INSPECTION,
    parameters.INSPECTION,
    weight_tying.INSPECTION,
)
