"""Measure how well a model hears quiet and overdriven copies of labelled audio, without and with level rules.

    python -m scripts.bench.level --data DIR [--model DIR] [--half choose|report] [--rules NAME ...] [--packs NAME ...]

DIR has the packs of `scripts.bench.quality`. Each clip is copied at gains from -60 to +12 dB; copies below 0 dB are
rounded to 16 bits, as files hold them, and those above full scale are float files. For each rule, pack and gain, the
result is the zero-shot mAP and top-1 accuracy, and the mean cosine to the untouched clip's vector under the same rule.
Clips fall into two halves by the hash of their names: rules are chosen on one, and what is reported comes from the
other. The last line of output is the result as JSON, with what is heard in noise floors under each rule.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from encoders import DEFAULT_MODEL_DIR, TextEncoder, TwoTowerModel
from encoders.audio import load_audio, stream_chunks
from encoders.level import DEFAULT_LEVEL, LevelRule
from retrieval.datasets.base import TaggedClip
from retrieval.datasets.load import read_dataset
from retrieval.evaluation.protocol import evaluate
from scripts.bench.quality import GENRES

GAINS_DB = (0, -10, -20, -30, -40, -60, 12)
BATCH_CHUNKS = 16
FLOOR_DB = (-60, -70, -75, -80, -85, -90)
FLOOR_LABELS = ("silence", "white noise")


def _raise_to(level_db: float, *, full_db: float = -65.0, none_db: float = -85.0) -> LevelRule:
    return LevelRule(points_db=((none_db, none_db), (full_db, level_db), (level_db, level_db)))


RULES: dict[str, LevelRule | None] = {
    "none": None,
    "default": DEFAULT_LEVEL,
    "all to -20": LevelRule(points_db=((-85.0, -85.0), (-65.0, -20.0), (0.0, -20.0))),
    "raise to -24": _raise_to(-24.0),
    "raise to -28": _raise_to(-28.0),
    "raise to -36": _raise_to(-36.0),
    "raise to -40": _raise_to(-40.0),
    "raise to -32, deeper": _raise_to(-32.0, full_db=-75.0, none_db=-90.0),
}


def in_half(name: str, half: str) -> bool:
    """Return whether a clip of this file name belongs to the half, "choose" or "report"."""
    return (hashlib.sha256(name.encode()).digest()[0] < 128) == (half == "choose")


def read_packs(data: Path, *, names: Sequence[str], half: str) -> dict[str, tuple[list[TaggedClip], list[str]]]:
    """Return the clips and labels of each pack."""
    esc = read_dataset(data / "esc")
    instruments = read_dataset(data / "instruments_freesound")
    packs = {
        "instruments_freesound": (instruments.clips, list(instruments.tags)),
        "esc_fold5": (esc.of_split("fold5").clips, list(esc.tags)),
        "emotify_genres": (read_dataset(data / "emotify").clips, list(GENRES)),
    }
    return {
        name: ([clip for clip in clips if in_half(clip.path.name, half)], labels)
        for name, (clips, labels) in packs.items()
        if name in names
    }


def at_gain(waveform: np.ndarray, gain_db: float) -> np.ndarray:
    """Return a copy at a gain, rounded to 16 bits if it is quieter."""
    copy = waveform * np.float32(10 ** (gain_db / 20))
    return np.round(copy * 32_768.0) / np.float32(32_768.0) if gain_db < 0 else copy


class Vectors:
    """Clip vectors under each rule. A chunk that two rules leave alone goes through the network once."""

    def __init__(self, model: TwoTowerModel, clips: Sequence[TaggedClip]) -> None:
        self.model = model
        self.waveforms = [load_audio(clip.path, sample_rate_hz=model.sample_rate_hz) for clip in clips]
        self._plain: dict[float, np.ndarray] = {}

    @torch.inference_mode()
    def _features(self, chunks: torch.Tensor) -> np.ndarray:
        backbone = self.model.inference_backbone()
        return torch.cat([backbone(chunks[i : i + BATCH_CHUNKS]) for i in range(0, len(chunks), BATCH_CHUNKS)]).numpy()

    def at(self, gain_db: float, rule: LevelRule | None) -> np.ndarray:
        """Return the vectors of the clips at a gain [shape=(n, dim)]: each the mean of its segments' vectors."""
        rate_hz, chunk_s = self.model.sample_rate_hz, self.model.chunk_s
        cut = [
            [chunk.samples for chunk in stream_chunks(at_gain(w, gain_db), sample_rate_hz=rate_hz, chunk_s=chunk_s)]
            for w in self.waveforms
        ]
        chunks = torch.from_numpy(np.concatenate(cut))
        if gain_db not in self._plain:
            self._plain[gain_db] = self._features(chunks)
        features = self._plain[gain_db].copy()
        if rule is not None:
            gains = torch.cat([rule.gains(part, sample_rate_hz=rate_hz) for part in chunks.split(BATCH_CHUNKS)])
            changed = torch.nonzero(gains != 1.0)[:, 0]
            if len(changed):
                features[changed.numpy()] = self._features(chunks[changed] * gains[changed, None])
        ends = np.cumsum([len(of_clip) for of_clip in cut])[:-1]
        return np.stack([self.model.segment_vectors(of_clip).mean(0) for of_clip in np.split(features, ends)])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean cosine of the rows of two matrices."""
    return float(np.mean((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))))


def measure(
    model: TwoTowerModel, text: TextEncoder, clips: Sequence[TaggedClip], labels: Sequence[str], rules: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return {rule: {gain: {mAP, top1, cosine}}} of one pack."""
    vectors = Vectors(model, clips)
    phrases = text.encode(labels)
    truth = np.array([[clip.labels[0] == label for label in labels] for clip in clips])
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in rules:
        untouched = vectors.at(0, RULES[name])
        found[name] = {}
        for gain_db in GAINS_DB:
            of_gain = vectors.at(gain_db, RULES[name]) if gain_db else untouched
            scores = text.calibration.probabilities(of_gain, phrases)
            found[name][f"{gain_db:+d}"] = {
                "mAP": round(evaluate(scores, truth, labels)["parts"]["all"]["tag_to_clip"]["map"], 4),
                "top1": round(float(np.mean(scores.argmax(1) == truth.argmax(1))), 4),
                "cosine": round(cosine(of_gain, untouched), 4),
            }
    return found


def noise_floor(model: TwoTowerModel, text: TextEncoder, rule: LevelRule | None) -> dict[str, dict[str, float]]:
    """Return what is heard in white noise of each level: {level: {label: probability}}. A noise floor is silence."""
    noise = np.random.default_rng(0).standard_normal((2, model.chunk_samples))
    phrases = text.encode(FLOOR_LABELS)
    found = {}
    for level_db in FLOOR_DB:
        chunks = torch.from_numpy(at_gain(noise.astype(np.float32), level_db))
        if rule is not None:
            chunks = rule(chunks, sample_rate_hz=model.sample_rate_hz)
        with torch.inference_mode():
            vector = model.segment_vectors(model.inference_backbone()(chunks).numpy()).mean(0, keepdims=True)
        heard = text.calibration.probabilities(vector, phrases)[0]
        found[f"{level_db:+d}"] = {label: round(float(p), 3) for label, p in zip(FLOOR_LABELS, heard, strict=True)}
    return found


def cost_ms(model: TwoTowerModel, rule: LevelRule, *, runs: int = 20) -> dict[str, float]:
    """Return the median milliseconds that the rule and the network take for a chunk, in batches of 16."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (BATCH_CHUNKS, model.chunk_samples))).float()
    network = model.inference_backbone()
    steps = {
        "rule": lambda: rule(noise, sample_rate_hz=model.sample_rate_hz),
        "rule, quiet": lambda: rule(noise * 0.01, sample_rate_hz=model.sample_rate_hz),
        "network": lambda: network(noise),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    with torch.inference_mode():
        for _ in range(runs):
            for name, step in steps.items():
                started = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - started)
    return {name: round(float(np.median(of)) / BATCH_CHUNKS * 1e3, 3) for name, of in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    packs = ("instruments_freesound", "esc_fold5", "emotify_genres")
    parser.add_argument("--data", type=Path, required=True, help="folder of packs")
    parser.add_argument(
        "--model", type=Path, default=DEFAULT_MODEL_DIR, help="model directory (default: the shipped model)"
    )
    parser.add_argument(
        "--half", choices=("choose", "report"), default="report", help="half of the clips (default: report)"
    )
    parser.add_argument("--rules", nargs="+", choices=tuple(RULES), default=list(RULES), help="rules (default: all)")
    parser.add_argument("--packs", nargs="+", choices=packs, default=list(packs), help="packs (default: all)")
    args = parser.parse_args()
    model, text = TwoTowerModel.from_pretrained(args.model), TextEncoder.load(args.model)
    result: dict[str, object] = {}
    for name, (clips, labels) in read_packs(args.data, names=args.packs, half=args.half).items():
        result[name] = {"clips": len(clips), "rules": measure(model, text, clips, labels, args.rules)}
        print(json.dumps({name: result[name]}), file=sys.stderr, flush=True)
    rules = {name: rule.to_dict() for name, rule in RULES.items() if rule is not None and name in args.rules}
    result["noise"] = {name: noise_floor(model, text, RULES[name]) for name in args.rules}
    result |= {"rules": rules, "cost_ms_a_chunk": cost_ms(model, DEFAULT_LEVEL)}
    print(json.dumps({"bench": "level", "half": args.half, **result}))


if __name__ == "__main__":
    main()
