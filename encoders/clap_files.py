"""A CLAP checkpoint of transformers on disk or on the Hugging Face hub: its files, its identity, the form of its audio.

Nothing here imports torch: an index made by another model is refused before the weights are read.

Source: Wu et al., "Large-scale contrastive language-audio pretraining with feature fusion and keyword-to-caption
augmentation", ICASSP 2023.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.checkpoint import CONFIG_FILE, ModelDirError

__all__ = ["DEFAULT_PROMPT", "ClapCheckpoint", "check_prompt", "clap_checkpoint", "is_clap", "is_hub_name"]

DEFAULT_PROMPT = "This is a sound of {}."
"""What LAION's models and the zero-shot pipeline of transformers are asked by default; {} is the label."""

_TYPE = "clap"
_SAFE, _PICKLED = ("model.safetensors", "pytorch_model.bin")
# Everything that decides a vector, beside the weights.
_SMALL_FILES = (
    CONFIG_FILE,
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FORM = "earmark-clap-1"  # how chunks are cut and fed; another form makes other vectors of the same weights
_BLOCK_BYTES = 1 << 20
_HUB_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ClapCheckpoint:
    """The files of a checkpoint as they were when they were hashed.

    Attributes:
        folder: where they are.
        name: for display: the name of the folder or on the hub.
        weights: names of the files with the weights, and of their table if there are several.
        fingerprint: 32 hexadecimal digits of the content of all files that decide a vector.
        extractor: the settings of the feature extractor.
        states: size, modification time and inode of each file.
    """

    folder: Path
    name: str
    weights: tuple[str, ...]
    fingerprint: str
    extractor: dict[str, Any]
    states: dict[str, tuple[int, int, int]]

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the audio that the model takes."""
        return int(self.extractor["sampling_rate"])

    @property
    def chunk_s(self) -> float:
        """Length of the model's input in seconds. A chunk is one input, and a segment is one chunk."""
        return float(self.extractor["max_length_s"])

    @property
    def is_safe(self) -> bool:
        """Whether the weights are safetensors; otherwise they are a pickle, of which only tensors are read."""
        return not self.weights[0].startswith(_PICKLED.partition(".")[0])

    @classmethod
    def read(cls, folder: Path, *, name: str | None = None) -> ClapCheckpoint:
        """Hash the files of a checkpoint: all of them, each time, since size and time do not identify content.

        Raises:
            ModelDirError: a file is missing or cannot be read.
        """
        weights = _weights(folder)
        if not weights:
            raise ModelDirError(
                f"the CLAP model in {folder} has no weights: copy {_SAFE} (or {_PICKLED}) of the model into it"
            )
        digest = hashlib.sha256(_FORM.encode())
        states = {}
        names = [file for file in _SMALL_FILES if (folder / file).is_file()]
        try:
            for file in (*names, *weights):
                states[file] = _state(folder / file)
                digest.update(f"\n{file} {_sha256(folder / file)}".encode())
        except OSError as error:
            raise ModelDirError(f"{folder / file} cannot be read ({error.strerror}): copy the model again") from None
        return cls(folder, name or folder.resolve().name, weights, digest.hexdigest()[:32], _extractor(folder), states)

    def check_unchanged(self) -> None:
        """Raise ModelDirError if a file was replaced since it was hashed."""
        try:
            unchanged = all(_state(self.folder / file) == state for file, state in self.states.items())
        except OSError:
            unchanged = False
        if not unchanged:
            raise ModelDirError(f"the model in {self.folder} was replaced meanwhile: run the command again")


def check_prompt(prompt: str) -> str:
    """Return a prompt. Raises ModelDirError unless it has one {} for the label."""
    if prompt.count("{}") != 1 or not prompt.replace("{}", "").isprintable():
        raise ModelDirError(f"the prompt {prompt!r} must have one {{}} for the words, as in {DEFAULT_PROMPT!r}")
    return prompt


def is_hub_name(model: Path) -> bool:
    """Return whether a model is a name on the hub: OWNER/NAME, where there is no folder OWNER here."""
    return _HUB_NAME.fullmatch(model.as_posix()) is not None and not model.parent.exists()


def is_clap(model: Path) -> bool:
    """Return whether a model is a CLAP checkpoint or a name on the hub, where no other kind is looked for."""
    return _model_type(model) == _TYPE or is_hub_name(model)


def clap_checkpoint(model: Path) -> ClapCheckpoint | None:
    """Return the checkpoint of a folder or a name on the hub; None for a model of another kind.

    A name is looked up in the local cache of the hub first and fetched only if it is not there, so that the model of an
    index does not change by itself.

    Raises:
        ModelDirError: the checkpoint is incomplete, is no whole ClapModel, or cannot be fetched.
    """
    if is_hub_name(model):
        return ClapCheckpoint.read(_fetched(model.as_posix()), name=model.as_posix())
    kind = _model_type(model)
    if kind != _TYPE and str(kind).startswith(_TYPE):
        raise ModelDirError(f"{model} holds one tower of CLAP ({kind}): give a whole ClapModel (model_type {_TYPE!r})")
    return ClapCheckpoint.read(model) if kind == _TYPE else None


def _model_type(folder: Path) -> object:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def _weights(folder: Path) -> tuple[str, ...]:
    """Return the names of the files with the weights; none if they are not complete."""
    for single in (_SAFE, _PICKLED):
        if (folder / single).is_file():
            return (single,)
        table = folder / f"{single}.index.json"
        if table.is_file():
            try:
                shards = sorted(set(json.loads(table.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, AttributeError, TypeError):
                raise ModelDirError(f"{table} does not list the weights: copy the model again") from None
            if all(isinstance(shard, str) and Path(shard).name == shard for shard in shards):
                return (table.name, *shards)
            raise ModelDirError(f"{table} names files outside of its folder: get the model from another place")
    return ()


def _extractor(folder: Path) -> dict[str, Any]:
    """Return the settings of the feature extractor, checked."""
    for name, key in (("preprocessor_config.json", None), ("processor_config.json", "feature_extractor")):
        try:
            values = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise ModelDirError(f"{folder / name} cannot be read ({error}): copy the model again") from None
        values = values.get(key) if key and isinstance(values, dict) else values
        if isinstance(values, dict):
            return _checked_extractor(values, folder / name)
    raise ModelDirError(
        f"the CLAP model in {folder} lacks preprocessor_config.json, which says how its audio is fed: "
        "copy it from the place that the model comes from"
    )


def _checked_extractor(values: dict[str, Any], path: Path) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "feature_extractor_type": "ClapFeatureExtractor",
        "feature_size": 64,
        "sampling_rate": 48_000,
        "hop_length": 480,
        "max_length_s": 10,
        "fft_window_size": 1024,
        "frequency_min": 0,
        "frequency_max": 14_000,
        "truncation": "fusion",
    }
    found = {name: values.get(name, default) for name, default in defaults.items()}
    numbers = {name: value for name, value in found.items() if isinstance(defaults[name], int)}
    if found["feature_extractor_type"] != defaults["feature_extractor_type"] or found["truncation"] not in (
        "fusion",
        "rand_trunc",
    ):
        raise ModelDirError(f"{path} is not that of a ClapFeatureExtractor: copy the model again")
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < (name != "frequency_min"):
            raise ModelDirError(f"{path}: {name} cannot be {value!r}: copy the model again")
    return found


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _fetched(name: str) -> Path:
    """Return the folder of a model of the hub in the local cache, where it is downloaded to if it is not there."""
    from huggingface_hub import HfApi  # half a second to import

    hub = HfApi()

    try:
        folder = Path(hub.snapshot_download(name, local_files_only=True))
        if _model_type(folder) == _TYPE and _weights(folder):
            return folder
    except (OSError, ValueError):
        pass  # not in the cache, or in part
    try:
        # Asked for first, because it fails at once where there is no network; downloads try six times.
        found = hub.model_info(name, timeout=_HUB_TIMEOUT_S)
        files = {file.rfilename for file in found.siblings or ()}
        if CONFIG_FILE not in files:
            raise ModelDirError(f"{name} on the Hugging Face hub is no model of transformers: give a ClapModel")
        folder = Path(hub.hf_hub_download(name, CONFIG_FILE)).parent
        kind = _model_type(folder)
        if kind != _TYPE:
            raise ModelDirError(f"{name} on the Hugging Face hub is of type {kind!r}: give a ClapModel ({_TYPE!r})")
        wanted = [file for file in _wanted(files, name) if file in files]
        if any(Path(hub.hf_hub_download(name, file)).parent != folder for file in wanted):
            raise ModelDirError(f"{name} on the Hugging Face hub was changed meanwhile: run the command again")
    except ModelDirError:
        raise
    except Exception as error:  # of several libraries: OSError, httpx's errors, ValueError ...
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelDirError(
            f"there is no folder {name!r}, and no model of this name could be fetched from the Hugging Face hub "
            f"({reason}): check the name, or run `hf download {name} --local-dir DIR` where there is a network and "
            "give --model DIR"
        ) from None
    return folder


def _wanted(files: set[str], name: str) -> list[str]:
    """Return the files of a repository that are read: safetensors if there are any, which are never unpickled."""
    for single in (_SAFE, _PICKLED):
        stem, suffix = single.split(".")
        shards = [file for file in files if re.fullmatch(rf"{stem}-\d+-of-\d+\.{suffix}", file)]
        chosen = [single] if single in files else [*shards, f"{single}.index.json"] if shards else []
        if chosen:
            return [*_SMALL_FILES, *chosen]
    raise ModelDirError(f"{name} on the Hugging Face hub has no {_SAFE} and no {_PICKLED}: give another model")
