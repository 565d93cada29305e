"""The pipeline "zero-shot-audio-classification": each kind of input, batches, labels that are unknown, other models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from audio_files import noise, tone
from transformers import ZeroShotAudioClassificationPipeline, pipeline

from encoders import DEFAULT_MODEL_DIR, AudioDecodeError, TwoTowerModel
from encoders.pipeline import ChunkFeatureExtractor
from encoders.zero_shot import AudioLabelPipeline, UnknownLabelsError

RATE_HZ = 32_000
LABELS = ["white noise", "flute", "rain"]


@pytest.fixture(scope="module")
def classify() -> AudioLabelPipeline:
    made = pipeline("zero-shot-audio-classification", model=str(DEFAULT_MODEL_DIR))
    assert isinstance(made, AudioLabelPipeline) and isinstance(made.model, TwoTowerModel)
    return made


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return (0.3 * tone(6.0) + 0.05 * noise(6 * RATE_HZ)).astype(np.float32)


def scores(rows: list[dict[str, Any]]) -> dict[str, float]:
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert sum(row["score"] for row in rows) == pytest.approx(1, abs=1e-5)
    return {row["label"]: row["score"] for row in rows}


def as_file(clip: np.ndarray, folder: Path) -> Path:
    soundfile.write(folder / "clip.wav", clip, RATE_HZ, subtype="FLOAT")
    return folder / "clip.wav"


def pcm16(clip: np.ndarray) -> np.ndarray:
    return np.round(clip * 32_767).astype(np.int16)


FORMS: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "str": lambda clip, folder: str(as_file(clip, folder)),
    "path": as_file,
    "bytes": lambda clip, folder: as_file(clip, folder).read_bytes(),
    "float64": lambda clip, _: clip.astype(np.float64),
    "int16": lambda clip, _: pcm16(clip),
    "tensor": lambda clip, _: torch.from_numpy(clip),
    "channels first": lambda clip, _: np.stack([clip, clip]),
    "samples first": lambda clip, _: np.stack([clip, clip], 1),
    "opposite channels": lambda clip, _: np.stack([clip, -clip]),
    "int16 stereo": lambda clip, _: np.stack([pcm16(clip)] * 2, 1),
    "dict array": lambda clip, _: {"array": clip, "sampling_rate": RATE_HZ, "path": None},
    "dict raw": lambda clip, _: {"raw": clip, "sampling_rate": RATE_HZ},
    "dict of a list": lambda clip, _: {"array": clip.tolist(), "sampling_rate": RATE_HZ},
    "dict of a tensor": lambda clip, _: {"raw": torch.from_numpy(clip), "sampling_rate": RATE_HZ},
    "48 kHz": lambda clip, _: {"array": soxr.resample(clip, RATE_HZ, 48_000), "sampling_rate": 48_000},
    "48 kHz int16 stereo": lambda clip, _: {
        "array": np.stack([pcm16(soxr.resample(clip, RATE_HZ, 48_000))] * 2, 1),
        "sampling_rate": 48_000,
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_a_clip_gets_the_scores_of_its_waveform(
    form: str, classify: AudioLabelPipeline, clip: np.ndarray, tmp_path: Path
) -> None:
    expected = scores(classify(clip, candidate_labels=LABELS))
    given = FORMS[form](clip, tmp_path)
    found = scores(classify(given, candidate_labels=LABELS))
    assert found == pytest.approx(expected, abs=0.02 if "48" in form else 2e-3)
    assert expected.keys() == set(LABELS) and max(expected.values()) > 0.4


def test_batches_of_clips_of_unequal_length_score_as_single_clips(classify: AudioLabelPipeline, tmp_path: Path) -> None:
    clips = [tone(0.5), noise(12 * RATE_HZ) * 0.1, tone(5.0) + 0.1 * noise(5 * RATE_HZ), tone(21.0), noise(40_000)]
    given = [clips[0], as_file(clips[1], tmp_path), {"array": clips[2], "sampling_rate": RATE_HZ}, *clips[3:]]
    single = [scores(classify(one, candidate_labels=LABELS)) for one in clips]
    for batch_size in (None, 1, 2, 8):
        of_list = classify(given, candidate_labels=LABELS, batch_size=batch_size)
        of_generator = classify((one for one in given), candidate_labels=LABELS, batch_size=batch_size)
        assert isinstance(of_list, list) and not isinstance(of_generator, list)
        for answer in (of_list, list(of_generator)):
            assert len(answer) == len(single)
            for rows, expected in zip(answer, single, strict=True):
                assert scores(rows) == pytest.approx(expected, abs=1e-4)


def test_a_batch_size_of_one_clip_and_of_the_pipeline(clip: np.ndarray, classify: AudioLabelPipeline) -> None:
    expected = scores(classify(clip, candidate_labels=LABELS))
    assert scores(classify(clip, candidate_labels=LABELS, batch_size=8)) == pytest.approx(expected)
    eight = pipeline(
        "zero-shot-audio-classification",
        model=classify.model,
        tokenizer=classify.tokenizer,
        feature_extractor=classify.feature_extractor,
        batch_size=8,
    )
    assert isinstance(eight, AudioLabelPipeline)
    answers = eight([clip, clip], candidate_labels=LABELS)
    assert [scores(rows) == pytest.approx(expected, abs=1e-4) for rows in answers] == [True, True]
    assert eight([], candidate_labels=LABELS) == []


def test_a_generator_is_read_as_it_is_consumed(classify: AudioLabelPipeline, clip: np.ndarray) -> None:
    read = []

    def clips() -> Any:
        for i in range(100):
            read.append(i)
            yield clip

    answers = iter(classify(clips(), candidate_labels=LABELS, batch_size=2))
    next(answers)
    assert len(read) <= 5


def test_labels_without_a_known_word_are_named_and_left_out(classify: AudioLabelPipeline, clip: np.ndarray) -> None:
    plain = classify(clip, candidate_labels=["flute", "white noise"])
    labels = ["qwzzx", "flute", "fxqqj vvkkz", "white noise"]
    with pytest.warns(UserWarning, match=r"\['qwzzx', 'fxqqj vvkkz'\].* they are left out") as warned:
        found = classify(clip, candidate_labels=labels)
    assert len(warned) == 1
    assert scores(found) == pytest.approx(scores(plain), abs=1e-6)
    with pytest.warns(UserWarning, match="they are left out"):
        both = classify([clip, clip], candidate_labels=labels, batch_size=2)
    assert [scores(rows) for rows in both] == [pytest.approx(scores(plain), abs=1e-6)] * 2


def test_only_labels_without_a_known_word_are_an_error(classify: AudioLabelPipeline, clip: np.ndarray) -> None:
    with pytest.raises(UnknownLabelsError, match=r"\['qwzzx', 'fxqqj vvkkz'\]"):
        classify(clip, candidate_labels=["qwzzx", "fxqqj vvkkz"])
    with pytest.raises(UnknownLabelsError, match="qwzzx"):  # the template's own words do not hide it
        classify(clip, candidate_labels=["qwzzx"], hypothesis_template="music of a {}")


def test_a_label_with_an_unknown_word_is_scored_without_it(classify: AudioLabelPipeline, clip: np.ndarray) -> None:
    with pytest.warns(UserWarning, match="'qwzzx flute': unknown words are left out: qwzzx"):
        found = scores(classify(clip, candidate_labels=["white noise", "qwzzx flute"]))
    plain = scores(classify(clip, candidate_labels=["white noise", "flute"]))
    assert found["qwzzx flute"] == pytest.approx(plain["flute"], abs=1e-6)


def test_a_template_adds_its_words_and_the_default_none(classify: AudioLabelPipeline, clip: np.ndarray) -> None:
    plain = scores(classify(clip, candidate_labels=LABELS, hypothesis_template="{}"))
    assert scores(classify(clip, candidate_labels=LABELS)) == pytest.approx(plain, abs=1e-6)
    of_template = scores(classify(clip, candidate_labels=["guitar", "rain"], hypothesis_template="loud {}"))
    written = classify(clip, candidate_labels=["loud guitar", "loud rain"], hypothesis_template="{}")
    assert of_template == pytest.approx({row["label"][5:]: row["score"] for row in written}, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (3.0, {}, TypeError, "audio of type float"),
        ({"array": np.ones(9)}, {}, ValueError, r"\"sampling_rate\"; this one has \['array'\]"),
        ({"sampling_rate": 8000}, {}, ValueError, 'needs "array" or "raw"'),
        ({"array": np.ones(9), "sampling_rate": 0}, {}, ValueError, "sampling_rate=0 is not"),
        ({"array": np.ones(9), "sampling_rate": 44_100.5}, {}, ValueError, "sampling_rate=44100.5 is not"),
        (np.ones((2, 3, 4), np.float32), {}, ValueError, "at most 64 channels"),
        (np.ones(9, np.int64), {}, ValueError, "int64 have no certain full scale"),
        (np.array([0.0, np.nan]), {}, ValueError, "1 samples are NaN or infinite"),
        (b"no sound at all", {}, AudioDecodeError, "audio"),
        (np.ones(RATE_HZ, np.float32), {"candidate_labels": "flute"}, TypeError, "give a list of labels"),
        (np.ones(RATE_HZ, np.float32), {"candidate_labels": None}, TypeError, "give a list of labels"),
        (np.ones(RATE_HZ, np.float32), {"candidate_labels": []}, ValueError, "at least one label"),
        (np.ones(RATE_HZ, np.float32), {"candidate_labels": ["flute", " "]}, ValueError, "none that is empty"),
        (np.ones(RATE_HZ, np.float32), {"hypothesis_template": "a sound"}, ValueError, "for the label"),
    ],
)
def test_wrong_inputs_are_refused_by_name(
    given: Any, options: dict[str, Any], error: type[Exception], message: str, classify: AudioLabelPipeline
) -> None:
    with pytest.raises(error, match=message):
        classify(given, **{"candidate_labels": LABELS, **options})


def test_a_missing_file_is_named(classify: AudioLabelPipeline) -> None:
    with pytest.raises(AudioDecodeError, match=r"nothing\.wav"):
        classify("/nowhere/nothing.wav", candidate_labels=LABELS)


def test_the_extractor_refuses_an_array_that_looks_like_channels_for_clips() -> None:
    with pytest.raises(ValueError, match="give it in a list"):
        ChunkFeatureExtractor()(np.zeros((RATE_HZ, 2), np.float32))
    assert ChunkFeatureExtractor()([np.zeros((RATE_HZ, 2), np.float32)])["input_values"].shape == (1, 1, 160_000)
    assert ChunkFeatureExtractor()(np.zeros((3, RATE_HZ), np.float32))["input_values"].shape == (3, 1, 160_000)


def test_other_models_keep_the_behaviour_of_the_library(classify: AudioLabelPipeline) -> None:
    """A CLAP model, tiny and random: the same scores from both classes, and the library's own refusals."""
    from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig
    from transformers.tokenization_utils_base import BatchEncoding

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 8, "num_attention_heads": [1, 1], "depths": [1, 1], "num_mel_bins": 64}
    audio = ClapAudioConfig(spec_size=256, patch_embeds_hidden_size=4, window_size=8, projection_dim=8, **sizes)
    text = ClapTextConfig(
        vocab_size=64, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, projection_dim=8
    )
    model = ClapModel(ClapConfig(audio_config=audio.to_dict(), text_config=text.to_dict(), projection_dim=8)).eval()

    def tokenizer(texts: list[str], **_: Any) -> BatchEncoding:
        ids = torch.tensor([[5 + len(t) % 50, 2] for t in texts])
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})

    extractor = ClapFeatureExtractor(truncation="rand_trunc")
    parts: dict[str, Any] = {"model": model, "tokenizer": tokenizer, "feature_extractor": extractor, "device": -1}
    ours, theirs = AudioLabelPipeline(**parts), ZeroShotAudioClassificationPipeline(**parts)
    sound = noise(48_000)
    assert ours(sound, candidate_labels=["a", "qwzzx"]) == theirs(sound, candidate_labels=["a", "qwzzx"])
    with pytest.raises(ValueError, match="single channel"):
        ours(np.zeros((2, 48_000), np.float32), candidate_labels=["a"])
