"""Measure speed and peak memory of every architecture, from the waveform to its features.

    python -m scripts.bench.zoo [--device cuda] [--names fcn mn04] [--seconds 30] [--runs 5] [--plot FILE.png] [--write]

Each measurement runs in its own process, so that peak memory includes the network and the interpreter only. The
architectures take turns, run by run; the result is the median. Speed is seconds of audio per second, for one batch of
waveforms of the published input length that is about --seconds long. Peak memory is the resident set of the process on
the CPU (`idle_mib` is that of a process that only imports torch), and the memory allocated by CUDA on a GPU. The last
line of the output is JSON. `--write` saves the figures for `retrieve models --speeds`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from encoders.backbones.profile import (
    MeasuredSpeeds,
    Speed,
    build_without_weights,
    count_profile,
    machine_name,
    measure_speed,
)
from encoders.backbones.registry import list_taggers

IDLE = "idle"


def peak_rss_mib() -> float:
    """Return the peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux a child inherits ru_maxrss from its parent; VmHWM starts again with each program.
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def work(name: str, *, seconds: float, device: str) -> None:
    """Measure one architecture in this process, or the idle process, and print the figures."""
    if name == IDLE:
        print(json.dumps({"real_time_x": 0.0, "peak_mib": peak_rss_mib()}))
        return
    speed = measure_speed(name, audio_s=seconds, device=device)
    peak_mib = peak_rss_mib() if speed.peak_mib is None else speed.peak_mib
    print(json.dumps(asdict(Speed(speed.real_time_x, peak_mib))))


def measured(name: str, *, seconds: float, device: str) -> Speed:
    """Measure one architecture in a new process."""
    command = [sys.executable, "-m", "scripts.bench.zoo", "--work", name, "--seconds", str(seconds), "--device", device]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Speed(**json.loads(done.stdout.splitlines()[-1]))


def median_speeds(names: list[str], *, runs: int, seconds: float, device: str) -> dict[str, Speed]:
    """Measure the architectures in turns and return the medians."""
    found: dict[str, list[Speed]] = {name: [] for name in names}
    for run in range(runs):
        for name in names:
            print(f"run {run + 1} of {runs}: {name}", file=sys.stderr, flush=True)
            found[name].append(measured(name, seconds=seconds, device=device))
    return {
        name: Speed(
            round(statistics.median(speed.real_time_x for speed in speeds), 2),
            round(statistics.median(speed.peak_mib or 0.0 for speed in speeds), 1),
        )
        for name, speeds in found.items()
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| name | × real time | peak memory, MiB | parameters, M | MACs per second of audio, G |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row['name']} | {row['real_time_x']:.1f} | {row['peak_mib']:.0f} | {row['parameters'] / 1e6:.2f} "
        f"| {row['macs_per_s'] / 1e9:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def draw(path: Path, rows: list[dict[str, Any]], machine: str) -> None:
    """Draw speed and peak memory as bars, the fastest at the top."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(rows, key=lambda row: float(row["real_time_x"]))
    names = [row["name"] for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, sharey=True, figsize=(9, 1 + 0.3 * len(rows)), layout="constrained")
    for axes, key, label in ((left, "real_time_x", "× real time"), (right, "peak_mib", "peak memory, MiB")):
        bars = axes.barh(names, [row[key] for row in rows], color="#4878a8")
        axes.bar_label(bars, fmt="{:.0f}", padding=2, fontsize=8)
        axes.set_xlabel(label)
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(machine, fontsize=9)
    figure.savefig(path, dpi=150)


def rows_of(speeds: dict[str, Speed]) -> list[dict[str, Any]]:
    """Return measured and counted figures, one architecture per row."""
    rows = []
    for name, speed in speeds.items():
        backbone = build_without_weights(name)
        profile, input_s = count_profile(backbone), backbone.input_samples / backbone.sample_rate_hz
        per_s = round(profile.macs / input_s)
        rows.append({"name": name, **asdict(speed), "parameters": profile.parameters, "macs_per_s": per_s})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="a torch device: cpu, cuda, cuda:1 (default: %(default)s)")
    parser.add_argument("--names", nargs="+", choices=list_taggers(), metavar="NAME", help="default: all")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the batch (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="runs per architecture (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures: a .png, .svg or .pdf")
    parser.add_argument("--write", action="store_true", help="save the figures for `retrieve models --speeds`")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, seconds=args.seconds, device=args.device)
        return
    if args.write and args.names:
        parser.error("--write saves the figures of all architectures: leave --names out")
    names = args.names or list(list_taggers())
    speeds = median_speeds([IDLE, *names], runs=args.runs, seconds=args.seconds, device=args.device)
    idle, machine = speeds.pop(IDLE), machine_name(args.device)
    rows = rows_of(speeds)
    print(table(rows))
    print(f"\n{machine}; an idle process holds {idle.peak_mib:.0f} MiB")
    if args.plot:
        draw(args.plot, rows, machine)
    if args.write:
        MeasuredSpeeds(machine, speeds).write()
    figures = {row["name"]: {key: value for key, value in row.items() if key != "name"} for row in rows}
    print(
        json.dumps(
            {
                "bench": "zoo",
                "machine": machine,
                "device": args.device,
                "runs": args.runs,
                "seconds": args.seconds,
                "idle_mib": idle.peak_mib,
                "figures": figures,
            }
        )
    )


if __name__ == "__main__":
    main()
