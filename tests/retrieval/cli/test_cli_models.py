"""`retrieve models`: what is listed, counted and measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Call, one_line

from encoders.backbones import profile as costs
from encoders.backbones.profile import MeasuredSpeeds, Speed, build_without_weights, count_costs, measure_speed
from encoders.backbones.registry import TAGGERS, build_backbone, list_taggers

SPEEDS = MeasuredSpeeds("a machine, 2 of 2 cores", {"fcn": Speed(123.4, 300.0)})


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "read_measured", lambda: SPEEDS)


def conv_multiply_adds(n_in: int, n_out: int, places: int) -> int:
    return n_in * n_out * 9 * places


def test_multiply_adds_are_those_of_the_layers() -> None:
    # 3 s are 130 frames of 128 bands; every chunk halves both.
    widths, sides = (1, 32, 64, 128, 256, 256), [(128, 130), (64, 65), (32, 32), (16, 16), (8, 8)]
    convolutions = sum(
        conv_multiply_adds(n_in, n_out, height * width)
        for n_in, n_out, (height, width) in zip(widths, widths[1:], sides, strict=False)
    )
    filters, dense = 128 * 1025 * 130, 4096 * 512
    assert count_costs(build_without_weights("genre_cnn")).multiply_adds == convolutions + filters + dense


@pytest.mark.parametrize("name", ["mn04", "musicnn", "sample_cnn"])
def test_shapes_alone_are_counted_as_the_network_is(name: str) -> None:
    counted = count_costs(build_without_weights(name))
    assert counted == count_costs(build_backbone(name).eval())
    assert counted.parameters == sum(p.numel() for p in build_backbone(name).parameters())


def test_all_architectures_as_json(call: Call, shipped: None) -> None:
    status, out, err = call("models", "--json")
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["name"] for row in rows] == list(list_taggers())
    for row in rows:
        assert row["citation"] == TAGGERS[row["name"]].citation
        assert row["parameters"] > 0 and row["multiply_adds"] > 0 and row["features"] > 0
        assert (row["real_time_x"], row["measured_on"]) == (
            (123.4, SPEEDS.machine) if row["name"] == "fcn" else (None, None)
        )
    by_name = {row["name"]: row for row in rows}
    assert by_name["cnn14"]["sample_rate_hz"] == 32000
    assert by_name["sample_cnn"]["front_end"] == "samples"
    assert by_name["harmonic_cnn"]["front_end"] == "learned harmonic filters"


def test_for_people(call: Call, shipped: None) -> None:
    status, out, _ = call("models", "fcn", "vggish")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split()[-1] == "speed"
    assert " ".join(lines[1].split()) == "fcn 29 s at 16 kHz 96 mels every 16 ms 64 0.44 M 2.20 G 123 x"
    assert lines[2].split()[-2:] == ["0.87", "G"]
    assert lines[-1] == f"speed: x real time on {SPEEDS.machine}"


def test_without_figures_there_is_no_column_for_them(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "read_measured", lambda: None)
    _, out, _ = call("models", "fcn")
    assert "speed" not in out
    assert len(out.splitlines()) == 2


def test_measuring_replaces_the_figures(call: Call, shipped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "measure_speed", lambda name: Speed({"fcn": 7.0, "mn04": 70.0}[name]))
    status, out, err = call("models", "mn04", "fcn", "--measure", "--json")
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["name"], row["real_time_x"]) for row in rows] == [("mn04", 70.0), ("fcn", 7.0)]
    assert rows[0]["measured_on"] == costs.machine_name() != SPEEDS.machine


def test_a_measurement_hears_the_audio_that_it_says() -> None:
    backbone = build_without_weights("genre_cnn")
    assert [costs.n_segments(backbone, audio_s=seconds) for seconds in (0.1, 3, 8, 30)] == [1, 1, 3, 10]
    speed = measure_speed("genre_cnn", audio_s=3.0, repeats=1)
    assert speed.real_time_x > 0
    assert speed.peak_mib is None


def test_figures_are_kept_as_they_are(tmp_path: Path) -> None:
    assert costs.read_measured(tmp_path / "none.json") is None
    speeds = MeasuredSpeeds('a "machine"', {"fcn": Speed(1.5, 300.25), "mn04": Speed(20.0)})
    speeds.write(tmp_path / "measured.json")
    assert costs.read_measured(tmp_path / "measured.json") == speeds


def test_shipped_figures_are_of_every_architecture_and_no_other() -> None:
    shipped = costs.read_measured()
    assert shipped is None or set(shipped.of) == set(list_taggers())


def test_an_unknown_name_is_told_what_there_is(call: Call) -> None:
    status, out, err = call("models", "fcn", "vgg")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert "unknown 'vgg': choose from fcn, musicnn" in err
