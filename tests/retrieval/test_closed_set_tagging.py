"""Published taggers behind `retrieve tag`: their scores against a direct forward, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli_helpers import Call, one_line
from torch import Tensor, nn

from encoders.backbones.base import Backbone
from encoders.backbones.convert import WON_DENSE2_KEYS
from encoders.backbones.published import published_tags
from encoders.tagger import TaggerNetwork, build_tagger
from retrieval.tagger import LabelError
from retrieval.tagging import ClosedSetTagger, PublishedModelError, split_spec

NAME = "won2020-mtat-musicnn"
RATE_HZ = 16000


class Loudness(Backbone):
    """Features: the power of a second, and of its first half."""

    dim = 2
    sample_rate_hz = input_samples = min_samples = RATE_HZ

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, waveform: Tensor) -> Tensor:
        self.batches.append(len(waveform))
        power = waveform.square()
        return torch.stack([power.mean(1), power[:, : RATE_HZ // 2].mean(1)], 1)


@pytest.fixture
def backbone() -> Loudness:
    return Loudness()


@pytest.fixture
def loudness(backbone: Loudness) -> ClosedSetTagger:
    head = nn.Linear(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[8.0, 0.0], [0.0, 8.0], [-8.0, 0.0]]))
        head.bias.zero_()
    return ClosedSetTagger(TaggerNetwork(backbone, head).eval(), ["Loud", "loud, then soft", "genre---quiet"])


@pytest.fixture(scope="module")
def tagger() -> TaggerNetwork:
    torch.manual_seed(4)
    made = build_tagger("musicnn", n_classes=50).eval()
    with torch.no_grad():
        made.head.weight.mul_(20)  # so that tags differ
    return made


@pytest.fixture(scope="module")
def checkpoint(tagger: TaggerNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tagger in the published layout."""
    path = tmp_path_factory.mktemp("published") / "best_model.pth"
    state = {WON_DENSE2_KEYS.theirs(key): tensor for key, tensor in tagger.state_dict().items()}
    tables = {"spec.spectrogram.window": torch.ones(512), "spec.mel_scale.fb": torch.ones(257, 96)}
    torch.save({**state, **tables}, path)
    return path


def sound(path: Path, *, duration_s: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Write noise that fades in; return its samples."""
    noise = np.random.default_rng(5).uniform(-1, 1, round(duration_s * rate_hz)).astype(np.float32)
    samples = noise * np.linspace(0.05, 1.0, len(noise), dtype=np.float32)
    soundfile.write(path, samples, rate_hz, subtype="FLOAT")
    return samples


def test_scores_are_the_mean_probability_of_segments(tagger: TaggerNetwork, checkpoint: Path, tmp_path: Path) -> None:
    samples = sound(tmp_path / "a.wav", duration_s=7.3)
    n = 3 * RATE_HZ
    segments = torch.from_numpy(np.stack([samples[:n], samples[n : 2 * n], samples[-n:]]))
    with torch.inference_mode():
        expected = torch.sigmoid(tagger(segments).double()).numpy()
    found = ClosedSetTagger.open(NAME, checkpoint, device="cpu").tag(tmp_path / "a.wav", top=50)
    names = published_tags(NAME)
    assert names is not None
    order = np.argsort(-expected.mean(0), kind="stable")
    assert [tag.tag for tag in found.tags] == [names[i] for i in order]
    np.testing.assert_allclose([tag.score for tag in found.tags], expected.mean(0)[order], atol=1e-5)
    np.testing.assert_allclose(found.segment_probabilities, expected[:, order], atol=1e-5)
    np.testing.assert_allclose(found.spans_s, [[0, 3], [3, 6], [4.3, 7.3]])
    assert found.duration_s == pytest.approx(7.3)


def test_a_short_file_is_repeated_to_fill_a_segment(loudness: ClosedSetTagger, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(1600, 0.5), RATE_HZ, subtype="FLOAT")
    found = loudness.tag(tmp_path / "a.wav", ["loud"])
    # Shorter than a second: padded with silence to one, so a tenth of it is sound.
    assert found.tags[0].score == pytest.approx(1 / (1 + np.exp(-8 * 0.025)))
    assert found.spans_s.tolist() == [[0, 0.1]]


def test_any_sample_rate_is_resampled(loudness: ClosedSetTagger, tmp_path: Path) -> None:
    time_s = np.arange(3 * 44100) / 44100
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * time_s), 44100)
    found = loudness.tag(tmp_path / "a.wav", ["loud"])
    assert found.tags[0].score == pytest.approx(1 / (1 + np.exp(-8 * 0.125)), abs=1e-3)
    assert found.duration_s == pytest.approx(3.0)
    assert len(found.spans_s) == 3


def test_a_long_file_goes_through_in_parts(backbone: Loudness, loudness: ClosedSetTagger, tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", duration_s=75)
    found = loudness.tag(tmp_path / "a.wav")
    assert backbone.batches == [30, 30, 15]
    assert found.segment_probabilities.shape == (75, 3)


def test_top_threshold_and_labels(loudness: ClosedSetTagger, tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", duration_s=2)
    best = loudness.tag(tmp_path / "a.wav")
    assert [tag.tag for tag in best.tags][2] == "genre---quiet"
    assert loudness.tag(tmp_path / "a.wav", top=1).tags == best.tags[:1]
    assert loudness.tag(tmp_path / "a.wav", threshold=0.5).tags == best.tags[:2]
    some = loudness.tag(tmp_path / "a.wav", ["GENRE---Quiet", " loud ", "Loud"])
    assert [tag.tag for tag in some.tags] == ["Loud", "genre---quiet"]
    assert some.tags[0] in best.tags


def test_scores_are_in_the_order_of_the_labels(loudness: ClosedSetTagger, tmp_path: Path) -> None:
    samples = sound(tmp_path / "a.wav", duration_s=2)
    found = {tag.tag: tag.score for tag in loudness.tag(tmp_path / "a.wav").tags}
    assert loudness.scores(samples) == pytest.approx([found[tag] for tag in loudness.tags])
    some = loudness.scores(tmp_path / "a.wav", ["GENRE---quiet", "loud"])
    assert some == pytest.approx([found["genre---quiet"], found["Loud"]])


def test_own_tags_may_differ_by_case_only(backbone: Loudness, tmp_path: Path) -> None:
    made = ClosedSetTagger(TaggerNetwork(backbone, nn.Linear(2, 2)).eval(), ["Bass", "bass"])
    sound(tmp_path / "a.wav", duration_s=2)
    both = made.scores(tmp_path / "a.wav")
    assert both[0] != both[1]
    assert made.scores(tmp_path / "a.wav", ["bass", "Bass"]).tolist() == both[::-1].tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["quiet"], r"not tags of this model: 'quiet'; similar tags are 'genre---quiet'$"),
        (["lowd", "Lowd"], r"'lowd'; similar tags are 'Loud'$"),
        (
            ["soft"],
            r"'soft'; similar tags are 'loud, then soft' \(write a tag with a comma into a file",
        ),
        (["xyzzy"], r"'xyzzy'; it has 'Loud', 'loud, then soft', 'genre---quiet'$"),
        ([" "], "no labels"),
    ],
)
def test_labels_that_are_not_its_own(
    loudness: ClosedSetTagger, tmp_path: Path, labels: list[str], message: str
) -> None:
    sound(tmp_path / "a.wav", duration_s=1)
    with pytest.raises(LabelError, match=message):
        loudness.tag(tmp_path / "a.wav", labels)


def test_labels_that_are_not_its_own_are_left_out_where_others_are_left(
    loudness: ClosedSetTagger, tmp_path: Path
) -> None:
    sound(tmp_path / "a.wav", duration_s=2)
    found = loudness.tag(tmp_path / "a.wav", ["lowd", "LOUD", "xyzzy", "soft", "Genre---quiet"])
    alone = loudness.tag(tmp_path / "a.wav", ["Loud", "genre---quiet"])
    assert found.tags == alone.tags
    assert found.to_dict() == {
        **alone.to_dict(), "unknown": {"lowd": ["Loud"], "xyzzy": [], "soft": ["loud, then soft"]}
    }  # fmt: skip
    assert found.reading is not None
    assert [unknown.reason for unknown in found.reading.unknown.values()] == [
        "it is not a tag of this model; similar tags are 'Loud'",
        "it is not a tag of this model; it has 'Loud', 'loud, then soft', 'genre---quiet'",
        "it is not a tag of this model; similar tags are 'loud, then soft' "
        "(write a tag with a comma into a file: --labels-file)",
    ]
    scores = loudness.scores(tmp_path / "a.wav", ["xyzzy", "Loud", "lowd"])
    assert np.isnan(scores).tolist() == [True, False, True]
    assert scores[1] == pytest.approx(alone.tags[0].score)


def test_the_spec_is_taken_apart() -> None:
    assert split_spec("/a/model") is None
    assert split_spec("published:panns-cnn14=/a/Cnn14_mAP=0.431.pth") == (
        "panns-cnn14",
        Path("/a/Cnn14_mAP=0.431.pth"),
    )
    for wrong in ("published:", "published:fcn", "published:=file", "published:vggish="):
        with pytest.raises(PublishedModelError, match="is not of the form published:NAME=FILE"):
            split_spec(wrong)


def test_the_command_tags_with_its_own_tags(call: Call, checkpoint: Path, tmp_path: Path) -> None:
    sound(tmp_path / "a.wav", duration_s=3)
    model = f"published:{NAME}={checkpoint}"
    status, out, err = call("tag", tmp_path / "a.wav", "--model", model, "--json", "--top", "50")
    assert (status, err) == (0, "")
    assert {tag["tag"] for tag in json.loads(out)["tags"]} == set(published_tags(NAME) or ())
    status, out, _ = call("tag", tmp_path / "a.wav", "--model", model, "--labels", "piano, Guitar", "--json")
    assert {tag["tag"] for tag in json.loads(out)["tags"]} == {"piano", "guitar"}
    picture = tmp_path / "a.png"
    assert call("tag", tmp_path / "a.wav", "--model", model, "--taggram", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("published:foo={checkpoint}", "unknown published tagger 'foo': choose one of won2020-mtat-fcn"),
        (f"published:{NAME}", "is not of the form published:NAME=FILE"),
        (f"published:{NAME}=/none/best_model.pth", "/none/best_model.pth is missing"),
        (f"published:{NAME}={{text}}", "text.pth, to be loaded as won2020-mtat-musicnn, is"),
        ("published:won2020-mtat-fcn={checkpoint}", "has unknown entries"),
        ("published:vggish={checkpoint}", "has no tags"),
    ],
)
def test_the_command_refuses_in_a_line(call: Call, checkpoint: Path, tmp_path: Path, spec: str, message: str) -> None:
    sound(tmp_path / "a.wav", duration_s=1)
    (tmp_path / "text.pth").write_text("no weights")
    model = spec.format(checkpoint=checkpoint, text=tmp_path / "text.pth")
    status, out, err = call("tag", tmp_path / "a.wav", "--model", model)
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert message in err


def test_the_command_refuses_a_label_that_is_not_its_own(call: Call, checkpoint: Path, tmp_path: Path) -> None:
    status, out, err = call(
        "tag", tmp_path / "a.wav", "--model", f"published:{NAME}={checkpoint}", "--labels", "clasical"
    )
    assert (status, out) == (2, "")
    assert one_line(err, start="error: not tags of this model: 'clasical'; similar tags are 'classical'")
