"""Build an index over thousands of damaged sound files, and check that none is lost without a word.

    python -m scripts.bench.hostile [--files N] [--seed S] [--workers N] [--model DIR] [--out FILE.json]

The files are generated (`hostile_formats.py`, `hostile_damage.py`), the same for the same seed, and built into an index
by the code of `retrieve index build`, a batch after the other in a temporary folder. Checked of each batch:

- the build ends without an exception;
- every file is in the index, is skipped with a reason, or is passed over for its extension, and no other file is; the
  index verifies;
- no file takes longer than a decoder may stall.

Where a damage leaves the sound alone, the decoded duration is compared with that of the original, and the vector with
that of the undamaged file (the lowest cosine of a file; NaN if its number of segments differs).

An interrupted run goes on where it was, with the same command. Prints progress and a table to stderr, and one JSON line
to stdout. The exit status is 1 if a check fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from encoders.embed import AudioEncoder, embed_audio
from index import VectorIndex
from retrieval.indexing.build import build
from retrieval.indexing.types import BuildSummary, IngestOptions
from retrieval.library.extensions import AUDIO_EXTENSIONS
from scripts.bench.hostile_damage import DAMAGES, Damaged, damage
from scripts.bench.hostile_formats import FORMATS, Original, make_originals

_STATES = ("indexed", "partial", "skipped", "passed over", "lost")
_PER_FORMAT = 4
_MIN_COSINE = 0.98
_EXAMPLES = 12
_MARGIN_S = 30.0  # beyond two stalls of one file: the start of a process, a busy machine

# The decoding process as it is, with a note of how long each request took and of its peak memory. Not of getrusage: on
# Linux, that includes the memory of the process that started it.
_NOTED_WORKER = """
import json, re, resource, sys, time
sys.path[:] = json.loads(sys.argv[1])
import retrieval.indexing.decode_worker as worker
serve = worker._serve
def peak_mb():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    with open("/proc/self/status") as status:
        return int(re.search("VmHWM:[^0-9]*([0-9]+) kB", status.read())[1]) / 1e3
def noted(request, answers):
    began_s = time.monotonic()
    serve(request, answers)
    with open(sys.argv[2], "a") as log:
        print(json.dumps([request["path"], time.monotonic() - began_s, peak_mb()]), file=log)
worker._serve = noted
worker.main()
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        name: of the file; its number and the seed make it again.
        format, damage: what it was.
        state: one of `_STATES`.
        reason: of a skipped or partial file.
        seconds: how long the decoding process had it.
        duration_s: as decoded.
        shortest_s, longest_s: what the damage allows, None where nothing is known.
        cosine: the lowest cosine to a segment of the undamaged file, where the damage leaves the sound alone.
    """

    name: str
    format: str
    damage: str
    state: str
    reason: str | None = None
    seconds: float = 0.0
    duration_s: float | None = None
    shortest_s: float | None = None
    longest_s: float | None = None
    cosine: float | None = None

    @property
    def is_right(self) -> bool | None:
        """Whether the sound is what the damage leaves; None where nothing is known of it."""
        if self.state == "passed over" or (self.shortest_s is None and self.longest_s is None):
            return None
        if self.duration_s is None:
            return not self.shortest_s
        if not (self.shortest_s or 0.0) <= self.duration_s <= (self.longest_s or math.inf):
            return False
        return self.cosine is None or self.cosine >= _MIN_COSINE


@dataclass
class Batch:
    """The outcome of one build."""

    files: list[Outcome]
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    audio_s: float = 0.0
    build_mb: float = 0.0
    decoder_mb: float = 0.0


def file_of(number: int, seed: int, originals: Sequence[Sequence[Original]]) -> tuple[Original, Damaged]:
    """Return the file of a number: its original and what is left of it."""
    rng = np.random.default_rng((seed, number))
    names = list(DAMAGES)
    of_format = originals[number % len(originals)]
    original = of_format[int(rng.integers(0, len(of_format)))]
    others = [*of_format, *(group[0] for group in originals)]
    name = names[(number // len(originals) + number % len(originals)) % len(names)]  # each with each format
    return original, damage(original, name, rng, others)


class Bench:
    """The originals, the model, and the vectors of whole files."""

    def __init__(self, seed: int, *, model: AudioEncoder, workers: int, stall_s: float, per_format: int) -> None:
        """Write the originals and embed them."""
        self._seed, self._model, self._workers, self._stall_s = seed, model, workers, stall_s
        self._originals = make_originals(seed, per_format=per_format)
        self._vectors: dict[int, np.ndarray] = {}

    def run(self, numbers: Sequence[int], folder: Path) -> Batch:
        """Write the files of some numbers below a folder, build an index of them, and check it."""
        music, place, log = folder / "music", folder / "index", folder / "log"
        music.mkdir(parents=True)
        log.touch()
        made: dict[str, tuple[Original, Damaged]] = {}
        for number in numbers:
            original, damaged = file_of(number, self._seed, self._originals)
            path = music / f"{number:05d} {original.format.name}, {damaged.damage}{damaged.extension}"
            path.write_bytes(damaged.data)
            made[str(path)] = (original, damaged)
        command = (sys.executable, "-c", _NOTED_WORKER, json.dumps(sys.path), str(log))
        options = IngestOptions(workers=self._workers, stall_s=self._stall_s, worker_command=command)
        began_s = time.monotonic()
        try:
            summary = build([music], index_path=place, model=self._model, options=options)
        except Exception:
            fault = "the build ended with " + traceback.format_exc().strip().splitlines()[-1]
            return Batch([], [f"{fault} (files {numbers[0]} to {numbers[-1]})"], time.monotonic() - began_s)
        seconds, decoder_mb = _notes(log)
        batch = self._check(summary, made, place, seconds)
        batch.seconds, batch.audio_s = time.monotonic() - began_s, summary.audio_s
        batch.build_mb, batch.decoder_mb = _peak_mb(), decoder_mb
        return batch

    def _check(
        self, summary: BuildSummary, made: dict[str, tuple[Original, Damaged]], place: Path, seconds: Counter[str]
    ) -> Batch:
        reasons = {problem.path: problem.reason for problem in summary.problems}
        batch = Batch([])
        with VectorIndex.open(place) as index:
            batch.faults += [f"the index does not verify: {problem}" for problem in index.verify()]
            tracks = {track.file: track for track in index.tracks()}
            for path in sorted({*tracks, *reasons} - made.keys()):
                batch.faults.append(f"{path}: nobody put it there")
            for path, (original, damaged) in made.items():
                known = damaged.shortest_s > 0.0 or math.isfinite(damaged.longest_s)
                track = tracks.get(path)
                state = _state_of(damaged.extension, is_indexed=track is not None, has_reason=path in reasons)
                outcome = Outcome(
                    name=Path(path).name,
                    format=original.format.name,
                    damage=damaged.damage,
                    state=state,
                    reason=reasons.get(path),
                    seconds=round(seconds[path], 3),
                    duration_s=track.duration_s if track else None,
                    shortest_s=damaged.shortest_s if known else None,
                    longest_s=damaged.longest_s if known and math.isfinite(damaged.longest_s) else None,
                    cosine=self._cosine(index.vectors(path), original) if track and damaged.is_whole else None,
                )
                batch.files.append(outcome)
                if state == "lost":
                    batch.faults.append(f"{outcome.name}: lost without a reason")
                if outcome.seconds > 2 * self._stall_s + _MARGIN_S:
                    batch.faults.append(f"{outcome.name}: {outcome.seconds:.0f} s in the decoding process")
        accounted = (summary.n_files, summary.skipped, summary.passed_over.n_files)
        if sum(accounted) != len(made):
            fault = "{} indexed, {} skipped and {} passed over".format(*accounted)
            batch.faults.append(f"{fault} of {len(made)} files")
        return batch

    def _cosine(self, vectors: np.ndarray, original: Original) -> float:
        whole = self._vectors.get(id(original))
        if whole is None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"whole{original.format.extension}"
                path.write_bytes(original.data)
                whole = self._vectors[id(original)] = embed_audio(path, model=self._model).vectors
        if len(whole) != len(vectors):
            return math.nan
        return float((whole * vectors).sum(axis=1).min())


def _state_of(extension: str, *, is_indexed: bool, has_reason: bool) -> str:
    if is_indexed:
        return "partial" if has_reason else "indexed"
    if has_reason:
        return "skipped"
    return "lost" if extension in AUDIO_EXTENSIONS else "passed over"


def _notes(log: Path) -> tuple[Counter[str], float]:
    """Return the seconds that each file took, and the peak memory of the decoding processes in MB."""
    seconds: Counter[str] = Counter()
    peak_mb = 0.0
    for line in log.read_text(encoding="utf-8").splitlines():
        path, taken_s, mb = json.loads(line)
        seconds[path] += taken_s
        peak_mb = max(peak_mb, mb)
    return seconds, round(peak_mb, 1)


def _peak_mb() -> float:
    """Return the peak memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def run_all(
    bench: Bench, n_files: int, *, batch_files: int, work: Path, on_progress: Callable[[int, int], None]
) -> Iterator[Batch]:
    """Run every batch; those that a former run has finished are read from `work`/batches.jsonl."""
    done = work / "batches.jsonl"
    finished = done.read_text(encoding="utf-8").splitlines() if done.exists() else []
    for number, start in enumerate(range(0, n_files, batch_files)):
        numbers = range(start, min(n_files, start + batch_files))
        if number < len(finished):
            yield _from_line(finished[number])
        else:
            folder = work / "batch"
            shutil.rmtree(folder, ignore_errors=True)
            batch = bench.run(numbers, folder)
            shutil.rmtree(folder)
            with done.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(batch)) + "\n")
            yield batch
        on_progress(numbers.stop, n_files)


def _from_line(line: str) -> Batch:
    values = json.loads(line)
    return Batch([Outcome(**outcome) for outcome in values.pop("files")], **values)


def report(batches: Sequence[Batch]) -> dict[str, Any]:
    """Return the counts, faults and oracles of all batches, as plain values."""
    files = [outcome for batch in batches for outcome in batch.files]
    faults = [fault for batch in batches for fault in batch.faults]
    slowest = max(files, key=lambda outcome: outcome.seconds, default=None)
    seconds = sum(batch.seconds for batch in batches)
    return {
        "faults": faults,
        "states": dict(Counter(outcome.state for outcome in files)),
        "n_crashed": sum("(decoder: " in (outcome.reason or "") for outcome in files),
        "n_hung": sum("decoder hangs" in (outcome.reason or "") for outcome in files),
        "crashed": _named(files, "(decoder: "),
        "unexpected": _named(files, "unexpected "),
        "seconds": round(seconds, 1),
        "files_per_s": round(len(files) / seconds, 1) if seconds else 0.0,
        "audio_s": round(sum(batch.audio_s for batch in batches), 1),
        "slowest": {"name": slowest.name, "seconds": slowest.seconds} if slowest else None,
        "peak_mb": {
            "build": max((batch.build_mb for batch in batches), default=0.0),
            "decoder": max((batch.decoder_mb for batch in batches), default=0.0),
        },
        "by_format": _states_by(files, lambda outcome: outcome.format),
        "by_damage": _states_by(files, lambda outcome: outcome.damage),
        "reasons": _reasons(files),
        "oracles": _oracles(files),
    }


def _named(files: Sequence[Outcome], words: str) -> list[str]:
    """Return the first files whose reason has these words."""
    return [f"{outcome.name}: {outcome.reason}" for outcome in files if words in (outcome.reason or "")][:_EXAMPLES]


def _reasons(files: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Return every kind of reason, the commonest first, with its number of files and one of them."""
    named: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in files:
        if outcome.reason:
            named[_kind_of(outcome.reason)].append(outcome)
    return {
        kind: {"files": len(named[kind]), "example": f"{named[kind][0].name}: {named[kind][0].reason}"}
        for kind in sorted(named, key=lambda kind: (-len(named[kind]), kind))
    }


def _kind_of(reason: str) -> str:
    """Return a reason without its numbers and details."""
    return re.sub(r"\d+(\.\d+)?", "N", reason.partition(" (")[0].partition(":")[0])[:80]


def _states_by(files: Sequence[Outcome], key: Callable[[Outcome], str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in files:
        counts[key(outcome)][outcome.state] += 1
    return {name: dict(counts[name]) for name in sorted(counts)}


def _oracles(files: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    known: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in files:
        if outcome.is_right is not None:
            known[outcome.damage].append(outcome)
    return {
        name: {
            "files": len(known[name]),
            "right": sum(bool(outcome.is_right) for outcome in known[name]),
            "wrong_by_format": dict(Counter(outcome.format for outcome in known[name] if not outcome.is_right)),
            "wrong": [_described(outcome) for outcome in known[name] if not outcome.is_right][:_EXAMPLES],
        }
        for name in sorted(known)
    }


def _described(outcome: Outcome) -> str:
    longest = "" if outcome.longest_s is None else f"{outcome.longest_s:.2f}"
    parts = [f"{outcome.name}: expected {outcome.shortest_s or 0.0:.2f}-{longest} s"]
    parts.append(f"{outcome.duration_s:.2f} s decoded" if outcome.duration_s is not None else str(outcome.reason))
    if outcome.cosine is not None:
        parts.append(f"cosine {outcome.cosine:.3f}")
    return ", ".join(parts)


def table(values: dict[str, Any]) -> str:
    """Return the states by format and by damage as text."""
    lines = []
    for title in ("by_format", "by_damage"):
        lines.append(f"{title.replace('_', ' '):<30}" + "".join(f"{state:>12}" for state in _STATES) + "    right")
        for name, counts in values[title].items():
            oracle = values["oracles"].get(name) if title == "by_damage" else None
            right = f"{oracle['right']:>5}/{oracle['files']}" if oracle else ""
            lines.append(f"{name:<30}" + "".join(f"{counts.get(state, 0):>12}" for state in _STATES) + right)
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="number of files (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="determines every file (default: 0)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="decoding processes (default: 2)")
    parser.add_argument("--batch", type=int, default=200, metavar="N", help="files on disk at once (default: 200)")
    parser.add_argument(
        "--stall", type=float, default=30.0, metavar="S", help="seconds a decoder may stall (default: 30)"
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="model directory (default: the shipped model)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to work (default: the temporary folder)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the JSON to a file, too")
    args = parser.parse_args(arguments)
    from encoders.checkpoint import DEFAULT_MODEL_DIR
    from encoders.loading import load_model

    name = f"earmark-hostile-{args.files}-{args.seed}-{args.batch}"
    work = args.work or Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    work.mkdir(parents=True, exist_ok=True)
    model: Any = load_model(args.model or DEFAULT_MODEL_DIR)
    bench = Bench(args.seed, model=model, workers=args.workers, stall_s=args.stall, per_format=_PER_FORMAT)

    def show(n_done: int, n_files: int) -> None:
        print(f"{n_done}/{n_files} files", file=sys.stderr, flush=True)

    batches = list(run_all(bench, args.files, batch_files=args.batch, work=work, on_progress=show))
    shutil.rmtree(work)
    values = report(batches)
    print(table(values), file=sys.stderr)
    line = {
        "bench": "hostile",
        "files": args.files,
        "formats": len(FORMATS),
        "damages": len(DAMAGES),
        "seed": args.seed,
        "workers": args.workers,
        "ok": not values["faults"],
        **values,
    }
    print(json.dumps(line))
    if args.out:
        args.out.write_text(json.dumps(line, indent=1) + "\n", encoding="utf-8")
    return 1 if values["faults"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
