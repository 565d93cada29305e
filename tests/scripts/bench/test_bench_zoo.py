"""The benchmark of the architectures: turns, medians, table and figure, and one real measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from encoders.backbones.profile import Speed
from scripts.bench import zoo as bench_zoo


def test_architectures_take_turns_and_the_result_is_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
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


PARENT = """if True:
    import json, subprocess, sys
    from scripts.bench.zoo import peak_rss_mib
    before_mib = peak_rss_mib()
    held = b"x" * (80 << 20)
    child = "import json; from scripts.bench.zoo import peak_rss_mib; print(json.dumps(peak_rss_mib()))"
    done = subprocess.run([sys.executable, "-c", child], check=True, stdout=subprocess.PIPE, text=True)
    print(json.dumps([before_mib, peak_rss_mib(), float(done.stdout)]))
"""


def test_the_peak_of_a_process_excludes_what_its_parent_holds() -> None:
    done = subprocess.run([sys.executable, "-c", PARENT], check=True, stdout=subprocess.PIPE, text=True, timeout=100)
    before_mib, parent_mib, child_mib = json.loads(done.stdout)
    assert parent_mib > before_mib + 75
    assert abs(child_mib - before_mib) < 40  # both import torch; only the parent holds 80 MiB more


def test_an_idle_process_is_measured() -> None:
    idle = bench_zoo.measured("idle", seconds=1, device="cpu")
    assert idle.real_time_x == 0
    assert idle.peak_mib is not None and idle.peak_mib > 10


def test_figures_of_a_selection_are_not_saved() -> None:
    command = [sys.executable, "-m", "scripts.bench.zoo", "--write", "--names", "fcn"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2
    assert "leave --names out" in done.stderr
    assert done.stdout == ""
