"""Write a miniature of the 663-clip data set: tones in place of music, the same files and pickles.

    python -m scripts.miniatures.tags663 FOLDER [--audio wav|npy] [--clips 20] [--tags 6] [--protocol 4]

FOLDER gets one file per clip, `data_mapping.pkl` (dict: clip -> list of tags), `Train_ids.pkl` and `val_ids.pkl`
(lists of clips). A tag is a pitch, and a clip has the pitches of its tags, so that a model can be trained on them.
The last clip is in neither list, like three of the 663.
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE_HZ = 16_000
NAMES = ("guitar", "piano", "drums", "slow", "female vocal", "ambient", "loud", "strings", "fast", "techno")


def tags_of(number: int, names: list[str]) -> list[str]:
    """Return one to three tags; every tag is about equally frequent."""
    count = 1 + number % 3
    return [names[(number + 2 * step) % len(names)] for step in range(count)]


def waveform_of(tags: list[str], names: list[str], *, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Return tones of the tags' pitches and some noise, float32 in [-1, 1] [shape=(n,)]."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitches_hz = [220.0 * 2.0 ** (names.index(tag) / 3.0) for tag in tags]
    tones = [np.sin(2.0 * np.pi * (pitch_hz * time_s + rng.random())) for pitch_hz in pitches_hz]
    noise = 0.02 * rng.normal(size=len(time_s))
    return (0.5 * np.mean(tones, axis=0) + noise).clip(-1.0, 1.0).astype(np.float32)


def make_miniature(
    folder: Path,
    *,
    audio: str = "wav",
    n_clips: int = 20,
    n_tags: int = 6,
    protocol: int = 4,
    suffixes: bool = False,
    seed: int = 663,
) -> dict[str, list[str]]:
    """Write the miniature and return its mapping.

    Args:
        folder: output folder, created if it is missing.
        audio: "wav", or "npy" for waveforms at 16 kHz without a header.
        n_clips: at least 4; six in seven are training clips, the last one is in no list.
        n_tags: at most 10.
        protocol: pickle protocol, 0 to 4.
        suffixes: whether the names of clips have the suffixes of their files.
        seed: random seed of phases and noise.

    Raises:
        ValueError: an argument is out of range.
    """
    if audio not in ("wav", "npy") or n_clips < 4 or not 1 <= n_tags <= len(NAMES) or not 0 <= protocol <= 4:
        raise ValueError(f"audio must be wav or npy, n_clips at least 4, n_tags 1 to {len(NAMES)} and protocol 0 to 4")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names = list(NAMES[:n_tags])
    mapping = {}
    for number in range(n_clips):
        tags = tags_of(number, names)
        waveform = waveform_of(tags, names, duration_s=1.0 + 0.5 * (number % 3), rng=rng)
        path = folder / f"clip_{number:03d}.{audio}"
        if audio == "wav":
            soundfile.write(path, waveform, SAMPLE_RATE_HZ)
        else:
            np.save(path, waveform, allow_pickle=False)
        mapping[path.name if suffixes else path.stem] = tags
    listed = list(mapping)[:-1]
    n_train = max(1, round(len(listed) * 560 / 660))
    parts = {"data_mapping": mapping, "Train_ids": listed[:n_train], "val_ids": listed[n_train:]}
    for name, value in parts.items():
        write_pickle(folder / f"{name}.pkl", value, protocol=protocol)
    return mapping


def write_pickle(path: Path, value: object, *, protocol: int = 4) -> None:
    path.write_bytes(pickle.dumps(value, protocol=protocol))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output folder")
    parser.add_argument(
        "--audio", choices=("wav", "npy"), default="wav", help="format of the clips (default: %(default)s)"
    )
    parser.add_argument("--clips", type=int, default=20, help="number of clips (default: %(default)s)")
    parser.add_argument("--tags", type=int, default=6, help="number of tags (default: %(default)s)")
    parser.add_argument("--protocol", type=int, default=4, help="pickle protocol (default: %(default)s)")
    args = parser.parse_args()
    mapping = make_miniature(
        args.folder, audio=args.audio, n_clips=args.clips, n_tags=args.tags, protocol=args.protocol
    )
    print(f"{args.folder}: {len(mapping)} clips as {args.audio}, {args.tags} tags")


if __name__ == "__main__":
    main()
