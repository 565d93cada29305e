"""Index building over a folder of mp3, beside decoding alone, in one run; one JSON line at the end.

    python -m scripts.bench.ingest --audio DIR [--files 40] [--minutes 4] [--runs 3]

Joins the clips below DIR into mp3 files (44.1 kHz, stereo) and builds an index over them by the command.
`x_real_time` is hours of audio per hour, process start and model loading included. A FLAC file of three hours then
shows how much memory its length adds: the peak of the building process and its workers, beside a short file's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

from encoders.audio import load_audio

RATE_HZ = 44100


def material(folder: Path, seconds: float) -> np.ndarray:
    """Return joined clips as stereo [shape=(n, 2)] at 44.1 kHz, the right channel a little later than the left."""
    parts: list[np.ndarray] = []
    total = 0.0
    for path in sorted(folder.rglob("*.ogg")):
        clip = load_audio(path, sample_rate_hz=32000)
        parts.append(soxr.resample(clip, 32000, RATE_HZ).astype(np.float32))
        total += len(parts[-1]) / RATE_HZ
        if total >= seconds:
            break
    mono = np.concatenate(parts)
    mono = np.tile(mono, int(np.ceil(seconds * RATE_HZ / len(mono))))[: int(seconds * RATE_HZ)]
    return np.stack([mono, np.roll(mono, 300)], 1) * 0.9


def write_mp3(path: Path, stereo: np.ndarray) -> None:
    soundfile.write(path, stereo, RATE_HZ, format="MP3")


def write_flac(path: Path, stereo: np.ndarray, *, repeat: int) -> None:
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, format="FLAC") as file:
        for _ in range(repeat):
            file.write(stereo)


def decoding_s(files: list[str], workers: int) -> float:
    """Return the wall seconds of decoding all files in as many processes as there are workers."""
    code = "import sys; from encoders.audio import stream_audio\n" + (
        "for path in sys.argv[1:]:\n  for _ in stream_audio(path, sample_rate_hz=32000): pass"
    )
    started = time.perf_counter()
    running = [subprocess.Popen([sys.executable, "-c", code, *files[i::workers]]) for i in range(workers)]
    for process in running:
        if process.wait() != 0:
            raise RuntimeError("decoding failed")
    return time.perf_counter() - started


def _tree_rss_mb(pid: int) -> float:
    """Return the resident memory of a process and its children, from /proc (Linux)."""
    pids, total = [pid], 0.0
    while pids:
        current = pids.pop()
        try:
            pages = int(Path(f"/proc/{current}/statm").read_text().split()[1])
            total += pages * resource.getpagesize() / 2**20
            for task in Path(f"/proc/{current}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def build(folder: Path, index: Path) -> tuple[float, float]:
    """Build an index; return wall seconds and peak memory in MB of all its processes."""
    retrieve = str(Path(sys.executable).with_name("retrieve"))
    started = time.perf_counter()
    process = subprocess.Popen(
        [retrieve, "index", "build", str(folder), "--index", str(index), "--strict"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, _tree_rss_mb(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code != 0:
        raise RuntimeError(f"index build ended with {code}")
    return time.perf_counter() - started, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, required=True, help="folder of clips to make the files of")
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--long-hours", type=float, default=3.0)
    args = parser.parse_args()
    stereo = material(args.audio, args.minutes * 60)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        many, short, long = root / "many", root / "short", root / "long"
        for folder in (many, short, long):
            folder.mkdir()
        write_mp3(short / "short.mp3", stereo)
        encoded = (short / "short.mp3").read_bytes()
        for i in range(args.files):
            # A few bytes after the last frame: files of the very same content would be embedded once only.
            (many / f"{i:03d}.mp3").write_bytes(encoded + bytes(i + 1))
        write_flac(long / "long.flac", stereo, repeat=round(args.long_hours * 60 / args.minutes))
        audio_s = args.files * args.minutes * 60
        files = [str(p) for p in sorted(many.iterdir())]
        workers = os.cpu_count() or 1
        pairs = []
        for run in range(args.runs):
            alone = decoding_s(files, workers)
            wall, _ = build(many, root / f"index{run}")
            pairs.append((wall, alone))
        _, short_mb = build(short, root / "short-index")
        _, long_mb = build(long, root / "long-index")
    print(
        json.dumps(
            {
                "bench": "ingest",
                "cpus": workers,
                "audio_h": round(audio_s / 3600, 3),
                "x_real_time": round(statistics.median(audio_s / wall for wall, _ in pairs)),
                "decoding_alone_x_real_time": round(statistics.median(audio_s / alone for _, alone in pairs)),
                "build_over_decoding": round(statistics.median(wall / alone for wall, alone in pairs), 2),
                "peak_rss_short_mb": round(short_mb),
                "peak_rss_long_mb": round(long_mb),
                "long_file_adds_mb": round(long_mb - short_mb),
            }
        )
    )


if __name__ == "__main__":
    main()
