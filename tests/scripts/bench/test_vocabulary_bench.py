"""What a model reads: runs of words of captions, known shares, and the request sentences."""

from __future__ import annotations

import pytest

from encoders.text.tower import TextEncoder
from scripts.bench.vocabulary import known_shares, measured, read_requests, table, word_runs


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load()


def test_runs_end_at_function_words_and_punctuation() -> None:
    caption = "A gentle piano melody is played with soft strings, bright bells and a flute."
    assert list(word_runs(caption)) == ["gentle piano melody", "soft strings", "bright bells"]


def test_shares_of_words_and_of_whole_phrases(encoder: TextEncoder) -> None:
    found = known_shares(encoder, ["acoustic guitar", "zzqx piano", "zzqx"])
    assert found == {"phrases": 3, "words_known": 0.5, "phrases_known": 0.3333}


def test_there_are_200_requests_with_different_content() -> None:
    requests = read_requests()
    assert len(requests) == len({content for _, content in requests}) == 200
    assert all(content in sentence for sentence, content in requests)


def test_the_shipped_model_reads_requests_by_their_content(encoder: TextEncoder) -> None:
    found = measured(encoder, {"names": ["piano"]}, read_requests())
    assert found["requests, phrase vectors"]["share"] > 0.9
    assert "| names | 1 / 1.0 / 1.0 |" in table({"model": found})
