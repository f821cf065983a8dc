"""How the next token is chosen: from logits to scores to one token.

The model gives one number per vocabulary entry, the *logits*. Decoding turns them into a choice in
a fixed order of stages. Each stage is one of transformers' own *logits processors*: it takes the
scores of the stage before and returns new ones, raising some, lowering others, or setting them to
-inf, which forbids the token. At the end

    greedy   takes the token with the highest score,
    sample   draws from softmax(scores) with a random generator of its own, set to `seed`,
    beam     keeps the `num_beams` best continuations side by side and returns the best of them.

`Decoding` holds the settings under transformers' names and checks them when it is made, so that a
`Decoding` that exists is one that `generate` accepts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig, LogitNormalization, LogitsProcessor

from gpt2lab.models import Gpt2
from gpt2lab.refusal import Refusal, checked_number, quoted
from gpt2lab.tokens import checked_text

STRATEGIES = ("greedy", "sample", "beam")
DEFAULT_NEW_TOKENS = 40
MAX_STOP_STRINGS = 8
MAX_STOP_CHARACTERS = 100
"""In all stop strings together: preparing them takes time and memory by the character."""

_ALL = STRATEGIES
_SAMPLE = ("sample",)
_BEAM = ("beam",)


def _setting(
    default: float | None, low: float, high: float, strategies: tuple[str, ...], help: str
) -> Any:
    metadata = {"low": low, "high": high, "strategies": strategies, "help": help}
    return field(default=default, metadata=metadata)


class Stage(NamedTuple):
    """One step from logits to scores: the name of the setting that asked for it, and the means."""

    name: str
    processor: LogitsProcessor


@dataclass(frozen=True)
class Decoding:
    """Settings of one generation, with transformers' names and meanings.

    Numbers outside their bounds, non-finite numbers and contradictions raise `Refusal`. A setting
    that the strategy does not use has no effect (temperature under greedy), as in transformers;
    several sequences under greedy decoding are refused, as there.
    """

    strategy: str = "sample"
    max_new_tokens: int | None = _setting(
        None, 1, 100_000, _ALL, "how many tokens to write at most"
    )
    max_length: int | None = _setting(
        None, 2, 100_000, _ALL, "instead: how long prompt and answer may be together, in tokens"
    )
    min_new_tokens: int = _setting(
        0, 0, 100_000, _ALL, "forbid the end-of-text token until so many tokens are written"
    )
    temperature: float = _setting(
        1.0, 0.01, 100.0, _SAMPLE, "divide the scores by this: below 1 bolder, above 1 wilder"
    )
    top_k: int = _setting(
        50, 0, 100_000, _SAMPLE, "keep only the k most probable tokens (0: keep all)"
    )
    top_p: float = _setting(
        1.0, 0.0, 1.0, _SAMPLE, "keep the most probable tokens that together reach p (1: all)"
    )
    min_p: float | None = _setting(
        None, 0.0, 1.0, _SAMPLE, "drop tokens below this share of the best one's probability"
    )
    typical_p: float = _setting(
        1.0, 0.001, 1.0, _SAMPLE, "keep tokens whose surprise is closest to the entropy (1: all)"
    )
    repetition_penalty: float = _setting(
        1.0, 0.01, 100.0, _ALL, "above 1: make tokens that already occur less likely"
    )
    no_repeat_ngram_size: int = _setting(
        0, 0, 1000, _ALL, "forbid repeating any run of so many tokens (0: off)"
    )
    num_beams: int = _setting(1, 1, 16, _BEAM, "how many continuations are kept side by side")
    num_return_sequences: int = _setting(
        1, 1, 64, ("sample", "beam"), "how many continuations to return"
    )
    seed: int = _setting(42, 0, 2**32 - 1, _SAMPLE, "the same seed draws the same text")
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise Refusal(f"strategy is {quoted(self.strategy)}, but must be one of {STRATEGIES}.")
        for setting in fields(self):
            if "low" in setting.metadata:
                object.__setattr__(self, setting.name, self._checked(setting.name))
        if self.max_length is not None and self.max_new_tokens is not None:
            raise Refusal("Set either max_new_tokens or max_length, not both.")
        if self.max_length is None and self.max_new_tokens is None:
            object.__setattr__(self, "max_new_tokens", DEFAULT_NEW_TOKENS)
        longest = self.max_new_tokens or self.max_length or 0
        if self.min_new_tokens > longest:
            raise Refusal(
                f"min_new_tokens is {self.min_new_tokens}, more than the {longest} allowed at most."
            )
        self._check_combination()
        object.__setattr__(self, "stop", self._checked_stop())

    def _checked(self, name: str) -> float | None:
        """Value of one setting as the type transformers wants, within its bounds."""
        setting = self.__dataclass_fields__[name]
        value = getattr(self, name)
        if value is None and setting.default is None:
            return None
        return checked_number(name, value, setting.metadata["low"], setting.metadata["high"])

    def _check_combination(self) -> None:
        if self.strategy == "beam" and self.num_beams < 2:
            raise Refusal("strategy is 'beam', so num_beams must be 2 or more.")
        if self.strategy == "beam" and self.num_return_sequences > self.num_beams:
            raise Refusal(
                f"num_return_sequences is {self.num_return_sequences}, but only num_beams "
                f"({self.num_beams}) can be returned; lower it or raise num_beams."
            )
        if self.strategy == "greedy" and self.num_return_sequences > 1:
            raise Refusal(
                f"num_return_sequences is {self.num_return_sequences}, but greedy decoding has "
                "one result only; choose strategy 'sample' or 'beam', or set it to 1."
            )

    def _checked_stop(self) -> tuple[str, ...]:
        if isinstance(self.stop, str) or not isinstance(self.stop, Sequence):
            raise Refusal("stop must be a list of strings.")
        if len(self.stop) > MAX_STOP_STRINGS:
            raise Refusal(f"stop has {len(self.stop)} strings; at most {MAX_STOP_STRINGS} work.")
        for text in self.stop:
            if not checked_text(text, "A stop string"):
                raise Refusal("A stop string is empty; please remove it.")
        characters = sum(map(len, self.stop))
        if characters > MAX_STOP_CHARACTERS:
            raise Refusal(
                f"The stop strings have {characters:,} characters together; at most "
                f"{MAX_STOP_CHARACTERS} are allowed."
            )
        return tuple(self.stop)

    def new_tokens(self, prompt_length: int) -> int:
        """How many tokens may follow a prompt of that many tokens."""
        if self.max_length is None:
            return self.max_new_tokens or 0
        if self.max_length <= prompt_length:
            raise Refusal(
                f"max_length is {self.max_length}, but the prompt alone has {prompt_length} "
                "tokens and they count too; raise it or use max_new_tokens."
            )
        return self.max_length - prompt_length

    def generate_arguments(self) -> dict[str, Any]:
        """Keyword arguments of `model.generate` that mean the same; the seed is not one of them.

        What has no effect is left out, so that the call can be read.
        """
        arguments: dict[str, Any] = {"do_sample": self.strategy == "sample"}
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name in {"strategy", "seed", "stop"}:
                continue
            if self.strategy not in setting.metadata["strategies"]:
                continue
            # transformers samples with top_k=50 when top_k is not given, hence always say it.
            if setting.name == "top_k" or (value is not None and value != setting.default):
                arguments[setting.name] = value
        if self.stop:
            arguments["stop_strings"] = list(self.stop)
        return arguments

    def generation_config(self) -> GenerationConfig:
        """Transformers' object with these settings."""
        return GenerationConfig(**self.generate_arguments())

    def prepared_config(self, gpt2: Gpt2, prompt_length: int) -> GenerationConfig:
        """Complete the configuration for one prompt as `generate` does before its loop.

        These are transformers' own private methods: the pinned version and
        tests/test_decoding.py guard them.
        """
        model = gpt2.model
        config, _ = model._prepare_generation_config(self.generation_config())
        model._prepare_special_tokens(config, kwargs_has_attention_mask=True, device=model.device)
        return model._prepare_generated_length(
            generation_config=config,
            has_default_max_length=self.max_length is None,
            has_default_min_length=True,
            model_input_name="input_ids",
            input_ids_length=prompt_length,
            inputs_tensor=None,
        )

    def stages(self, gpt2: Gpt2, prompt_ids: Sequence[int]) -> list[Stage]:
        """Logits processors that `generate` itself would apply behind this prompt, in its order."""
        processors = gpt2.model._get_logits_processor(
            self.prepared_config(gpt2, len(prompt_ids)),
            input_ids_seq_length=len(prompt_ids),
            device=gpt2.model.device,
        )
        return [Stage(_STAGE_NAMES[type(one).__name__], one) for one in processors]

    def stages_from_logits(self, gpt2: Gpt2, prompt_ids: Sequence[int]) -> list[Stage]:
        """The same, and before them what the strategy itself does to the logits.

        Beam search adds up log-probabilities, so its processors work on those.
        """
        stages = self.stages(gpt2, prompt_ids)
        if self.strategy == "beam":
            return [Stage("log_softmax", LogitNormalization()), *stages]
        return stages


_STAGE_NAMES = {
    "RepetitionPenaltyLogitsProcessor": "repetition_penalty",
    "NoRepeatNGramLogitsProcessor": "no_repeat_ngram_size",
    # generate derives a minimum total length from min_new_tokens and applies both processors.
    "MinLengthLogitsProcessor": "min_length",
    "MinNewTokensLengthLogitsProcessor": "min_new_tokens",
    "TemperatureLogitsWarper": "temperature",
    "TopKLogitsWarper": "top_k",
    "TopPLogitsWarper": "top_p",
    "MinPLogitsWarper": "min_p",
    "TypicalLogitsWarper": "typical_p",
}


def processed(
    stages: Sequence[Stage], ids: torch.Tensor, logits: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, scores) after every stage; ids: (batch, n), logits and scores: (batch, vocab).

    A stage gets a copy, because some of transformers' processors write into their input.
    """
    scores = logits
    for name, processor in stages:
        scores = processor(ids, scores.clone())
        yield name, scores


def final_scores(stages: Sequence[Stage], ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Scores after the last stage, (batch, vocab): the logits themselves if there is none."""
    *_, (_, scores) = [("logits", logits), *processed(stages, ids, logits)]
    return scores
