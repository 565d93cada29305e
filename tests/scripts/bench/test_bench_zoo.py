"""The bench of the zoo: turns, medians, table and picture, by figures that are given; one real measurement."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from encoders.backbones.profile import Speed
from scripts.bench import zoo as bench_zoo


def test_architectures_take_turns_and_medians_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Speed(1, 10), Speed(5, 50), Speed(9, 30), Speed(6, 50), Speed(2, 20), Speed(70, 51)])
    asked = []

    def measured(name: str, *, seconds: float, device: str) -> Speed:
        asked.append(name)
        return next(answers)

    monkeypatch.setattr(bench_zoo, "measured", measured)
    speeds = bench_zoo.median_speeds(["fcn", "mn04"], runs=3, seconds=1, device="cpu")
    assert asked == ["fcn", "mn04"] * 3
    assert speeds == {"fcn": Speed(2, 20), "mn04": Speed(6, 50)}


def test_figures_become_a_table_and_a_picture(tmp_path: Path) -> None:
    rows = bench_zoo.rows_of({"fcn": Speed(20.04, 300.0), "mn04": Speed(200.0, 250.0)})
    lines = bench_zoo.table(rows).splitlines()
    assert lines[2] == "| fcn | 20.0 | 300 | 0.44 | 0.08 |"
    assert len({line.count("|") for line in lines}) == 1
    bench_zoo.draw(tmp_path / "zoo.png", rows, "a machine")
    assert (tmp_path / "zoo.png").read_bytes().startswith(b"\x89PNG")


def test_a_measurement_is_a_process_with_a_peak_of_its_own() -> None:
    held = b"x" * (500 * 2**20)  # of ours, which a child must not inherit
    idle = bench_zoo.measured("idle", seconds=1, device="cpu")
    # Both have torch, whose size depends on its build; only this process has what it holds.
    assert idle.peak_mib is not None and 10 < idle.peak_mib < bench_zoo.peak_rss_mib() - 250
    assert len(held)


def test_figures_of_some_are_not_kept_as_those_of_all() -> None:
    command = [sys.executable, "-m", "scripts.bench.zoo", "--write", "--names", "fcn"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2
    assert "leave --names out" in done.stderr
    assert done.stdout == ""
