"""From the logit back to the embeddings, block by block.

Backpropagation goes through the blocks in reverse and needs what each of them has computed on its
way. A pass that remembers all of it keeps n × n attention weights of every head, several times
over: gigabytes for 1,024 tokens of GPT-2 small. But a trace has the state before every block, so
each block can be computed again when its turn comes, and be forgotten:

    slope before a block = slope behind it · (change of what is behind per change before it)

Two steps are torch's own fused ones here: they give the same numbers but for rounding, and do
without the many large tensors in between. The attention is the one that transformers uses by
default ("sdpa"), which never makes the n × n weights. And GPT-2's "gelu_new", which transformers
writes out in single operations, is its "gelu_pytorch_tanh", one operation.
"""

from copy import copy
from functools import lru_cache

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GPT2LMHeadModel
from transformers.activations import ACT2FN, NewGELUActivation
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from gpt2lab.ablation import rebuilt
from gpt2lab.models import Gpt2
from gpt2lab.progress import counted
from gpt2lab.trace import Trace


@lru_cache(maxsize=2)
def lean(gpt2: Gpt2) -> GPT2LMHeadModel:
    """The same weights in another tree of modules, whose attention and activation are fused."""
    config = copy(gpt2.model.config)
    config._attn_implementation = "sdpa"
    transformer = gpt2.model.transformer
    blocks = nn.ModuleList()
    for block in transformer.h:
        attention = rebuilt(block.attn)
        attention.config = config
        mlp = block.mlp
        if isinstance(mlp.act, NewGELUActivation):
            mlp = rebuilt(mlp, act=ACT2FN["gelu_pytorch_tanh"])
        blocks.append(rebuilt(block, attn=attention, mlp=mlp))
    inner = rebuilt(transformer, h=blocks)
    model = rebuilt(gpt2.model, transformer=inner)
    inner.config = model.config = config
    return model


def slope(trace: Trace, id: int, log: bool) -> Tensor:
    """How the logit of `id` behind the text changes with the tokens' embeddings: (n, n_embd).

    With `log` it is the log-probability that changes. float64, on the CPU.
    """
    model = lean(trace.gpt2)
    *blocks, last = model.transformer.h
    with torch.enable_grad():
        state = _state(trace, len(blocks))
        logits = model.lm_head(model.transformer.ln_f(_last_token(trace, last, state)))[0, -1]
        number = (logits.float().log_softmax(-1) if log else logits)[id]
    behind = torch.autograd.grad(number, state)[0]
    for layer in counted(range(len(blocks))[::-1], "blocks"):
        block = blocks[layer]
        with torch.enable_grad():
            state = _state(trace, layer)
            middle = state + block.attn(block.ln_1(state))[0]
            hidden = block.mlp.act(block.mlp.c_fc(block.ln_2(middle)))
        # The MLP's output projection is linear, so that its slope is known without its output.
        slopes = [behind, behind @ block.mlp.c_proj.weight.T]
        behind = torch.autograd.grad([middle, hidden], state, slopes)[0]
    return behind[0].cpu().double()


def _state(trace: Trace, layer: int) -> Tensor:
    """What goes into a block, (1, n, n_embd), ready to be asked for its slope."""
    return trace.hidden[layer][None].detach().clone().requires_grad_()


def _last_token(trace: Trace, block: GPT2Block, state: Tensor) -> Tensor:
    """What the last block makes of the last token, (1, 1, n_embd).

    Of the others only keys and values count, since nobody reads what it makes of them.
    """
    cache = DynamicCache(config=trace.gpt2.model.config)
    if len(trace) > 1:
        _, key, value = block.attn.c_attn(block.ln_1(state[:, :-1])).chunk(3, dim=-1)
        heads = (trace.gpt2.n_head, -1)
        cache.update(
            key.unflatten(-1, heads).transpose(1, 2),
            value.unflatten(-1, heads).transpose(1, 2),
            block.attn.layer_idx,
        )
    return block(state[:, -1:], past_key_values=cache)
