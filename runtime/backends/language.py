"""Language models behind the seam of backends, a prompt's tokens in, the answer's out: what all of them share.

[models.model]
file = "model.gguf"
backends = ["cuda", "native"]
[models.model.options.native]       # and the same for cuda
max_tokens = 64                     # of an answer
context = 2048                      # prompt and answer together; 0 is the model's own
stop_token = 2                      # ends the answer; -1: none
first_code = 0                      # only `codes` tokens from this one on are answers (an agent's action codes), and
codes = 0                           # only their rows of the head are read; 0: all
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np

from runtime.backends.feeds import check_feeds
from runtime.backends.protocol import Feeds, ModelRefused
from runtime.store.manifest import ModelEntry, TensorSpec

SUFFIX = ".gguf"
INPUTS = (TensorSpec("tokens", ("prompt",), "int32"),)
OUTPUTS = (TensorSpec("tokens", ("answer",), "int32"),)


@dataclass(frozen=True)
class LanguageOptions:
    """See the module."""

    max_tokens: int = 64
    context: int = 0
    stop_token: int = -1
    first_code: int = 0
    codes: int = 0

    def check_vocabulary(self, vocabulary: int, where: str) -> None:
        """Raises ModelRefused: the codes are not tokens of the model, or its stop token is none of them."""
        end = self.first_code + self.codes if self.codes else vocabulary
        if end > vocabulary or (self.codes and self.stop_token >= 0 and not self.first_code <= self.stop_token < end):
            raise ModelRefused(
                f"{where}: codes {self.first_code} to {end - 1} and stop token {self.stop_token}; the model has tokens "
                f"0 to {vocabulary - 1}, and the stop token must be one of the codes",
                next_step="correct the bundle's description and pack it again",
            )


def read_options(entry: ModelEntry, backend: str, where: str) -> LanguageOptions:
    """Returns a model's options for a backend. Raises ModelRefused: which they may be."""
    given = entry.options.get(backend, {})
    names = {field.name for field in fields(LanguageOptions)}
    is_right = all(isinstance(value, int) and not isinstance(value, bool) and value >= -1 for value in given.values())
    if is_right and set(given) <= names:
        options = LanguageOptions(**{name: int(value) for name, value in given.items()})
        if options.max_tokens > 0 and min(options.context, options.first_code, options.codes) >= 0:
            return options
    raise ModelRefused(
        f"{where}: options.{backend} must be integers like {asdict(LanguageOptions())}, got {given}",
        next_step="correct the bundle's description and pack it again",
    )


def prompt_of(feeds: Feeds, vocabulary: int, options: LanguageOptions, capacity: int, where: str) -> list[int]:
    """Returns the prompt's tokens. Raises ValueError: empty, an unknown token, or beyond the context."""
    check_feeds(INPUTS, feeds)
    prompt = np.asarray(feeds["tokens"])
    if not len(prompt) or int(prompt.min()) < 0 or int(prompt.max()) >= vocabulary:
        raise ValueError(f"{where}: a prompt has at least one token, each from 0 to {vocabulary - 1}")
    if len(prompt) + options.max_tokens > capacity:
        raise ValueError(f"{where}: {len(prompt)} + {options.max_tokens} tokens, the context has {capacity}")
    return [int(token) for token in prompt]
