"""`retrieve train` through the entry point: whole runs, their folders, and one-line errors before decoding."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training_helpers import RATE_HZ, TAGS, sound, words_file

from encoders.tagger_model import TaggerModel

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(torch|accelerate|transformers).*")

Call = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[3]
TAGGER = ("--objective", "bce", "--backbone", "mn04", "--device", "cpu", "--batch", "2", "--crop", "0.5")


def write_clips(folder: Path, splits: list[str | None], *, first: int = 0) -> Path:
    """Write one clip for each split, and their table; without a column of splits if no clip has one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,labels,split" if any(splits) else "file,labels"]
    for i, split in enumerate(splits, start=first):
        soundfile.write(folder / f"{i}.wav", sound((TAGS[i % 4],), i, seconds=0.6), RATE_HZ)
        rows.append(f"{i}.wav,{TAGS[i % 4]}" + (f",{split or ''}" if any(splits) else ""))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def state(*folders: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of modification of everything in some folders."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*")) if path.exists()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def result_of(out: str) -> dict:
    return json.loads(out.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_clips(tmp_path_factory.mktemp("data"), [*["train"] * 4, *["val"] * 4])
    words_file(folder)
    return folder


def test_a_run_leaves_the_model_alone(data: Path, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "runs" / "tagger"
    code, stdout, stderr = call("train", "--data", data, "--out", out, *TAGGER, "--epochs", "1", "--json")
    assert code == 0, stderr
    result = result_of(stdout)
    assert result["model"] == str(out) and result["steps"] == 2 and 0 <= result["validation"]["map"] <= 1
    scores = TaggerModel.from_pretrained(out).tag_audio([data / "0.wav"])
    assert scores.shape == (1, 4) and np.isfinite(scores).all()
    # Announced before it was written, and gone.
    assert "MB of decoded audio" in stderr and "MB of checkpoints" in stderr
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["tagger"]
    assert {"audio", "checkpoints"}.isdisjoint(path.name for path in out.iterdir())
    before = state(out)
    code, _, stderr = call("train", "--data", data, "--out", out, *TAGGER)
    assert code == 2 and f"{out} already holds a model: choose another --out" in stderr
    assert state(out) == before


def test_the_cache_is_removed_without_what_others_have_in_its_folder(data: Path, tmp_path: Path, call: Call) -> None:
    cache = tmp_path / "disk"
    cache.mkdir()
    (cache / "diary.txt").write_text("mine")
    options = ("--data", data, *TAGGER, "--epochs", "1", "--cache-dir", cache, "--max-clip", "0.3")
    code, _, stderr = call("train", *options, "--out", tmp_path / "one")
    assert code == 0, stderr
    assert f"{cache}" in stderr and "8 clips are cut to their first 0.3 s (--max-clip)" in stderr
    assert [path.name for path in cache.iterdir()] == ["diary.txt"]
    code, _, stderr = call("train", *options, "--out", tmp_path / "two", "--keep-cache")
    assert code == 0, stderr
    stored = [path for path in cache.rglob("audio.f16") if path.parent.name == "train"]
    assert [path.stat().st_size for path in stored] == [4 * 2 * round(0.3 * 32000)]
    assert (cache / "diary.txt").read_text() == "mine" and list(cache.rglob("checkpoint-*"))


def test_an_interrupted_run_is_resumed_as_it_was_or_left_alone(data: Path, tmp_path: Path, call: Call) -> None:
    out, work = tmp_path / "run", tmp_path / "run.work"
    init = tmp_path / "init"
    options = ["--data", data, "--out", out, *TAGGER, "--save-steps", "1", "--json"]
    start = ("train", "--data", data, "--out", init, *TAGGER, "--epochs", "1")
    assert call(*start)[0] == 0
    command = [sys.executable, "-m", "retrieval", "train", *map(str, options), "--epochs", "3", "--init", str(init)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        limit = time.monotonic() + 100
        while not list(work.glob("checkpoints/checkpoint-*/trainer_state.json")):
            assert running.poll() is None and time.monotonic() < limit
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    assert not out.exists()
    before = state(out, work, data)
    options += ["--epochs", "3"]

    def refused(*arguments: object) -> str:
        code, _, stderr = call("train", *arguments)
        assert code == 2 and stderr.count("\n") == 1
        assert state(out, work, data) == before
        return stderr

    assert "--resume" in refused(*options, "--init", init)
    other = write_clips(tmp_path / "other", [*["train"] * 4, *["val"] * 4], first=4)
    rotated = write_clips(tmp_path / "rotated", [*["train"] * 4, *["val"] * 4])
    table = (rotated / "labels.csv").read_text()
    for one, another in zip(TAGS, (*TAGS[1:], TAGS[0]), strict=True):
        table = table.replace(f",{one},", f",<{another}>,")
    (rotated / "labels.csv").write_text(table.replace("<", "").replace(">", ""))
    assert "training clips" in refused("--data", other, *options[2:], "--init", init, "--resume")
    assert "labels" in refused("--data", rotated, *options[2:], "--init", init, "--resume")
    assert "--init" in refused(*options, "--resume")
    assert '"linear", here "mlp"' in refused(*options, "--init", init, "--head", "mlp", "--resume")
    assert "learning rate" in refused(*options, "--init", init, "--lr", "0.5", "--resume")
    code, stdout, stderr = call("train", *options, "--init", init, "--resume")
    assert code == 0, stderr
    assert result_of(stdout)["steps"] == 6 and out.is_dir() and not work.exists()


def test_a_run_is_resumed_only_with_its_own_words(data: Path, tmp_path: Path, call: Call) -> None:
    options = ("train", "--data", data, "--device", "cpu", "--batch", "4", "--crop", "5", "--epochs", "1")
    out = tmp_path / "towers"
    code, _, stderr = call(*options, "--out", out, "--text", data / "words.safetensors", "--keep-cache")
    assert code == 0, stderr
    work = tmp_path / "towers.work"
    before = state(out, work)
    code, _, stderr = call(*options, "--out", out, "--resume")
    assert code == 2 and "text encoder (--text)" in stderr and state(out, work) == before


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["training"] * 4 + ["validation"] * 4 + ["test"] * 4, "the split 'test' (4 clips) is not used"),
        (["Train"] * 4 + ["Val"] * 4 + ["Test"] * 4, "the split 'Test' (4 clips) is not used"),
        (["training"] * 12 + ["test"] * 4, "has no validation split: 11 clips for training, 1 for validation"),
        ([None] * 8, "names no splits: 7 clips for training, 1 for validation"),
    ],
)
def test_the_test_split_is_not_trained_on(tmp_path: Path, call: Call, splits: list[str | None], message: str) -> None:
    data = write_clips(tmp_path / "data", splits)
    code, stdout, stderr = call(
        "train", "--data", data, "--out", tmp_path / "out", *TAGGER, "--epochs", "1", "--json", "--keep-cache"
    )
    assert code == 0, stderr
    assert message in " ".join(stderr.split())
    stores = {path.parent.name: path.stat().st_size for path in (tmp_path / "out.work").rglob("audio.f16")}
    clip_bytes = 2 * round(0.6 * 32000)
    n_train = int(message.split(" clips for training")[0].split()[-1]) if "for training" in message else 4
    n_validation = int(message.split(" for validation")[0].split()[-1]) if "for training" in message else 4
    assert stores == {"train": n_train * clip_bytes, "validation": n_validation * clip_bytes}
    assert result_of(stdout)["steps"] == -(-n_train // 2)


@pytest.mark.parametrize("splits", [["dev", "test"], ["test"], ["fold1", "fold2", "fold3"], ["a", "b"]])
def test_splits_that_name_no_training_have_to_be_named(tmp_path: Path, call: Call, splits: list[str]) -> None:
    data = write_clips(tmp_path / "data", [split for split in splits for _ in range(2)])
    code, _, stderr = call("train", "--data", data, "--out", tmp_path / "out", *TAGGER)
    assert code == 2 and stderr.count("\n") == 1
    assert all(f"{split} (2)" in stderr for split in splits) and "--train-split NAME" in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_data_without_splits_are_divided_beside_data_with_them(data: Path, tmp_path: Path, call: Call) -> None:
    plain = write_clips(tmp_path / "plain", [None] * 20, first=20)
    options = ("--out", tmp_path / "out", *TAGGER, "--epochs", "1", "--json", "--keep-cache")
    code, _, stderr = call("train", "--data", data, "--data", plain, *options)
    assert code == 0, stderr
    assert "plain names no splits: 18 clips for training, 2 for validation" in " ".join(stderr.split())
    stores = {path.parent.name: path.stat().st_size for path in (tmp_path / "out.work").rglob("audio.f16")}
    clip_bytes = 2 * round(0.6 * 32000)
    assert stores == {"train": 22 * clip_bytes, "validation": 6 * clip_bytes}
    gaps = write_clips(tmp_path / "gaps", ["train", None, "val", None])
    code, _, stderr = call("train", "--data", gaps, "--out", tmp_path / "none", *TAGGER)
    assert code == 2 and "2 of 4 clips of gaps have no split" in stderr and not (tmp_path / "none.work").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0.wav,low\nmissing.wav,low\n", "missing.wav"),
        ("0.wav,\n1.wav,low\n", "0.wav"),
        ("0.wav,low\n0.wav,low\n", "0.wav"),
        ("0.wav,low\n1.wav,low;xyzzy\n2.wav,xyzzy\n", "1 of 2 labels are out of the vocabulary: 'xyzzy'"),
    ],
)
def test_bad_data_are_named_before_anything_is_decoded(
    data: Path, tmp_path: Path, call: Call, rows: str, message: str
) -> None:
    table = data / f"bad-{tmp_path.name}.csv"
    table.write_text("file,labels\n" + rows, encoding="utf-8")
    code, _, stderr = call(
        "train", "--data", table, "--out", tmp_path / "out", "--text", data / "words.safetensors", "--device", "cpu"
    )
    assert code == 2 and message in stderr and not list(tmp_path.rglob("audio*"))


def test_a_validation_without_a_trained_tag_is_refused_before_anything_is_decoded(tmp_path: Path, call: Call) -> None:
    data = write_clips(tmp_path / "data", ["train", "train", "val", "val"])
    code, _, stderr = call("train", "--data", data, "--out", tmp_path / "out", *TAGGER)
    assert code == 2 and "no positives" in stderr and [path.name for path in tmp_path.iterdir()] == ["data"]


def test_audio_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path, call: Call) -> None:
    rows = ["file,labels,split"]
    for name, split in (("a", "train"), ("b", "train"), ("c", "val")):
        # Sparse files of 0.5 TB that take no space.
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", mode="w+", dtype=np.int16, shape=(250_000_000_000,))
        rows.append(f"{name}.npy,low;{name},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    code, _, stderr = call(
        *("train", "--data", tmp_path, "--out", tmp_path / "out", *TAGGER),
        *("--array-rate", "1000", "--max-clip", "1e9"),
    )
    assert code == 2 and stderr.strip().splitlines()[-1].count("GB") == 2 and "--cache-dir" in stderr
    assert not list(tmp_path.rglob("audio*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--negatives", "easy"), "--negatives easy: choose one of"),
        (("--loss", "hinge"), "--loss hinge: choose one of"),
        (("--objective", "bce", "--loss", "triplet"), "does not go with"),
        (("--metric", "beauty"), "--metric beauty: choose one of"),
        (("--normalize", "loud"), "--normalize loud"),
        (("--missing-labels", "maybe"), "--missing-labels maybe: choose one of unknown, negative"),
        (("--backbone", "resnet"), "resnet"),
        (("--lr", "0"), "above 0"),
        (("--lr", "-0.001"), "above 0"),
        (("--lr", "nan"), "not a finite number"),
        (("--epochs", "0"), "at least 1"),
        (("--mixup", "1.5"), "between 0 and 1"),
        (("--max-clip", "0"), "above 0"),
        (("--distill-weight", "1"), "--init"),
        (("--val-split", "test"), "no split 'test'"),
        (("--train-split", "val", "--val-split", "val"), "is in both"),
        (("--text", "sentence:/nowhere"), "/nowhere"),
        (("--init", "/nowhere"), "/nowhere"),
        (("--unseen-labels", "/nowhere"), "/nowhere"),
    ],
)
def test_wrong_options_end_as_one_line_and_touch_nothing(
    data: Path, tmp_path: Path, call: Call, options: tuple[str, ...], message: str
) -> None:
    words = () if "--text" in options else ("--text", data / "words.safetensors")
    code, stdout, stderr = call("train", "--data", data, "--out", tmp_path / "out", *words, *options)
    assert (code, stdout) == (2, "") and message in stderr
    assert stderr.count("\n") == 1 and not list(tmp_path.rglob("audio*"))
    assert "--resume" not in call("train", "--data", data, "--out", tmp_path / "out", *words, *options)[2]


def test_an_out_that_is_a_file_is_refused_first(data: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "out").write_text("a file")
    code, _, stderr = call("train", "--data", data, "--out", tmp_path / "out", *TAGGER)
    assert code == 2 and "out" in stderr and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_unseen_labels_come_from_a_file(data: Path, tmp_path: Path, call: Call) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("# excluded\nhigh\n\noboe\n", encoding="utf-8")
    options = ("train", "--data", data, "--out", tmp_path / "out", "--text", data / "words.safetensors")
    options = (*options, "--device", "cpu", "--unseen-labels", labels)
    code, _, stderr = call(*options)
    assert code == 2 and "oboe" in stderr
    labels.write_bytes(b"\x80\x81")
    code, _, stderr = call(*options)
    assert code == 2 and "line 1: not UTF-8 text" in stderr


def test_the_help_shows_the_common_options_first_and_their_defaults(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval.training.config import DEFAULTS, TrainConfig

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    code, stdout, _ = call("train", "--help")
    assert code == 0
    panels = [line.split("─ ")[1].split(" ─")[0] for line in stdout.splitlines() if "╭─ " in line]
    assert panels[0] == "Options" and len(panels) >= 5
    first = stdout.split("╭─ ")[1]
    common = [line for line in first.splitlines() if line.lstrip("│* ").startswith("--")]
    assert len(common) <= 15 and all(
        any(option in line for line in common) for option in ("--data", "--out", "--init", "--epochs", "--lr")
    )
    shown = " ".join(stdout.split())
    for name in ("epochs", "learning_rate", "backbone"):
        assert f"[default: ({DEFAULTS['contrastive'][name]}; bce: {DEFAULTS['bce'][name]})]" in shown
    assert f"[default: {TrainConfig.synonym_cosine}]" in shown
