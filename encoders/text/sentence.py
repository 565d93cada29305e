"""A sentence encoder from transformers as the text side: any AutoModel of text, pooled over its tokens.

The pooling is the one that a sentence-transformers folder declares (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019,
section 3), else the mean over tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging
from transformers.utils.hub import cached_file

from encoders.checkpoint import ModelDirError
from encoders.text.vocabulary import UnknownWordsError

__all__ = ["POOLINGS", "SentenceTower", "pooled"]

POOLINGS = ("mean", "cls", "max")
_BATCH_PHRASES = 64
_LONGEST_TOKENS = 512
_POOLING_FOLDER = "1_Pooling"
# Parts of a sentence-transformers folder that are served here; a Dense layer, say, is not.
_SERVED_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})
_DECLARED = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
}


def pooled(hidden: Tensor, attention_mask: Tensor, *, pooling: str) -> Tensor:
    """Return one vector a row of token vectors [shape=(n, dim)].

    Args:
        hidden: token vectors [shape=(n, n_tokens, dim)].
        attention_mask: 1 where there is a token [shape=(n, n_tokens)].
        pooling: "mean" or "max" over the tokens, or "cls": the first token.

    Raises:
        ValueError: there is no such pooling.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling!r}: choose one of {', '.join(POOLINGS)}")
    there = attention_mask.unsqueeze(-1).bool()
    if pooling == "cls":
        first = attention_mask.argmax(1)  # padding may be on the left
        return hidden[torch.arange(len(hidden), device=hidden.device), first]
    if pooling == "max":
        return hidden.masked_fill(~there, -torch.inf).amax(1)
    return (hidden * there).sum(1) / there.sum(1).clamp_min(1)


class SentenceTower(nn.Module):
    """Phrases -> unit vectors by a transformer.

    Attributes:
        transformer: the AutoModel.
        tokenizer: its tokenizer.
        pooling: "mean", "cls" or "max".
        max_tokens: longer phrases are cut.
        embedding_dim: length of a vector.
    """

    def __init__(self, transformer: nn.Module, tokenizer: Any, *, pooling: str = "mean", max_tokens: int = 128) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r}: choose one of {', '.join(POOLINGS)}")
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.embedding_dim = int(transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @classmethod
    def load(cls, name_or_dir: str | Path) -> SentenceTower:
        """Load a local folder, or a name of the Hugging Face hub, ready to encode. No code of the model's is run.

        Raises:
            ModelDirError: it is not there, damaged, or no text encoder that is served here.
        """
        name = str(name_or_dir)
        is_local = Path(name).is_dir()
        if not is_local and (Path(name).is_absolute() or name.count("/") > 1 or name.startswith(".")):
            raise ModelDirError(f"no model directory at {name}: give a folder that holds a transformers model")
        bars_were_on = logging.is_progress_bar_enabled()
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # what fails is said by an error, and by nothing else
        if is_local:
            logging.disable_progress_bar()
        try:
            return cls._load(name)
        except ModelDirError:
            raise
        except Exception as error:  # OSError, ValueError, SafetensorError, UnpicklingError, KeyError: a world of them
            reason = " ".join(str(error).split())
            fix = "copy it again" if is_local else "check the name and the network, or give a folder"
            raise ModelDirError(f"no sentence encoder could be loaded from {name} ({reason}): {fix}") from error
        finally:
            logging.set_verbosity(verbosity)
            if bars_were_on:
                logging.enable_progress_bar()

    @classmethod
    def _load(cls, name: str) -> SentenceTower:
        pooling = _declared_pooling(name)
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if getattr(config, "is_encoder_decoder", False) or not isinstance(getattr(config, "hidden_size", None), int):
            raise ModelDirError(f"{name} is no text encoder ({config.model_type}): give an encoder such as BERT")
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        transformer, report = AutoModel.from_pretrained(
            name, config=config, trust_remote_code=False, weights_only=True, output_loading_info=True
        )
        missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
        if missing:
            raise ModelDirError(f"the weights in {name} lack {missing[0]} and {len(missing) - 1} more: copy it again")
        tower = cls(transformer, tokenizer, pooling=pooling, max_tokens=_max_tokens(name, config, tokenizer)).eval()
        tower.encode(["music"])  # a model that is no text encoder fails here, before any work
        return tower

    def save(self, folder: Path) -> list[str]:
        """Write a folder that ``load`` reads: weights as safetensors, tokenizer, pooling.

        Returns:
            The names of its files relative to it, sorted.
        """
        # The pooler is not used, and where a checkpoint lacks it, it is drawn anew with each loading.
        kept = {name: value for name, value in self.transformer.state_dict().items() if not name.startswith("pooler.")}
        folder.mkdir(parents=True, exist_ok=True)
        self.transformer.save_pretrained(str(folder), state_dict=kept)  # type: ignore[operator]
        self.save_tokenizer(folder)
        modules = [{"path": "", "type": "Transformer"}, {"path": _POOLING_FOLDER, "type": "models.Pooling"}]
        pooling = {key: name == self.pooling for name, key in _DECLARED.items()}
        (folder / _POOLING_FOLDER).mkdir(exist_ok=True)
        for name, values in (
            ("modules.json", modules),
            (f"{_POOLING_FOLDER}/config.json", pooling),
            ("sentence_bert_config.json", {"max_seq_length": self.max_tokens}),
        ):
            (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer alone, as AutoTokenizer reads it."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:  # how the last phrases were cut and padded is no part of the model
            backend.no_truncation()
            backend.no_padding()
        self.tokenizer.save_pretrained(str(folder))

    @property
    def dim(self) -> int:
        """Length of a vector, as the word path calls it."""
        return self.embedding_dim

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return unit vectors [shape=(n, embedding_dim)], differentiable.

        Args:
            input_ids: of the tokenizer [shape=(n, n_tokens)].
            attention_mask: 1 where there is a token [shape=(n, n_tokens)]; None: everywhere.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.transformer(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return nn.functional.normalize(pooled(hidden, mask, pooling=self.pooling), dim=-1)

    def tokenize(self, phrases: Sequence[str]) -> dict[str, Tensor]:
        """Return ``input_ids`` and ``attention_mask`` [shape=(n, n_tokens)], padded to the longest phrase."""
        batch = self.tokenizer(
            list(phrases), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        return {key: batch[key].to(self.device) for key in ("input_ids", "attention_mask")}

    @torch.inference_mode()
    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """Return one unit vector a phrase [shape=(n, embedding_dim)], float32; dropout is off meanwhile.

        Raises:
            UnknownWordsError: a phrase is blank.
        """
        if not all(phrase.strip() for phrase in phrases):
            raise UnknownWordsError([], {})
        was_training = self.training
        self.eval()
        try:
            vectors = [
                self(**self.tokenize(phrases[start : start + _BATCH_PHRASES])).float().cpu().numpy()
                for start in range(0, len(phrases), _BATCH_PHRASES)
            ]
        finally:
            self.train(was_training)
        return np.concatenate(vectors) if vectors else np.zeros((0, self.embedding_dim), np.float32)

    def unknown_words(self, phrase: str) -> list[str]:
        """Return no word: the tokenizer takes any to pieces that it knows."""
        return []


def _json(name: str, file: str) -> Any:
    """Return a JSON file of a folder or of the hub; None when it is not there."""
    path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def _declared_pooling(name: str) -> str:
    modules = _json(name, "modules.json")
    if modules is None:
        return "mean"
    others = sorted({str(module["type"]).rsplit(".", 1)[-1] for module in modules} - _SERVED_MODULES)
    if others:
        raise ModelDirError(f"{name} has a layer that is not served here ({', '.join(others)}): give another encoder")
    folder = next((module["path"] for module in modules if str(module["type"]).endswith(".Pooling")), None)
    declared = None if folder is None else _json(name, f"{folder}/config.json")
    if declared is None:
        return "mean"
    modes = [declared["pooling_mode"]] if isinstance(declared.get("pooling_mode"), str) else []
    modes = modes or [key for key, on in declared.items() if key.startswith("pooling_mode_") and on is True]
    known = {written: pooling for pooling, key in _DECLARED.items() for written in (pooling, key)}
    if len(modes) != 1 or modes[0] not in known:
        raise ModelDirError(f"{name} is pooled by {' and '.join(modes) or 'nothing'}: {', '.join(POOLINGS)} are served")
    return known[modes[0]]


def _max_tokens(name: str, config: Any, tokenizer: Any) -> int:
    declared = (_json(name, "sentence_bert_config.json") or {}).get("max_seq_length")
    limits = [declared, tokenizer.model_max_length, getattr(config, "max_position_embeddings", None), _LONGEST_TOKENS]
    return int(min(limit for limit in limits if isinstance(limit, int) and limit > 0))
