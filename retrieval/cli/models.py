"""`retrieve models`: the architectures, their sizes and speeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.output import print_table
from retrieval.cli.progress import show_progress

if TYPE_CHECKING:
    from encoders.backbones.profile import MeasuredSpeeds

__all__ = ["models"]

_RIGHT = frozenset({"features", "parameters", "MACs", "speed"})


def models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Architectures (default: all).", show_default=False)
    ] = None,
    show_speeds: Annotated[
        bool, typer.Option("--speeds", help="Add the speeds that were measured on another machine, and its name.")
    ] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the speed of each on this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per architecture and line.")] = False,
) -> None:
    """List the architectures that can be trained, or loaded with published weights.

    Features and parameters exclude the last layer. MACs are multiply-accumulates
    for one input of the published length. Speed is seconds of audio per second.

    Examples:

      retrieve models
      retrieve models fcn musicnn --measure
    """
    from encoders.backbones.profile import read_measured
    from encoders.backbones.registry import list_taggers

    chosen = _chosen(names, list_taggers())
    speeds = _measured(chosen) if measure else read_measured() if show_speeds else None
    rows = [_described(name, speeds) for name in chosen]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
        return
    header = ["name", "input", "front end", "features", "parameters", "MACs"]
    cells = [_cells(row) for row in rows]
    if speeds is None:
        print_table(header, cells, right=_RIGHT)
        return
    for row, line in zip(rows, cells, strict=True):
        line.append("" if row["real_time_x"] is None else f"{row['real_time_x']:.0f} x")
    print_table([*header, "speed"], cells, right=_RIGHT)
    typer.echo(f"\nspeed: x real time on {speeds.machine}")


def _chosen(names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise typer.BadParameter(
            f"unknown {', '.join(map(repr, unknown))}: choose from {', '.join(known)}", param_hint="NAME"
        )
    return list(dict.fromkeys(names or known))


def _described(name: str, speeds: MeasuredSpeeds | None) -> dict[str, Any]:
    from encoders.backbones.profile import build_without_weights, count_profile
    from encoders.backbones.registry import TAGGERS

    backbone = build_without_weights(name)
    entry, profile = TAGGERS[name], count_profile(backbone)
    row = {
        "name": name,
        "summary": entry.summary,
        "citation": entry.citation,
        "published": entry.published,
        "verified_against": entry.verified_against,
        "sample_rate_hz": backbone.sample_rate_hz,
        "input_samples": backbone.input_samples,
        "front_end": backbone.front_end_name,
        "features": backbone.dim,
        "parameters": profile.parameters,
        "macs": profile.macs,
    }
    if speeds is not None:
        speed = speeds.of.get(name)
        row["real_time_x"] = None if speed is None else round(speed.real_time_x, 2)
        row["measured_on"] = None if speed is None else speeds.machine
    return row


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["name"],
        f"{row['input_samples'] / row['sample_rate_hz']:.3g} s at {row['sample_rate_hz'] / 1000:g} kHz",
        row["front_end"],
        str(row["features"]),
        f"{row['parameters'] / 1e6:.2f} M",
        f"{row['macs'] / 1e9:.2f} G",
    ]


def _measured(names: Sequence[str]) -> MeasuredSpeeds:
    from encoders.backbones.profile import MeasuredSpeeds, machine_name, measure_speed

    speeds = {}
    with show_progress() as progress:
        for done, name in enumerate(names, start=1):
            speeds[name] = measure_speed(name)
            progress.update("measuring", done, len(names))
    return MeasuredSpeeds(machine_name(), speeds)
