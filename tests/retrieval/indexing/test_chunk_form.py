"""Models that hear chunks of another rate and length than the shipped one: files are cut to their measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ingest_helpers import Model, song, vectors_in

from encoders.embed import embed_audio
from retrieval.indexing.build import build


class ShortModel(Model):
    """Hears chunks of 2 s at 8 kHz."""

    sample_rate_hz = 8000
    chunk_s = 2.0

    def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
        assert chunks.dtype == np.float32 and chunks.shape[1:] == (16000,)
        return np.stack([np.abs(chunks).mean(axis=1) + 0.01, np.abs(chunks).max(axis=1)], axis=1)


def test_files_are_cut_as_the_model_says(tmp_path: Path) -> None:
    file = song(tmp_path / "music" / "a.wav", duration_s=7.0)
    sound = embed_audio(file, model=ShortModel())
    # Chunks of 2 s at 0, 2 and 4 s, and the last second's at 5 s.
    assert sound.spans_s.tolist() == [[0.0, 4.0], [2.0, 6.0], [4.0, 7.0]]
    summary = build([tmp_path / "music"], index_path=tmp_path / "index", model=ShortModel())
    assert summary.added == 1
    np.testing.assert_allclose(vectors_in(tmp_path / "index", file), sound.vectors, atol=1e-6)
