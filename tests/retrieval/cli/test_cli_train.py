"""`retrieve train`: a run from its command line, and one clear line for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from training_helpers import RATE_HZ, TAGS, sound, words_file
from typer.testing import CliRunner

from encoders.checkpoint import ModelDirError
from encoders.tagger_model import TaggerModel
from retrieval.cli.train import train
from retrieval.datasets.base import DatasetError
from retrieval.label_file import LabelFileError
from retrieval.training.identity import CheckpointError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rows = ["file,labels,split"]
    for i in range(8):
        soundfile.write(folder / f"{i}.wav", sound((TAGS[i % 4],), i, seconds=0.6), RATE_HZ)
        rows.append(f"{i}.wav,{TAGS[i % 4]},{'train' if i < 4 else 'val'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words_file(folder)
    return folder


def run(*arguments: str | Path) -> typer.testing.Result:
    app = typer.Typer()
    app.command()(train)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_tagger_is_trained_from_the_command_line(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "tagger"
    options = ("--data", data, "--out", out, "--objective", "bce", "--backbone", "mn04", "--device", "cpu")
    options = (*options, "--batch", "2", "--crop", "0.5", "--json")
    done = run(*options, "--epochs", "1")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["model"] == str(out) and told["steps"] == 2 and 0 <= told["validation"]["map"] <= 1
    scores = TaggerModel.from_pretrained(out).tag_audio([data / "0.wav"])
    assert scores.shape == (1, 4) and np.isfinite(scores).all()
    assert isinstance(run(*options, "--epochs", "1").exception, CheckpointError)
    other = run(*options, "--epochs", "1", "--head", "mlp", "--resume").exception
    assert isinstance(other, CheckpointError) and 'its head is "linear", here "mlp"' in str(other)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0.wav,low\nmissing.wav,low\n", "missing.wav"),
        ("0.wav,\n1.wav,low\n", "0.wav"),
        ("0.wav,low\n0.wav,low\n", "0.wav"),
        ("0.wav,low\n1.wav,low;xyzzy\n2.wav,xyzzy\n", "1 of 2 labels are out of the vocabulary: 'xyzzy'"),
    ],
)
def test_bad_data_is_named_before_anything_is_trained(data: Path, tmp_path: Path, rows: str, message: str) -> None:
    table = data / f"bad-{tmp_path.name}.csv"
    table.write_text("file,labels\n" + rows, encoding="utf-8")
    result = run("--data", table, "--out", tmp_path / "out", "--text", data / "words.safetensors", "--device", "cpu")
    assert isinstance(result.exception, DatasetError) and message in str(result.exception)


def test_a_split_without_positives_is_named(data: Path, tmp_path: Path) -> None:
    result = run("--data", data, "--out", tmp_path, "--val-split", "test")
    assert isinstance(result.exception, DatasetError) and "no clip of" in str(result.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--negatives", "easy"), "--negatives easy: choose one of"),
        (("--loss", "hinge"), "--loss hinge: choose one of"),
        (("--objective", "bce", "--loss", "triplet"), "does not go with"),
        (("--metric", "beauty"), "--metric beauty: choose one of"),
        (("--precision", "float16", "--device", "cpu"), "needs a GPU"),
        (("--level", "loud"), "--level loud"),
        (("--backbone", "resnet"), "unknown tagger 'resnet'"),
    ],
)
def test_options_that_cannot_be_end_with_status_2(
    data: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = run("--data", data, "--out", tmp_path, "--text", data / "words.safetensors", *options)
    assert result.exit_code == 2 and message in " ".join(result.stderr.replace("│", " ").split())


def test_unseen_tags_come_from_a_file(data: Path, tmp_path: Path) -> None:
    unseen = tmp_path / "unseen.txt"
    unseen.write_text("# held out\nhigh\n\noboe\n", encoding="utf-8")
    options = ("--data", data, "--out", tmp_path / "out", "--text", data / "words.safetensors", "--device", "cpu")
    result = run(*options, "--unseen-file", unseen)
    assert isinstance(result.exception, DatasetError)
    assert "has the tags to hold out: oboe" in str(result.exception)
    unseen.write_bytes(b"\xff\xfe")
    wrong = run(*options, "--unseen-file", unseen)
    assert isinstance(wrong.exception, LabelFileError) and "line 1: not UTF-8 text" in str(wrong.exception)
    nowhere = run(*options[:5], f"sentence:{tmp_path / 'gone'}", "--device", "cpu")
    assert isinstance(nowhere.exception, ModelDirError) and "no model directory at" in str(nowhere.exception)
