"""A model directory: which files it has, whether they are whole, and which model it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = [
    "DEFAULT_MODEL_DIR",
    "MODEL_FILES",
    "TAGGER_FILES",
    "ModelDirError",
    "check_model_dir",
    "fingerprint",
    "is_tagger_dir",
    "seal",
    "sha256_of",
]

DEFAULT_MODEL_DIR = Path(__file__).parent / "weights" / "default"
CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE = "config.json", "model.safetensors", "vocab.txt"
CHECKSUMS_FILE = "checksums.json"
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE)
TAGGER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
TAGGER_TYPE = "earmark-tagger"


class ModelDirError(ValueError):
    """A model directory lacks a file or holds a damaged one."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _checksums(model_dir: Path, files: Sequence[str] = MODEL_FILES) -> dict[str, str]:
    if not model_dir.is_dir():
        raise ModelDirError(
            f"no model directory at {model_dir}: give one with --model, or leave it out for the default"
        )
    try:
        sums: Any = json.loads((model_dir / CHECKSUMS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelDirError(f"{model_dir} is no Earmark model: it has no {CHECKSUMS_FILE}") from None
    except (OSError, ValueError) as error:
        raise ModelDirError(f"{model_dir / CHECKSUMS_FILE} cannot be read ({error}): copy the model again") from None
    if isinstance(sums, dict) and VOCABULARY_FILE in files and VOCABULARY_FILE not in sums and CONFIG_FILE in sums:
        raise ModelDirError(
            f"{model_dir} holds a closed-set tagger, which has no text tower: `retrieve tag` and `retrieve evaluate` "
            "take it; give a model trained by --objective contrastive"
        )
    whole = isinstance(sums, dict) and all(isinstance(sums.get(name), str) for name in files)
    if not whole or not all(isinstance(value, str) and _is_inside(name) for name, value in sums.items()):
        raise ModelDirError(f"{model_dir / CHECKSUMS_FILE} does not name the model's files: copy the model again")
    return sums


def _is_inside(name: str) -> bool:
    place = PurePosixPath(name)
    return not place.is_absolute() and ".." not in place.parts


def check_model_dir(model_dir: Path, *, files: Sequence[str] = MODEL_FILES) -> str:
    """Check that every file is there and undamaged, and return the model's fingerprint.

    Args:
        model_dir: the directory.
        files: what a model of the wanted kind has; whatever else was sealed is checked too.

    Raises:
        ModelDirError: a file is missing or is not what was saved; the message says which.
    """
    sums = _checksums(model_dir, files)
    for name in sums:
        path = model_dir / name
        try:
            whole = sha256_of(path) == sums[name]
        except FileNotFoundError:
            raise ModelDirError(f"the model in {model_dir} lacks {name}: copy the model again") from None
        except OSError as error:
            raise ModelDirError(f"{path} cannot be read ({error.strerror})") from None
        if not whole:
            raise ModelDirError(f"{path} is damaged or was changed: copy the model again")
    return _fingerprint(sums)


def is_tagger_dir(model_dir: Path) -> bool:
    """Return whether a directory holds a closed-set tagger, by its config; whether it is whole is not asked."""
    try:
        config = json.loads((model_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == TAGGER_TYPE


def _fingerprint(sums: dict[str, str]) -> str:
    of_files = [sums[name] for name in MODEL_FILES if name in sums]
    of_others = [f"{name}={sums[name]}" for name in sorted(sums.keys() - set(MODEL_FILES))]
    return hashlib.sha256("".join([*of_files, *of_others]).encode()).hexdigest()[:32]


def fingerprint(model_dir: Path = DEFAULT_MODEL_DIR) -> str:
    """Return the 32 hex digits that tell this model from any other; reads the checksums only.

    Raises:
        ModelDirError: there is no model.
    """
    return _fingerprint(_checksums(model_dir))


def seal(model_dir: Path, *, files: Iterable[str] = MODEL_FILES) -> str:
    """Write the checksums of a finished model directory and return its fingerprint.

    Args:
        model_dir: the directory.
        files: its files, by their names relative to it.
    """
    sums = {name: sha256_of(model_dir / name) for name in files}
    (model_dir / CHECKSUMS_FILE).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
    return _fingerprint(sums)
