"""The bench of an index's checks measures what it names."""

from __future__ import annotations

import json

import pytest

from scripts.bench.index_checks import main


def test_it_prints_one_line_of_times(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["index_checks", "--tracks", "30", "--segments", "2", "--runs", "3"])
    main()
    (line,) = capsys.readouterr().out.splitlines()
    values = json.loads(line)
    assert (values.pop("tracks"), values.pop("segments"), values.pop("dim")) == (30, 60, 256)
    assert len(values) == 7 and all(name.endswith(" (ms)") and value > 0 for name, value in values.items())
