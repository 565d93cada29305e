"""Random pieces: the same for the same seed, within their instruments' ranges, labelled by what plays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.recipes.default import synth


def test_pieces_are_seeded_and_labelled() -> None:
    several = 0
    for seed in range(40):
        notes, programs, labels = synth._compose(np.random.default_rng(seed), 10.0)
        again, _, _ = synth._compose(np.random.default_rng(seed), 10.0)
        assert notes == again
        assert notes
        assert all(0 <= note.start_s < 10 and note.end_s > note.start_s for note in notes)
        assert all(0 <= note.key <= 127 and 1 <= note.velocity <= 127 for note in notes)
        for program in programs.values():
            assert synth.PROGRAM_TAGS[program].split(";")[0] in labels
        assert {note.channel for note in notes} <= {*programs, 9}
        assert ("drum kit" in labels) == (len(programs) > 1 and any(note.channel == 9 for note in notes))
        several += len(programs) > 1
    assert 5 < several < 35


def test_a_missing_soundfont_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    # The library itself is an extra and needs the system's FluidSynth; nothing of it is reached here.
    monkeypatch.setitem(sys.modules, "fluidsynth", types.ModuleType("fluidsynth"))
    with pytest.raises(FileNotFoundError, match=r"none\.sf2 is missing"):
        next(synth.render_clips([tmp_path / "none.sf2"], count=1))
