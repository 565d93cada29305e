"""A model directory: its files, whether they are undamaged, and the fingerprint of the model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

__all__ = [
    "DEFAULT_MODEL_DIR",
    "MODEL_FILES",
    "TAGGER_FILES",
    "ModelDirError",
    "check_model_dir",
    "check_text_tensors",
    "checked_config",
    "fingerprint",
    "is_audio_tensor",
    "is_tagger_dir",
    "sha256_of",
    "swapped_in",
    "write_checksums",
]

DEFAULT_MODEL_DIR = Path(__file__).parent / "weights" / "default"
CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE = "config.json", "model.safetensors", "vocab.txt"
CHECKSUMS_FILE = "checksums.json"
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE)
TAGGER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
TAGGER_TYPE = "earmark-tagger"

_TEXT_TENSORS = f"{WEIGHTS_FILE}#text"  # in the checksums: the tensors of the file that a query reads

_known: dict[tuple[str, int, int, int], str] = {}


class ModelDirError(ValueError):
    """A model directory lacks a file or holds a damaged one."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex, computed once per process for each state of the file.

    The state is its real path, size, modification time and inode.
    """
    status = path.stat()
    key = (os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ino)
    if key not in _known:
        _known[key] = _hash_file(path)
    return _known[key]


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def is_audio_tensor(name: str) -> bool:
    """Return whether a tensor of a two-tower model belongs to the audio tower, which a text query does not read."""
    return name.startswith("audio_tower.")


def _hash_tensors(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _checksums(model_dir: Path, files: Sequence[str] = MODEL_FILES) -> dict[str, str]:
    if not model_dir.is_dir():
        raise ModelDirError(
            f"no model directory at {model_dir}: pass an existing one with --model, or omit it for the default"
        )
    path = model_dir / CHECKSUMS_FILE
    try:
        sums: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelDirError(f"{model_dir} is not an Earmark model: it has no {CHECKSUMS_FILE}") from None
    except (OSError, ValueError) as error:
        raise ModelDirError(f"{path} cannot be read ({error}): copy the model again") from None
    if isinstance(sums, dict) and VOCABULARY_FILE in files and VOCABULARY_FILE not in sums and CONFIG_FILE in sums:
        raise ModelDirError(
            f"{model_dir} holds a closed-set tagger, which has no text tower: `retrieve tag` and `retrieve evaluate` "
            "accept it; elsewhere pass a model trained with --objective contrastive"
        )
    complete = isinstance(sums, dict) and all(isinstance(sums.get(name), str) for name in files)
    if not complete or not all(isinstance(value, str) and _is_inside(name) for name, value in sums.items()):
        raise ModelDirError(f"{path} does not list the model's files: copy the model again")
    return sums


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def check_model_dir(model_dir: Path, *, files: Sequence[str] = MODEL_FILES) -> str:
    """Check that every file exists and is undamaged.

    Args:
        model_dir: the directory.
        files: what a model of this kind must have. Other files with a checksum are checked too.

    Returns:
        The model's fingerprint.

    Raises:
        ModelDirError: a file is missing or was changed; the message names it.
    """
    sums = _checksums(model_dir, files)
    _check_files(model_dir, {name: value for name, value in sums.items() if name != _TEXT_TENSORS})
    return _fingerprint(sums)


def check_text_tensors(model_dir: Path, tensors: Mapping[str, np.ndarray]) -> str:
    """Check the files that a text query reads, and the tensors that it has read from the weights.

    The audio tower's weights are neither read nor hashed.

    Args:
        model_dir: the directory of a two-tower model.
        tensors: all tensors of the weights for which `is_audio_tensor` is false.

    Returns:
        The model's fingerprint.

    Raises:
        ModelDirError: a file is missing or was changed; the message names it.
    """
    sums = _checksums(model_dir)
    if _TEXT_TENSORS not in sums:  # written before there were checksums of parts
        return check_model_dir(model_dir)
    _check_files(model_dir, {name: value for name, value in sums.items() if name not in (_TEXT_TENSORS, WEIGHTS_FILE)})
    if _hash_tensors(tensors) != sums[_TEXT_TENSORS]:
        raise _damaged(model_dir / WEIGHTS_FILE)
    return _fingerprint(sums)


def _check_files(model_dir: Path, sums: Mapping[str, str]) -> None:
    for name, expected in sums.items():
        path = model_dir / name
        try:
            undamaged = sha256_of(path) == expected
        except FileNotFoundError:
            raise ModelDirError(f"the model in {model_dir} lacks {name}: copy the model again") from None
        except OSError as error:
            raise ModelDirError(f"{path} cannot be read ({error.strerror})") from None
        if not undamaged:
            raise _damaged(path)


def _damaged(path: Path) -> ModelDirError:
    return ModelDirError(f"{path} is damaged or was changed: copy the model again")


def is_tagger_dir(model_dir: Path) -> bool:
    """Return whether a directory holds a closed-set tagger, by its config alone."""
    try:
        config = json.loads((model_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == TAGGER_TYPE


def _fingerprint(sums: dict[str, str]) -> str:
    of_files = [sums[name] for name in MODEL_FILES if name in sums]
    of_others = [f"{name}={sums[name]}" for name in sorted(sums.keys() - {*MODEL_FILES, _TEXT_TENSORS})]
    return hashlib.sha256("".join([*of_files, *of_others]).encode()).hexdigest()[:32]


def fingerprint(model_dir: Path = DEFAULT_MODEL_DIR) -> str:
    """Return the 32 hexadecimal digits that identify a model. Only the checksums are read.

    Raises:
        ModelDirError: there is no model.
    """
    return _fingerprint(_checksums(model_dir))


def checked_config(model_dir: Path) -> tuple[str, dict[str, Any]]:
    """Return the fingerprint and the config of a two-tower model. The weights are neither read nor hashed.

    Raises:
        ModelDirError: there is no model, or its config was changed.
    """
    sums = _checksums(model_dir)
    _check_files(model_dir, {CONFIG_FILE: sums[CONFIG_FILE]})
    config: dict[str, Any] = json.loads((model_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    return _fingerprint(sums), config


def write_checksums(model_dir: Path, *, files: Iterable[str] = MODEL_FILES) -> str:
    """Write the checksums of a finished model directory.

    Args:
        model_dir: the directory.
        files: its files, by their names relative to it.

    Returns:
        The model's fingerprint.
    """
    from safetensors import safe_open  # a query reads checksums, it writes none

    sums = {name: sha256_of(model_dir / name) for name in files}
    if VOCABULARY_FILE in sums:
        with safe_open(model_dir / WEIGHTS_FILE, framework="np") as weights:
            names = [name for name in weights.keys() if not is_audio_tensor(name)]  # noqa: SIM118 - not a dict
            sums[_TEXT_TENSORS] = _hash_tensors({name: weights.get_tensor(name) for name in names})
    (model_dir / CHECKSUMS_FILE).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
    return _fingerprint(sums)


@contextmanager
def swapped_in(folder: Path) -> Iterator[Path]:
    """Yield an empty directory whose files replace those of the model in `folder` when the block ends.

    If the block raises or the process is killed in it, `folder` stays as it was. Files in `folder` that belong to no
    model, such as checkpoints of a run, are kept.
    """
    new, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("partial", "replaced"))
    _finish_swap(folder, old)  # of a process that was killed
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _finish_swap(folder, old)


def _finish_swap(folder: Path, old: Path) -> None:
    """Move files of `old` that belong to no model to `folder`, remove the rest; restore `old` without a `folder`."""
    if not old.exists():
        return
    if not folder.exists():
        old.rename(folder)
        return
    of_model = _names_in_checksums(old)
    for entry in old.iterdir():
        if entry.name not in of_model and not (folder / entry.name).exists():
            entry.rename(folder / entry.name)
    shutil.rmtree(old)


def _names_in_checksums(model_dir: Path) -> set[str]:
    """Return the top-level names of the files that a directory's checksums list."""
    try:
        sums = json.loads((model_dir / CHECKSUMS_FILE).read_text(encoding="utf-8"))
        return {PurePosixPath(name).parts[0] for name in sums}
    except (OSError, ValueError, IndexError):
        return set()
