"""`retrieve models`: what is listed, counted and measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import Call, one_line

from encoders.backbones import profile
from encoders.backbones.profile import MeasuredSpeeds, Speed, build_without_weights, count_profile, measure_speed
from encoders.backbones.registry import TAGGERS, build_backbone, list_taggers

SPEEDS = MeasuredSpeeds("a machine, 2 of 2 cores", {"fcn": Speed(123.4, 300.0)})


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "read_measured", lambda: SPEEDS)


def conv_macs(n_in: int, n_out: int, positions: int) -> int:
    return n_in * n_out * 9 * positions


def test_macs_are_those_of_the_layers() -> None:
    # 3 s are 130 frames of 128 bands; every block halves both.
    widths, sides = (1, 32, 64, 128, 256, 256), [(128, 130), (64, 65), (32, 32), (16, 16), (8, 8)]
    convolutions = sum(
        conv_macs(n_in, n_out, height * width)
        for n_in, n_out, (height, width) in zip(widths, widths[1:], sides, strict=False)
    )
    filters, dense = 128 * 1025 * 130, 4096 * 512
    assert count_profile(build_without_weights("genre_cnn")).macs == convolutions + filters + dense


@pytest.mark.parametrize("name", ["mn04", "musicnn", "sample_cnn"])
def test_shapes_alone_are_counted_as_the_network_is(name: str) -> None:
    counted = count_profile(build_without_weights(name))
    assert counted == count_profile(build_backbone(name).eval())
    assert counted.parameters == sum(p.numel() for p in build_backbone(name).parameters())


def test_all_architectures_as_json(call: Call, shipped: None) -> None:
    status, out, err = call("models", "--speeds", "--json")
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["name"] for row in rows] == list(list_taggers())
    for row in rows:
        assert row["citation"] == TAGGERS[row["name"]].citation
        assert row["parameters"] > 0 and row["macs"] > 0 and row["features"] > 0
        assert (row["real_time_x"], row["measured_on"]) == (
            (123.4, SPEEDS.machine) if row["name"] == "fcn" else (None, None)
        )
    by_name = {row["name"]: row for row in rows}
    assert by_name["cnn14"]["sample_rate_hz"] == 32000
    assert by_name["sample_cnn"]["front_end"] == "samples"
    assert by_name["harmonic_cnn"]["front_end"] == "learned harmonic filters"


def test_the_table(call: Call, shipped: None) -> None:
    status, out, _ = call("models", "fcn", "vggish", "--speeds")
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split()[-1] == "speed"
    assert " ".join(lines[1].split()) == "fcn 29 s at 16 kHz 96 mels every 16 ms 64 0.44 M 2.20 G 123 x"
    assert lines[2].split()[-2:] == ["0.87", "G"]
    assert lines[-1] == f"speed: x real time on {SPEEDS.machine}"


def test_speeds_of_another_machine_are_hidden_by_default(call: Call, shipped: None) -> None:
    _, out, _ = call("models", "fcn")
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "name input front end features parameters MACs",
        "fcn 29 s at 16 kHz 96 mels every 16 ms 64 0.44 M 2.20 G",
    ]
    row = json.loads(call("models", "fcn", "--json")[1])
    assert "real_time_x" not in row and "measured_on" not in row
    assert row["verified_against"] == TAGGERS["fcn"].verified_against


def test_without_figures_there_is_no_column_for_them(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "read_measured", lambda: None)
    _, out, _ = call("models", "fcn", "--speeds")
    assert "speed" not in out
    assert len(out.splitlines()) == 2


def test_measuring_replaces_the_figures(call: Call, shipped: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "measure_speed", lambda name: Speed({"fcn": 7.0, "mn04": 70.0}[name]))
    status, out, err = call("models", "mn04", "fcn", "--measure", "--json")
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["name"], row["real_time_x"]) for row in rows] == [("mn04", 70.0), ("fcn", 7.0)]
    assert rows[0]["measured_on"] == profile.machine_name() != SPEEDS.machine


def test_a_measurement_takes_about_the_audio_that_is_asked_for() -> None:
    backbone = build_without_weights("genre_cnn")
    assert [profile.n_waveforms(backbone, audio_s=seconds) for seconds in (0.1, 3, 8, 30)] == [1, 1, 3, 10]
    speed = measure_speed("genre_cnn", audio_s=3.0, repeats=1)
    assert speed.real_time_x > 0
    assert speed.peak_mib is None


def test_figures_are_kept_as_they_are(tmp_path: Path) -> None:
    assert profile.read_measured(tmp_path / "none.json") is None
    speeds = MeasuredSpeeds('a "machine"', {"fcn": Speed(1.5, 300.25), "mn04": Speed(20.0)})
    speeds.write(tmp_path / "measured.json")
    assert profile.read_measured(tmp_path / "measured.json") == speeds


def test_shipped_figures_are_of_every_architecture_and_no_other() -> None:
    shipped = profile.read_measured()
    assert shipped is None or set(shipped.of) == set(list_taggers())


def test_the_error_of_an_unknown_name_lists_the_names(call: Call) -> None:
    status, out, err = call("models", "fcn", "vgg")
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert "unknown 'vgg': choose from fcn, musicnn" in err
