"""The code behind a picture: plain transformers, ready to run.

Every view hands its reader a snippet that gives the same numbers without gpt2lab. What comes from
the reader (the text, the settings) is written with `repr`, so that no text can become code.
"""

from collections.abc import Sequence

from gpt2lab.decoding import Decoding
from gpt2lab.models import Gpt2


def preamble(gpt2: Gpt2, ids: Sequence[int], *, imports: Sequence[str] = ()) -> str:
    """Code that loads the model and binds `ids`, (1, n): the token ids of the text."""
    names = ", ".join(["AutoTokenizer", "GPT2LMHeadModel", *imports])
    # Without the eager implementation the last digits would differ from those on screen.
    options = f"dtype=torch.{gpt2.dtype}, attn_implementation='eager'"
    return "\n".join(
        [
            "import torch",
            f"from transformers import {names}",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({source(gpt2)}){where(gpt2)}",
            f"model = GPT2LMHeadModel.from_pretrained({source(gpt2)}, {options}).eval()",
            f"ids = {_ids(gpt2, list(ids))}",
        ]
    )


def source(gpt2: Gpt2) -> str:
    """Arguments of `from_pretrained` that say where the model is."""
    path = repr("gpt2lab/pocket" if gpt2.source == "built-in" else gpt2.path)
    return f"{path}, revision={gpt2.revision!r}" if gpt2.source == "hub" else path


def where(gpt2: Gpt2) -> str:
    """Comment behind the first `from_pretrained`: the built-in model has a relative path."""
    return "  # run this in gpt2lab's folder" if gpt2.source == "built-in" else ""


def text_of(gpt2: Gpt2, ids: list[int]) -> str | None:
    """The text that the tokenizer cuts into exactly these ids; None if there is none."""
    text = gpt2.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text if gpt2.tokenizer.encode(text, verbose=False) == ids else None


def _ids(gpt2: Gpt2, ids: list[int]) -> str:
    """Write the ids as the text they come from, if the tokenizer gives them back for it."""
    if ids == [gpt2.tokenizer.bos_token_id]:
        return "torch.tensor([[tokenizer.bos_token_id]])"
    text = text_of(gpt2, ids)
    if text is not None:
        return f"tokenizer({text!r}, return_tensors='pt').input_ids"
    return f"torch.tensor([{ids}])"


def generation(gpt2: Gpt2, ids: Sequence[int], decoding: Decoding) -> str:
    """Code that binds `sequences`, (num_return_sequences, n): the prompt and what follows it."""
    return f"""{generated(gpt2, ids, decoding, "sequences")}
for sequence in sequences:
    print(tokenizer.decode(sequence[ids.shape[1]:], skip_special_tokens=True))
"""


def generated(
    gpt2: Gpt2, ids: Sequence[int], decoding: Decoding, name: str, options: Sequence[str] = ()
) -> str:
    """Code that binds `name` to what `generate` returns; `options` are further arguments of it."""
    arguments = written_arguments(decoding)
    seed = f"set_seed({decoding.seed})\n" if decoding.strategy == "sample" else ""
    imports = ["set_seed"] if seed else []
    own = own_configuration(gpt2)
    if own:
        imports.append("GenerationConfig")
    call = ", ".join(["ids", "attention_mask=torch.ones_like(ids)", *arguments, *options])
    return f"{preamble(gpt2, ids, imports=imports)}\n{own}{seed}{name} = model.generate({call})"


def own_configuration(gpt2: Gpt2) -> str:
    """Line that undoes the generation settings of a local folder; "" for other models.

    The folder may bring sampling defaults, which `generate` would apply without a word.
    """
    if gpt2.source != "local":
        return ""
    plain = gpt2.model.generation_config
    special = ("bos_token_id", "eos_token_id", "pad_token_id")
    values = ", ".join(f"{name}={getattr(plain, name)!r}" for name in special)
    return f"model.generation_config = GenerationConfig({values})\n"


def call(decoding: Decoding) -> str:
    """The settings as one line, to run beside `model`, `ids`, `tokenizer` and `set_seed`.

    >>> call(Decoding(top_k=5, max_length=50))
    'set_seed(42); model.generate(ids, do_sample=True, max_length=50, top_k=5)'
    """
    seed = f"set_seed({decoding.seed}); " if decoding.strategy == "sample" else ""
    return f"{seed}model.generate({', '.join(['ids', *written_arguments(decoding)])})"


def written_arguments(decoding: Decoding) -> list[str]:
    """The settings as `generate` takes them, written as code."""
    arguments = [f"{name}={value!r}" for name, value in decoding.generate_arguments().items()]
    return [*arguments, "tokenizer=tokenizer"] if decoding.stop else arguments
