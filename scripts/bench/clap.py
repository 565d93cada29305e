"""A CLAP model of the size of laion/clap-htsat-unfused, with random weights: index building and queries; one JSON line.

    python -m scripts.bench.clap --audio DIR [--minutes 10] [--queries 3]

Vectors of random weights mean nothing, but cost what those of the published weights cost. The audio below DIR is joined
into mp3 files of two minutes. `x_real_time` is hours of audio per hour, with process start, and hashing, loading and
testing of the model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel, RobertaTokenizer

from scripts.bench.ingest import material, write_mp3

FILE_S = 120.0
RATE_HZ = 48_000
PHRASES = ("a dog barking", "slow classical piano", "heavy metal with loud drums", "rain", "a man speaking")


@torch.no_grad()
def save_random_clap(folder: Path) -> int:
    """Write a checkpoint of the default configuration, which is that of the published model; return its parameters.

    Its towers are centred on a few inputs: as they are drawn, all inputs end in about one place, which is refused.
    """
    folder.mkdir()
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(PHRASES, vocab_size=1000, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    RobertaTokenizer.from_pretrained(str(folder)).save_pretrained(str(folder))
    extractor = ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
    extractor.save_pretrained(str(folder))
    torch.manual_seed(0)
    model = ClapModel(ClapConfig(text_config={}, audio_config={})).eval()
    tokens = AutoTokenizer.from_pretrained(str(folder))(list(PHRASES), padding=True, return_tensors="pt")
    time_s = np.arange(10 * RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(1).normal(scale=0.1, size=len(time_s))
    sounds = [noise, 0.5 * np.sin(2 * np.pi * 300 * time_s), np.zeros(len(time_s))]
    mels = extractor(sounds, sampling_rate=RATE_HZ, return_tensors="pt")["input_features"].float()
    for projection, pooled in (
        (model.text_projection, model.text_model(tokens["input_ids"], tokens["attention_mask"]).pooler_output),
        (model.audio_projection, model.audio_model(input_features=mels).pooler_output),
    ):
        projection.linear2.bias.copy_(-projection(pooled).mean(0))
    model.save_pretrained(str(folder))
    return sum(parameter.numel() for parameter in model.parameters())


def seconds(*arguments: str | Path) -> float:
    """Run the command once and return its wall time."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "retrieval", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, required=True, help="a folder with ogg files")
    parser.add_argument("--minutes", type=float, default=10.0, help="of audio to index")
    parser.add_argument("--queries", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model, music, index = (Path(scratch) / name for name in ("model", "music", "index"))
        n_parameters = save_random_clap(model)
        music.mkdir()
        stereo = material(args.audio, FILE_S)
        n_files = max(1, round(args.minutes * 60 / FILE_S))
        for number in range(n_files):
            write_mp3(music / f"{number:03d}.mp3", np.roll(stereo, 997 * number, axis=0))
        build_s = seconds("index", "build", music, "--index", index, "--model", model)
        again_s = seconds("index", "build", music, "--index", index, "--model", model)
        query_s = [seconds("acoustic guitar", "--index", index, "--model", model) for _ in range(args.queries)]
        result = {
            "bench": "clap",
            "parameters": n_parameters,
            "weights_mb": round((model / "model.safetensors").stat().st_size / 1e6),
            "audio_s": n_files * FILE_S,
            "build_s": round(build_s, 1),
            "x_real_time": round(n_files * FILE_S / build_s, 1),
            "build_of_nothing_new_s": round(again_s, 1),
            "query_s": round(float(np.median(query_s)), 1),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
