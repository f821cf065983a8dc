"""gpt2lab opens GPT-2 up: generate under every decoding control, and look behind each token.

In a notebook:

    import gpt2lab

    gpt2 = gpt2lab.load_model("pocket")
    for step in gpt2lab.generate(gpt2, "Once upon a time", gpt2lab.Decoding(temperature=0.7)):
        print(gpt2lab.decode(gpt2, [step.id]), end="")

    trace = gpt2lab.trace_text(gpt2, "Once upon a time")
    gpt2lab.attention(trace, layer=1, head=0).weights
"""

from gpt2lab.decoding import Decoding
from gpt2lab.generation import continue_text, generate
from gpt2lab.inspections.ablate import ablate
from gpt2lab.inspections.attention import attention
from gpt2lab.inspections.attribution import attribution
from gpt2lab.inspections.batch import batch, batch_texts
from gpt2lab.inspections.choices import choices, context_choices
from gpt2lab.inspections.gradients import gradients
from gpt2lab.inspections.heads import heads
from gpt2lab.inspections.hidden_states import hidden_states
from gpt2lab.inspections.kv_cache import kv_cache
from gpt2lab.inspections.lens_grid import lens_grid
from gpt2lab.inspections.logit_lens import logit_lens
from gpt2lab.inspections.logits_or_scores import logits_or_scores
from gpt2lab.inspections.merges import merged_word
from gpt2lab.inspections.next_token import next_token
from gpt2lab.inspections.parameters import parameters
from gpt2lab.inspections.path import path
from gpt2lab.inspections.pipeline import pipeline_or_generate
from gpt2lab.inspections.query_key import query_key
from gpt2lab.inspections.score import score, score_text
from gpt2lab.inspections.temperature import temperature
from gpt2lab.inspections.tokens import token_pieces
from gpt2lab.inspections.weight_tying import weight_tying
from gpt2lab.models import Gpt2, load_model
from gpt2lab.refusal import Refusal
from gpt2lab.step import Alternative, Continuation, Step
from gpt2lab.tokens import Tokens, decode, encode, tokenize
from gpt2lab.trace import Trace, trace_ids, trace_text

__all__ = [
    "Alternative",
    "Continuation",
    "Decoding",
    "Gpt2",
    "Refusal",
    "Step",
    "Tokens",
    "Trace",
    "ablate",
    "attention",
    "attribution",
    "batch",
    "batch_texts",
    "choices",
    "context_choices",
    "continue_text",
    "decode",
    "encode",
    "generate",
    "gradients",
    "heads",
    "hidden_states",
    "kv_cache",
    "lens_grid",
    "load_model",
    "logit_lens",
    "logits_or_scores",
    "merged_word",
    "next_token",
    "parameters",
    "path",
    "pipeline_or_generate",
    "query_key",
    "score",
    "score_text",
    "temperature",
    "token_pieces",
    "tokenize",
    "trace_ids",
    "trace_text",
    "weight_tying",
]
