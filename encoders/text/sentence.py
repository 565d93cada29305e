"""A sentence encoder of sentence-transformers as the input of the text tower.

Source: Reimers and Gurevych, "Sentence-BERT: Sentence embeddings using Siamese BERT-networks", EMNLP 2019.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from encoders.checkpoint import ModelDirError
from encoders.text.unknown import UnknownWordsError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["SentenceTower"]

_BATCH_PHRASES = 64
_NOT_INSTALLED = "sentence encoders need the package sentence-transformers: run pip install 'earmark[sentence]'"


class SentenceTower(nn.Module):
    """Encode phrases as unit vectors by a sentence-transformers model.

    Attributes:
        model: the SentenceTransformer.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def load(cls, folder: str | Path) -> SentenceTower:
        """Load the directory of a sentence-transformers model, or of a transformers encoder (with mean pooling).

        Only safetensors are read, no code of the model is run and nothing is downloaded.

        Raises:
            ModelDirError: the directory is missing, damaged or no sentence encoder, or sentence-transformers is not
                installed.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ModelDirError(f"no model directory at {folder}: give the directory of a sentence-transformers model")
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ModelDirError(_NOT_INSTALLED) from error
        for weights in sorted(folder.rglob("pytorch_model*.bin")):
            if not any(weights.parent.glob("*.safetensors")):
                raise ModelDirError(f"{weights} is a pickle: save the model with safetensors (save_pretrained)")
        with _quiet():
            try:
                model = SentenceTransformer(
                    str(folder),
                    device="cpu",
                    trust_remote_code=False,
                    local_files_only=True,
                    model_kwargs={"use_safetensors": True},
                )
                for module in model.modules():
                    if isinstance(module, PreTrainedModel):
                        _check_weights(module, folder)
                tower = cls(model).eval()
                tower.encode(["music"])  # a model that does not encode text fails here
            except ModelDirError:
                raise
            except Exception as error:  # of many libraries: OSError, ValueError, KeyError, SafetensorError ...
                reason = " ".join(str(error).split())
                raise ModelDirError(
                    f"no sentence encoder could be loaded from {folder} ({reason}): copy it again"
                ) from error
        return tower

    def save(self, folder: Path) -> list[str]:
        """Write a directory that `load` reads.

        Returns:
            The names of its files relative to it, sorted.
        """
        self._reset_tokenizer()
        with _quiet():
            self.model.save_pretrained(str(folder), create_model_card=False)
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def _reset_tokenizer(self) -> None:
        """Remove the padding and truncation of the last batch, which a saved tokenizer would contain."""
        backend = getattr(self.model.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            backend.no_truncation()
            backend.no_padding()

    @property
    def dim(self) -> int:
        """Length of a vector."""
        dim = self.model.get_embedding_dimension()
        assert dim is not None  # it has encoded a phrase
        return dim

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Return unit vectors [shape=(n, dim)], differentiable.

        Args:
            input_ids: ids of the tokenizer [shape=(n, n_tokens)].
            attention_mask: 1 at tokens, 0 at padding [shape=(n, n_tokens)]; None: no padding.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        found = self.model({"input_ids": input_ids, "attention_mask": mask})
        return nn.functional.normalize(found["sentence_embedding"], dim=-1)

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """Return one unit vector per phrase [shape=(n, dim)], float32, without dropout.

        Raises:
            UnknownWordsError: a phrase is blank.
        """
        if not all(phrase.strip() for phrase in phrases):
            raise UnknownWordsError([], {})
        if not phrases:
            return np.zeros((0, self.dim), np.float32)
        was_training = self.training
        try:
            vectors = self.model.encode(
                list(phrases),
                batch_size=_BATCH_PHRASES,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        finally:
            self.train(was_training)
        return np.asarray(vectors, dtype=np.float32)

    def unknown_words(self, phrase: str) -> list[str]:
        """Return no words: the tokenizer splits every word into known pieces."""
        return []


def _check_weights(module: PreTrainedModel, folder: Path) -> None:
    """Refuse a model whose file lacks weights, which transformers draws at random with a warning.

    The pooler is removed: sentence-transformers does not use it, and many files lack it.
    """
    if getattr(module, "pooler", None) is not None:
        setattr(module, "pooler", None)  # noqa: B010 - the type of a submodule
    load: Any = type(module).from_pretrained  # returns a pair where output_loading_info is set
    _, report = load(module.config.name_or_path, config=module.config, use_safetensors=True, output_loading_info=True)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelDirError(f"the weights in {folder} lack {missing[0]}{others}: copy it again")


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress log messages and progress bars of both libraries; failures are raised as errors."""
    bars_were_on = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    logger = logging.getLogger("sentence_transformers")
    level = logger.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        logger.setLevel(level)
        if bars_were_on:
            transformers_logging.enable_progress_bar()
