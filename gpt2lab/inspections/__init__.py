"""Every inspection, in the order of the tabs. A new one is a new file and a new name here."""

from gpt2lab.inspection import Inspection
from gpt2lab.inspections import (
    ablate,
    attention,
    attribution,
    batch,
    gradients,
    hidden_states,
    kv_cache,
    logit_lens,
    logits_or_scores,
    merges,
    next_token,
    parameters,
    pipeline,
    score,
    temperature,
    tokens,
    weight_tying,
)

INSPECTIONS: tuple[Inspection, ...] = (
    tokens.INSPECTION,
    merges.INSPECTION,
    batch.INSPECTION,
    next_token.INSPECTION,
    temperature.INSPECTION,
    logits_or_scores.INSPECTION,
    pipeline.INSPECTION,
    kv_cache.INSPECTION,
    score.INSPECTION,
    attention.INSPECTION,
    hidden_states.INSPECTION,
    logit_lens.INSPECTION,
    attribution.INSPECTION,
    ablate.INSPECTION,
    gradients.INSPECTION,
    parameters.INSPECTION,
    weight_tying.INSPECTION,
)
