"""The text tower of a CLAP checkpoint, loaded with the first phrase, since that takes seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from encoders.checkpoint import CONFIG_FILE, DEFAULT_MODEL_DIR
from encoders.clap_files import DEFAULT_PROMPT, ClapCheckpoint, check_prompt
from encoders.text.unknown import LeftOut, UnknownWordsError

if TYPE_CHECKING:
    from encoders.clap import PhraseNetwork

__all__ = ["ClapText", "PhraseTooLongError"]

_MOST_KEPT = 5000  # vectors of phrases


class PhraseTooLongError(UnknownWordsError):
    """A phrase with more tokens than the model reads."""

    def __init__(self, phrase: str, *, n_tokens: int, max_tokens: int) -> None:
        super().__init__([], {}, phrase=phrase)
        self._numbers = n_tokens, max_tokens

    def __str__(self) -> str:
        start = self._phrase[:40]
        return (
            f"'{start}...' has {self._numbers[0]} tokens with the prompt, and the model reads {self._numbers[1]}: "
            "shorten it"
        )


class ClapText:
    """Encode phrases as unit vectors with the text tower of CLAP, each within a prompt.

    Attributes:
        fingerprint: identifies the model. The prompt is not part of it: it changes no vector of an index.
        calibration: None. A checkpoint carries no background statistics, so its cosines are no probabilities.
        prompt: a text with {} for the phrase.

    Args:
        checkpoint: the files.
        prompt: a text with one {}; default: `DEFAULT_PROMPT`.

    Raises:
        ModelDirError: the prompt has no {}.
    """

    calibration: None = None

    def __init__(self, checkpoint: ClapCheckpoint, *, prompt: str | None = None) -> None:
        self.fingerprint = checkpoint.fingerprint
        self.prompt = check_prompt(DEFAULT_PROMPT if prompt is None else prompt)
        self._checkpoint = checkpoint
        self._network: PhraseNetwork | None = None
        self._vectors: dict[str, np.ndarray] = {}

    @property
    def dim(self) -> int:
        """Length of a vector."""
        config = json.loads((self._checkpoint.folder / CONFIG_FILE).read_text(encoding="utf-8"))
        return int(config.get("projection_dim", 512))

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """Return one unit vector per phrase [shape=(n, dim)], float32. The first call loads the model.

        Raises:
            UnknownWordsError: a phrase is blank, or has more tokens than the model reads.
            ModelDirError: the model is damaged, incomplete or broken.
        """
        if not all(phrase.strip() for phrase in phrases):
            raise UnknownWordsError([], {})
        if not phrases:
            return np.zeros((0, self.dim), np.float32)
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._vectors]
        found = dict(zip(new, self._encode(new), strict=True)) if new else {}
        rows = np.stack([found[phrase] if phrase in found else self._vectors[phrase] for phrase in phrases])
        if len(self._vectors) + len(found) <= _MOST_KEPT:
            self._vectors |= found
        return rows

    def _encode(self, phrases: Sequence[str]) -> np.ndarray:
        if self._network is None:
            from encoders.clap import load_phrase_network  # torch and transformers

            self._network = load_phrase_network(self._checkpoint)
        # Bytes of the command line that are no UTF-8 are lone surrogates, which no tokenizer takes.
        texts = [self.prompt.replace("{}", phrase.strip()).encode("utf-8", "replace").decode() for phrase in phrases]
        for phrase, text in zip(phrases, texts, strict=True):
            n_tokens, most = self._network.n_tokens(text), self._network.max_tokens
            if n_tokens > most:
                raise PhraseTooLongError(phrase, n_tokens=n_tokens, max_tokens=most)
        return self._network.encode(texts)

    def unknown_words(self, phrase: str) -> list[str]:
        """Return no words: the tokenizer splits every word into known pieces."""
        return []

    def left_out(self, phrase: str) -> LeftOut:
        """Return nothing: every part of a phrase is read."""
        return LeftOut()

    def respelled(self, phrase: str) -> tuple[str, dict[str, str]]:
        """Return the phrase as it is: every word is read, in pieces."""
        return phrase, {}

    def tag_names(self) -> list[str]:
        """Return the tags of the shipped model: CLAP has none of its own."""
        config = json.loads((DEFAULT_MODEL_DIR / CONFIG_FILE).read_text(encoding="utf-8"))
        return list(config["tag_names"])
