"""The closed-set baseline from the command line, with the defaults of its objective, on clips of two seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from training_helpers import RATE_HZ, TAGS, sound
from typer.testing import CliRunner

from encoders.backbones.conv7 import Conv7
from encoders.tagger_model import TaggerModel
from retrieval.cli.train import train
from retrieval.tagging import ClosedSetTagger

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:(torch|accelerate|transformers).*")


def test_conv7_trains_saves_loads_and_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conv7, "input_samples", 2 * RATE_HZ)  # of 30 s, which clips of 2 s would fill with silence
    rows = ["file,labels,split"]
    for i in range(6):
        soundfile.write(tmp_path / f"{i}.wav", sound((TAGS[i % 4],), i, seconds=2.0), RATE_HZ)
        rows.append(f"{i}.wav,{TAGS[i % 4]},{'train' if i < 4 else 'val'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    app = typer.Typer()
    app.command()(train)
    out = tmp_path / "out"
    options = ["--data", str(tmp_path), "--out", str(out), "--objective", "bce", "--device", "cpu"]
    done = CliRunner().invoke(app, [*options, "--epochs", "1", "--batch", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 2
    settings = json.loads((out / "training.json").read_text())["settings"]
    assert (settings["backbone"], settings["head"], settings["loss"]["name"]) == ("conv7", "linear", "bce-with-logits")
    assert (settings["optim"]["optimizer"], settings["optim"]["learning_rate"]) == ("sgd", 0.001)
    model = TaggerModel.from_pretrained(out)
    assert (model.config.backbone, model.chunk_s) == ("conv7", 2.0)
    found = ClosedSetTagger.from_dir(out, device="cpu").tag(tmp_path / "0.wav")
    assert sorted(tag.tag for tag in found.tags) == sorted(TAGS)
    expected = sorted(model.tag_audio([tmp_path / "0.wav"])[0], reverse=True)
    np.testing.assert_allclose([tag.score for tag in found.tags], expected, atol=1e-5)
