"""Keep the residual stream, derive the rest.

A transformer is a stream of vectors, one per position, to which every block adds something. A
`Trace` keeps that stream: the states before the first block, between the blocks and after the
last. Everything that one looks at follows from it with little work, for just the thing looked at:

    logits of one position     hidden[-1][position] · Eᵀ          (E: the token embedding matrix)
    attention of one layer     that block's ln_1, c_attn and softmax on hidden[layer]
    logit lens                 ln_f, then Eᵀ, on the state between two blocks
    keys and values            that block's ln_1 and c_attn: so a trace can be continued

For 1,024 tokens of GPT-2 small the stream has 40 MB; all 144 attention maps would have 604 MB.

The states are those that transformers returns as `hidden_states`. Mind the last one: it is already
normalized by `ln_f`, so it is not the output of the last block but what the logits are made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, eager_attention_forward

from gpt2lab.models import Gpt2
from gpt2lab.refusal import checked_number
from gpt2lab.tokens import checked_length, prompt_ids


@dataclass(frozen=True, eq=False)
class Text:
    """The tokens of a text, which may be more than the model can read at once.

    ids: (n,) token ids, on the CPU.
    """

    gpt2: Gpt2
    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, position: int) -> int:
        """Position counted from the start; negative ones count from the end, as in a list."""
        return _checked_index("position", position, len(self), negative=True)


@dataclass(frozen=True, eq=False)
class Trace(Text):
    """The residual stream of one text, which the model has read.

    hidden: (n_layer + 1, n, n_embd), in the model's dtype, on its device; `hidden[0]` is token
        plus position embedding, `hidden[layer]` the input of block `layer`, and `hidden[-1]` the
        output of `ln_f`.
    """

    hidden: Tensor

    @property
    def bytes(self) -> int:
        """Memory that the states take."""
        return self.hidden.numel() * self.hidden.element_size()

    @torch.no_grad()
    def logits(self, position: int = -1) -> Tensor:
        """Logits for the token after `position`: (vocab_size,), float32."""
        return self.gpt2.model.lm_head(self.hidden[-1][self.position(position)]).float()

    @torch.no_grad()
    def all_logits(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Logits behind the positions from `start` up to `stop`: (stop - start, vocab_size)."""
        return self.gpt2.model.lm_head(self.hidden[-1][start:stop]).float()

    @torch.no_grad()
    def attention(self, layer: int, head: int | None = None) -> Tensor:
        """Attention weights of one layer: (n_head, query, key), rows sum to 1.

        This is the eager implementation of transformers itself, on the layer's queries and keys:
        the model's own pass has used it too, so the weights are the same to the last bit. With
        `head` they are those of one head, (query, key), at a fraction of the work.
        """
        return self.heads(layer).attention(head)

    @torch.no_grad()
    def heads(self, layer: int) -> "Heads":
        """What one layer's attention is worked out from."""
        layer = _checked_index("layer", layer, self.gpt2.n_layer)
        query, key, _ = self.queries_keys_values(layer)
        return Heads(self.gpt2.model.transformer.h[layer].attn, query, key)

    @torch.no_grad()
    def lens(self, layer: int, position: int = -1) -> Tensor:
        """Logits if the stream ended before block `layer`: (vocab_size,), float32.

        `layer` runs from 0 to n_layer; the last one is the model's real output.
        """
        layer = _checked_index("layer", layer, self.gpt2.n_layer + 1)
        state = self.hidden[layer][self.position(position)]
        if layer < self.gpt2.n_layer:
            state = self.gpt2.model.transformer.ln_f(state)
        return self.gpt2.model.lm_head(state).float()

    @torch.no_grad()
    def key_values(self) -> DynamicCache:
        """A fresh cache with every block's keys and values: (1, n_head, n, head size) each."""
        cache = DynamicCache(config=self.gpt2.model.config)
        for layer in range(self.gpt2.n_layer):
            _, key, value = self.queries_keys_values(layer)
            cache.update(key, value, layer)
        return cache

    def prefix(self, length: int) -> "Trace":
        """Trace of the first `length` tokens: a view, since no token sees a later one."""
        return Trace(self.gpt2, self.ids[:length], self.hidden[:, :length])

    @torch.no_grad()
    def extended(self, ids: Sequence[int]) -> "Trace":
        """Trace of this text and `ids` behind it; only the new positions are computed."""
        if not ids:
            return self
        both = checked_length(self.gpt2, [*self.ids.tolist(), *ids])
        states = _states(self.gpt2, ids, self.key_values())
        return Trace(self.gpt2, torch.tensor(both), torch.cat([self.hidden, states], dim=1))

    @torch.no_grad()
    def queries_keys_values(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of one layer: (1, n_head, n, head size) each."""
        layer = _checked_index("layer", layer, self.gpt2.n_layer)
        block = self.gpt2.model.transformer.h[layer]
        projected = block.attn.c_attn(block.ln_1(self.hidden[layer][None]))
        query, key, value = (
            part.unflatten(-1, (self.gpt2.n_head, -1)).transpose(1, 2)
            for part in projected.split(self.gpt2.n_embd, dim=-1)
        )
        return query, key, value


@dataclass(frozen=True, eq=False)
class Heads:
    """Queries and keys of one layer's heads: (1, n_head, n, head size) each.

    They take little memory; the weights that follow from them grow with n².
    """

    module: GPT2Attention
    query: Tensor
    key: Tensor

    @torch.no_grad()
    def attention(self, head: int | None = None) -> Tensor:
        """Weights of all heads, (n_head, query, key), or of one, (query, key)."""
        query, key = self.query, self.key
        if head is not None:
            head = _checked_index("head", head, query.shape[1])
            query, key = query[:, head : head + 1], key[:, head : head + 1]
        mask = causal_mask(query.shape[2], query)
        weights = attention_weights(self.module, query, key, mask)[0]
        return weights if head is None else weights[0]


def trace_text(gpt2: Gpt2, text: str) -> Trace:
    """Trace of `text`; of the beginning-of-text token if it is empty."""
    return trace_ids(gpt2, prompt_ids(gpt2, text))


@torch.no_grad()
def trace_ids(gpt2: Gpt2, ids: Sequence[int]) -> Trace:
    """Trace of token ids: one forward pass of the model."""
    ids = checked_length(gpt2, ids)
    return Trace(gpt2, torch.tensor(ids), _states(gpt2, ids, None))


def _states(gpt2: Gpt2, ids: Sequence[int], cache: DynamicCache | None) -> Tensor:
    """Hidden states of `ids` behind what the cache holds: (n_layer + 1, n, n_embd)."""
    output = gpt2.model.transformer(
        torch.tensor([list(ids)], device=gpt2.model.device),
        past_key_values=cache,
        use_cache=cache is not None,
        output_hidden_states=True,
    )
    return torch.cat(output.hidden_states)


def attention_weights(attention: GPT2Attention, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """Weights of these queries on these keys, (1, n_head, query, key), as transformers has them.

    The queries may be some of a text's, with their rows of the mask.
    """
    # The values would only be needed for what the heads fetch: so here they are empty.
    value = key[..., :0]
    if attention.reorder_and_upcast_attn:
        return attention._upcast_and_reordered_attn(query, key, value, mask)[1]
    scaling = attention.scaling
    return eager_attention_forward(attention, query, key, value, mask, scaling=scaling)[1]


def causal_mask(length: int, like: Tensor) -> Tensor:
    """What eager attention adds to its scores, (1, 1, n, n): 0 for the past, lowest ahead."""
    mask = torch.full((length, length), torch.finfo(like.dtype).min, device=like.device)
    return mask.to(like.dtype).triu(1)[None, None]


def _checked_index(name: str, index: int, count: int, negative: bool = False) -> int:
    return int(checked_number(name, index, -count if negative else 0, count - 1)) % count
