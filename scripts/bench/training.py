"""Measure the time of a training step, relative to the forward and backward pass of the network alone.

    python -m scripts.bench.training
    python -m scripts.bench.training --backbone mn04 --negatives hard --batch 32 --augment 0.3

A step is a batch from the loader (prepared ahead by a thread, audio decoded beforehand), the loss over clips and tags,
the backward pass, the update of the memory bank, and the optimizer. The network alone takes a batch of as many clips
from memory, and its loss is the sum of its features. Both alternate in one process, so that other load on the machine
affects both. The output is one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.text.word_vectors import WordVectors
from retrieval.datasets.base import TaggedClip
from retrieval.datasets.waveforms import WaveformStore
from retrieval.training.augment import WaveformAugment
from retrieval.training.batches import BatchMaker
from retrieval.training.config import BatchConfig, LossConfig, TrainConfig
from retrieval.training.init import build_two_tower
from retrieval.training.labels import LabelTable, synonym_matrix
from retrieval.training.loader import BatchDataset, train_loader
from retrieval.training.memory_bank import MemoryBank
from retrieval.training.mining import NEGATIVES, Miner
from retrieval.training.modules import ContrastiveModule

TAGS = ("piano", "guitar", "drums", "violin", "flute", "trumpet", "rain", "dog", "engine", "voice", "bell", "organ")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mn04")
    parser.add_argument("--negatives", choices=NEGATIVES, default="distance-weighted")
    parser.add_argument("--loss", default="infonce")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--clip-s", type=float, default=12.0)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--augment", type=float, default=0.0)
    parser.add_argument("--words", type=Path, help="words or a model directory (default: the shipped model)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def noises(folder: Path, *, count: int, seconds: float, sample_rate_hz: int) -> tuple[list[TaggedClip], np.ndarray]:
    """Return clips of noise and which has which tag [shape=(count, n_tags)]: what they sound like costs nothing."""
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(round(seconds * sample_rate_hz))).astype(np.float32)
    has_tag = rng.random((count, len(TAGS))) < 0.15
    has_tag[np.arange(count), rng.integers(len(TAGS), size=count)] = True
    np.save(folder / "noise.npy", samples, allow_pickle=False)
    clips = []
    for number in range(count):
        path = folder / f"{number}.npy"
        path.hardlink_to(folder / "noise.npy")
        clips.append(
            TaggedClip(
                path, tuple(t for t, yes in zip(TAGS, has_tag[number], strict=True) if yes), "train", "", sample_rate_hz
            )
        )
    return clips, has_tag


def step(
    learner: ContrastiveModule, inputs: dict[str, Any], bank: MemoryBank, optimizer: torch.optim.Optimizer
) -> None:
    """One step as the trainer takes it."""
    device = next(learner.parameters()).device
    clips = inputs.pop("clips").numpy()
    outputs = learner(**{name: value.to(device) for name, value in inputs.items()})
    outputs["loss"].backward()
    optimizer.step()
    optimizer.zero_grad()
    bank.update(clips, outputs["audio"].cpu().numpy())


def bare(backbone: torch.nn.Module, chunks: torch.Tensor) -> None:
    """Forward and backward of the network alone."""
    backbone(chunks).sum().backward()
    backbone.zero_grad()


def main() -> None:
    options = parsed()
    from encoders import DEFAULT_MODEL_DIR

    words = WordVectors.load(options.words or DEFAULT_MODEL_DIR)
    torch.manual_seed(0)
    model = build_two_tower(options.backbone, words, tag_names=list(TAGS))
    vectors = words.encode(TAGS)
    learner = ContrastiveModule(model, vectors, LossConfig(name=options.loss)).to(options.device).train()
    n_chunks = 2 if model.chunk_s <= 5.0 else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips, has_tag = noises(
            folder, count=options.clips, seconds=options.clip_s, sample_rate_hz=model.sample_rate_hz
        )
        sounds = WaveformStore.open(clips, folder / "store", sample_rate_hz=model.sample_rate_hz)
        labels = LabelTable.of(TAGS, has_tag, synonym_matrix(vectors, threshold=TrainConfig.synonym_cosine))
        settings = BatchConfig(size=options.batch, crop_samples=n_chunks * model.chunk_samples)
        miner = Miner(options.negatives, labels.has_tag, labels.excluded)
        maker = BatchMaker(settings, labels, sounds, miner=miner, augment=WaveformAugment.of_strength(options.augment))
        dataset = BatchDataset(maker, contrastive=True)
        bank = MemoryBank(len(clips), model.config.dim)
        rng = np.random.default_rng(1)
        random = rng.standard_normal(bank.clips.shape).astype(np.float32)
        bank.update(np.arange(len(clips)), random / np.linalg.norm(random, axis=1, keepdims=True))
        optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-4)
        chunks = 0.1 * torch.randn(options.batch * n_chunks, model.chunk_samples, device=options.device)
        whole_s, bare_s = [], []
        batches: Any = iter(())
        for epoch in range(1 + options.steps):
            began_s = time.perf_counter()
            inputs = next(batches, None)
            if inputs is None:  # a new epoch: what is mined over is renewed, as in training
                bank.take_snapshot(learner.tag_vectors())
                dataset.begin(epoch, bank.snapshot)
                batches = iter(train_loader(dataset))
                inputs = next(batches)
            n_clips = len(inputs["clips"])
            step(learner, inputs, bank, optimizer)
            whole_s.append(time.perf_counter() - began_s)
            began_s = time.perf_counter()
            bare(model.audio_tower.backbone, chunks[: n_clips * n_chunks])
            if options.device != "cpu":
                torch.cuda.synchronize()
            bare_s.append(time.perf_counter() - began_s)
        dataset.close()
        del sounds, maker
    # The first of each warms up.
    ratios = [a / b for a, b in zip(whole_s[1:], bare_s[1:], strict=True)]
    print(
        json.dumps(
            {
                "backbone": options.backbone,
                "negatives": options.negatives,
                "batch": options.batch,
                "steps": options.steps,
                "step_s": round(statistics.median(whole_s[1:]), 4),
                "bare_s": round(statistics.median(bare_s[1:]), 4),
                "ratio": round(statistics.median(ratios), 3),
                "target": 1.25,
                "device": options.device,
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
