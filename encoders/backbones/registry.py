"""Every architecture by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from encoders.backbones.base import Backbone
from encoders.backbones.cnn14 import CNN14
from encoders.backbones.conv7 import Conv7
from encoders.backbones.crnn import CRNN
from encoders.backbones.fcn import FCN
from encoders.backbones.genre_cnn import GenreCNN
from encoders.backbones.harmonic_cnn import HarmonicCNN
from encoders.backbones.mobilenet import MobileNet
from encoders.backbones.musicnn import Musicnn, Musicnn2019
from encoders.backbones.sample_cnn import SampleCNN, SampleCNNSE
from encoders.backbones.self_attention import SelfAttention
from encoders.backbones.short_chunk_cnn import ShortChunkCNN, ShortChunkCNNRes
from encoders.backbones.vggish import VGGish
from encoders.mel import MelSpec

__all__ = ["TAGGERS", "TaggerEntry", "build_backbone", "list_taggers"]


@dataclass(frozen=True, kw_only=True)
class TaggerEntry:
    """One architecture.

    Attributes:
        build: makes the backbone, with fresh weights; takes the keywords of its `build_options`.
        summary: one line that describes it.
        citation: the paper.
        published: the repository or record of trained weights; "" if there are none to load.
        verified_against: what the tests or a recorded comparison (tests/golden) hold the network to.
    """

    build: Callable[..., Backbone]
    summary: str
    citation: str
    published: str = ""
    verified_against: str


_WON = "Won, Ferraro, Bogdanov, Serra, SMC 2020"
_WON_WEIGHTS = "github.com/minzwon/sota-music-tagging-models"
_EFFICIENTAT = "Schmid, Koutini, Widmer, ICASSP 2023"
_GOLDEN = "outputs of the published implementation, in the tests"
_CONTRACT = "nothing published: its layers and the contract of all backbones, in the tests"
_EFFICIENTAT_WEIGHTS = "github.com/fschmid56/EfficientAT, releases"

TAGGERS: dict[str, TaggerEntry] = {
    "fcn": TaggerEntry(
        build=FCN,
        summary="fully convolutional, 29 s of 96 mels",
        citation=f"Choi, Fazekas, Sandler, ISMIR 2016; {_WON}",
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "musicnn": TaggerEntry(
        build=Musicnn,
        summary="timbral and temporal filters, MagnaTagATune width",
        citation=f"Pons and Serra, ISMIR late-breaking 2019; {_WON}",
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "musicnn_msd": TaggerEntry(
        build=partial(Musicnn, mid_channels=512, hidden=500),
        summary="timbral and temporal filters, Million Song Dataset width",
        citation=f"Pons and Serra, ISMIR late-breaking 2019; {_WON}",
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "musicnn2019": TaggerEntry(
        build=Musicnn2019,
        summary="timbral and temporal filters, the first form",
        citation="Pons and Serra, ISMIR late-breaking 2019",
        published="github.com/jordipons/musicnn",
        verified_against="logits of the published weights, compared once; the published front end, in the tests",
    ),
    "sample_cnn": TaggerEntry(
        build=SampleCNN,
        summary="filters of three samples, on the waveform",
        citation=f"Lee, Park, Kim, Nam, SMC 2017; {_WON}",
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "sample_cnn_se": TaggerEntry(
        build=SampleCNNSE,
        summary="filters of three samples, with squeeze and excitation",
        citation=f"Kim, Lee, Nam, ICASSP 2018; {_WON}",
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "crnn": TaggerEntry(
        build=CRNN,
        summary="four convolutions, then a recurrent network, 29 s",
        citation=f"Choi, Fazekas, Sandler, Cho, ICASSP 2017; {_WON}",
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "self_attention": TaggerEntry(
        build=SelfAttention,
        summary="residual convolutions, then a transformer over time, 15 s",
        citation=f"Won, Chun, Serra, arXiv:1906.04972, 2019; {_WON}",
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "harmonic_cnn": TaggerEntry(
        build=HarmonicCNN,
        summary="learned band-pass filters at harmonics, 5 s",
        citation=f"Won, Chun, Nieto, Serra, ICASSP 2020; {_WON}",
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "short_chunk_cnn": TaggerEntry(
        build=ShortChunkCNN,
        summary="small convolutions with max pooling, 3.7 s",
        citation=_WON,
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "short_chunk_cnn_res": TaggerEntry(
        build=ShortChunkCNNRes,
        summary="small convolutions in residual blocks, 3.7 s",
        citation=_WON,
        published=_WON_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "cnn14": TaggerEntry(
        build=CNN14,
        summary="fourteen layers, for general audio",
        citation="Kong, Cao, Iqbal, Wang, Wang, Plumbley, IEEE/ACM TASLP 28, 2020",
        published="zenodo.org/records/3987831",
        verified_against=_GOLDEN,
    ),
    "vggish": TaggerEntry(
        build=VGGish,
        summary="a small VGG on examples of 0.96 s, averaged",
        citation="Hershey et al., ICASSP 2017",
        published="github.com/harritaylor/torchvggish, releases",
        verified_against=_GOLDEN,
    ),
    "conv7": TaggerEntry(
        build=Conv7,
        summary="seven plain convolutions, up to 30 s",
        citation="no publication: the closed-set baseline of this project",
        verified_against=_CONTRACT,
    ),
    "mn04": TaggerEntry(
        build=MobileNet,
        summary="MobileNetV3, width 0.4",
        citation=_EFFICIENTAT,
        published=_EFFICIENTAT_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "mn10": TaggerEntry(
        build=partial(MobileNet, width=1.0),
        summary="MobileNetV3, width 1",
        citation=_EFFICIENTAT,
        published=_EFFICIENTAT_WEIGHTS,
        verified_against=_GOLDEN,
    ),
    "genre_cnn": TaggerEntry(
        build=GenreCNN,
        summary="five convolutions, two dense layers, one label a clip of 3 s",
        citation="no publication: a plain classifier of this project",
        verified_against=_CONTRACT,
    ),
}


def list_taggers() -> tuple[str, ...]:
    """Return the names of all architectures."""
    return tuple(TAGGERS)


def build_backbone(name: str, **options: Any) -> Backbone:
    """Build a backbone with fresh weights, drawn from torch's global generator.

    Args:
        name: one of `list_taggers()`.
        **options: `build_options` of such a backbone, to build it again as it was; the published form by default.

    Raises:
        ValueError: unknown name, or a wrong front end.
        TypeError: the architecture has no such option.
    """
    if name not in TAGGERS:
        raise ValueError(f"unknown tagger {name!r}: choose one of {', '.join(TAGGERS)}")
    if "mel" in options:
        options["mel"] = MelSpec(**options["mel"])
    return TAGGERS[name].build(**options)
