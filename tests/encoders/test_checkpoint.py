"""Model directories: what is hashed and how often, and saves that are interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

import encoders.checkpoint
from encoders import DEFAULT_MODEL_DIR, ModelDirError, TextEncoder, TwoTowerModel
from encoders.checkpoint import check_model_dir, fingerprint, sha256_of, swapped_in
from encoders.loading import load_model

ROOT = Path(__file__).resolve().parents[2]
# Runs a command and prints how often it hashed each file.
COUNTED = """
import collections, json, sys
import encoders.checkpoint as checkpoint
counts, hashed = collections.Counter(), checkpoint._hash_file
def counting(path):
    counts[path.name] += 1
    return hashed(path)
checkpoint._hash_file = counting
from retrieval.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print("HASHED", json.dumps(counts))
"""


def hashed_by(*arguments: str | Path) -> Counter[str]:
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return Counter(json.loads(done.stdout.split("HASHED")[-1]))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_MODEL_DIR, tmp_path / "model"))


def flip_byte_of(weights: Path, tensor: str) -> None:
    """Change one byte of a tensor in a safetensors file."""
    content = bytearray(weights.read_bytes())
    length = int.from_bytes(content[:8], "little")
    first, _ = json.loads(content[8 : 8 + length])[tensor]["data_offsets"]
    content[8 + length + first] ^= 1
    weights.write_bytes(content)


def test_an_evaluation_hashes_each_file_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    (tmp_path / "labels.csv").write_text("file,labels\na.wav,rain\nb.wav,piano\n", encoding="utf-8")
    counts = hashed_by("evaluate", DEFAULT_MODEL_DIR, "--data", tmp_path)
    assert counts == dict.fromkeys(["config.json", "model.safetensors", "vocab.txt"], 1)


def test_a_query_hashes_no_audio_weights(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    hashed_by("index", "build", tmp_path, "--index", tmp_path / "index")
    assert hashed_by("--index", tmp_path / "index", "rain") == {"config.json": 1, "vocab.txt": 1}


def test_hashes_are_kept_by_the_state_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    hashed = encoders.checkpoint._hash_file
    monkeypatch.setattr(encoders.checkpoint, "_hash_file", lambda path: (calls.append(path), hashed(path))[1])
    path = tmp_path / "file"
    path.write_bytes(b"one")
    (tmp_path / "link").symlink_to(path)
    first = sha256_of(path)
    assert first == sha256_of(path) == sha256_of(tmp_path / "link")
    assert len(calls) == 1
    status = path.stat()
    replacement = tmp_path / "other"
    replacement.write_bytes(b"two")
    os.utime(replacement, ns=(status.st_atime_ns, status.st_mtime_ns))
    replacement.replace(path)  # same size and time, another inode
    assert sha256_of(path) != first
    path.write_bytes(b"one")  # the same inode, another time
    os.utime(path, ns=(1, 1))
    assert sha256_of(path) == first
    assert len(calls) == 3


def test_the_text_encoder_checks_what_it_reads_and_the_model_all(copied: Path) -> None:
    weights = copied / "model.safetensors"
    flip_byte_of(weights, "audio_tower.projection.fc2.weight")
    assert TextEncoder.load(copied).fingerprint == fingerprint(copied)
    for load in (TwoTowerModel.from_pretrained, load_model, check_model_dir):
        with pytest.raises(ModelDirError, match=r"model\.safetensors is damaged"):
            load(copied)
    flip_byte_of(weights, "audio_tower.projection.fc2.weight")
    check_model_dir(copied)
    for tensor in ("words.codes", "text_tower.trained.fc2.weight", "text_tower.class_parts", "calibration.line"):
        flip_byte_of(weights, tensor)
        with pytest.raises(ModelDirError, match=r"model\.safetensors is damaged"):
            TextEncoder.load(copied)
        flip_byte_of(weights, tensor)
    (copied / "vocab.txt").write_text("nonsense", encoding="utf-8")
    with pytest.raises(ModelDirError, match=r"vocab\.txt is damaged"):
        TextEncoder.load(copied)


def test_a_model_without_checksums_of_parts_is_checked_whole(copied: Path) -> None:
    sums = json.loads((copied / "checksums.json").read_text(encoding="utf-8"))
    former = fingerprint(copied)
    (copied / "checksums.json").write_text(json.dumps({k: v for k, v in sums.items() if "#" not in k}))
    assert TextEncoder.load(copied).fingerprint == fingerprint(copied) == former
    flip_byte_of(copied / "model.safetensors", "audio_tower.projection.fc2.weight")
    with pytest.raises(ModelDirError, match=r"model\.safetensors is damaged"):
        TextEncoder.load(copied)


@pytest.mark.parametrize("step", ["ChunkFeatureExtractor", "PhraseTokenizer", "write_checksums"])
def test_a_save_that_fails_leaves_the_old_model(copied: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TwoTowerModel.from_pretrained(copied)
    former = sorted(path.name for path in copied.iterdir())
    (copied / "checkpoints").mkdir()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    model.config.tag_names = ["changed"]
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(f"encoders.two_tower.{step}", full)
        model.save_pretrained(copied)
    assert TwoTowerModel.from_pretrained(copied).config.tag_names != ["changed"]
    assert sorted(path.name for path in copied.iterdir()) == sorted([*former, "checkpoints"])
    assert [path.name for path in copied.parent.iterdir()] == ["model"]
    model.save_pretrained(copied)
    assert TwoTowerModel.from_pretrained(copied).config.tag_names == ["changed"]
    assert (copied / "checkpoints").is_dir()  # it is not a file of the model


def test_a_killed_save_leaves_the_old_model(copied: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "import encoders.two_tower as two_tower\n"
        "model = two_tower.TwoTowerModel.from_pretrained(sys.argv[1])\n"
        "model.config.tag_names = ['changed']\n"
        "two_tower.write_checksums = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "model.save_pretrained(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(copied)], cwd=ROOT, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    model = TwoTowerModel.from_pretrained(copied)
    assert model.config.tag_names != ["changed"]
    model.save_pretrained(copied)
    assert [path.name for path in copied.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("new_exists", [True, False])
def test_a_swap_that_was_killed_half_way_is_finished(tmp_path: Path, new_exists: bool) -> None:
    folder, old = tmp_path / "model", tmp_path / ".model.replaced"
    for path, content in ((old, "old"), (folder, "new")):
        if path == old or new_exists:
            path.mkdir()
            (path / "config.json").write_text(content)
            (path / "checksums.json").write_text(json.dumps({"config.json": "0"}))
    (old / "notes.txt").write_text("kept")
    with pytest.raises(KeyboardInterrupt), swapped_in(folder):
        assert (folder / "config.json").read_text() == ("new" if new_exists else "old")
        raise KeyboardInterrupt
    assert (folder / "notes.txt").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
