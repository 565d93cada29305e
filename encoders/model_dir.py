"""A model directory: which files it has, whether they are whole, and which model it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["DEFAULT_MODEL_DIR", "MODEL_FILES", "ModelDirError", "check_model_dir", "fingerprint", "seal", "sha256_of"]

DEFAULT_MODEL_DIR = Path(__file__).parent / "weights" / "default"
CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE = "config.json", "model.safetensors", "vocab.txt"
CHECKSUMS_FILE = "checksums.json"
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE)


class ModelDirError(ValueError):
    """A model directory lacks a file or holds a damaged one."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _checksums(model_dir: Path) -> dict[str, str]:
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
    if not isinstance(sums, dict) or not all(isinstance(sums.get(name), str) for name in MODEL_FILES):
        raise ModelDirError(f"{model_dir / CHECKSUMS_FILE} does not name the model's files: copy the model again")
    return sums


def check_model_dir(model_dir: Path) -> str:
    """Check that every file is there and undamaged, and return the model's fingerprint.

    Raises:
        ModelDirError: a file is missing or is not what was saved; the message says which.
    """
    sums = _checksums(model_dir)
    for name in MODEL_FILES:
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


def _fingerprint(sums: dict[str, str]) -> str:
    return hashlib.sha256("".join(sums[name] for name in MODEL_FILES).encode()).hexdigest()[:32]


def fingerprint(model_dir: Path = DEFAULT_MODEL_DIR) -> str:
    """Return the 32 hex digits that tell this model from any other; reads the checksums only.

    Raises:
        ModelDirError: there is no model.
    """
    return _fingerprint(_checksums(model_dir))


def seal(model_dir: Path) -> str:
    """Write the checksums of a finished model directory and return its fingerprint."""
    sums = {name: sha256_of(model_dir / name) for name in MODEL_FILES}
    (model_dir / CHECKSUMS_FILE).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
    return _fingerprint(sums)
