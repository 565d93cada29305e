"""The extensions of files that the decoders read, by the format that opens them.

Video containers are among them: the sound of a recorded concert is music, too. A test compares both tables with what
libsndfile and the demuxers of `encoders.decode` say of themselves, and decodes a file of every extension that can be
made.
"""

from __future__ import annotations

import os

__all__ = ["AMBIGUOUS_EXTENSIONS", "AUDIO_EXTENSIONS", "FFMPEG_EXTENSIONS", "SOUNDFILE_EXTENSIONS", "extension_of"]

# Left out on purpose: RAW and HTK have no mark by which a file is told from any other bytes, MAT4 and MAT5 hold data of
# any kind, and the form of an SD2 is in a file beside it.
SOUNDFILE_EXTENSIONS = {
    "AIFF": "aif aiff aifc afc",
    "AU": "au snd",
    "AVR": "avr",
    "CAF": "caf",
    "FLAC": "flac fla",
    "IRCAM": "ircam sf",
    "MP3": "mp3",
    "MPC2K": "snd",
    "NIST": "nist sph",
    "OGG": "oga ogg opus",
    "PAF": "fap paf",
    "PVF": "pvf",
    "RF64": "rf64",
    "SDS": "sds",
    "SVX": "8svx iff svx",
    "VOC": "voc",
    "W64": "w64",
    "WAV": "bwav bwf wav wave",
    "WAVEX": "wav",
    "WVE": "wve",
    "XI": "xi",
}
FFMPEG_EXTENSIONS = {
    "aac": "aac adts",
    "ac3": "ac3",
    "amr": "amr",
    "ape": "ape mac",
    "asf": "asf wma wmv",
    "avi": "avi",
    "dsf": "dsf",
    "dts": "dts",
    "dtshd": "dtshd",
    "eac3": "eac3 ec3",
    "flv": "flv",
    "iff": "dff",
    "matroska": "mk3d mka mkv weba webm",
    "mlp": "mlp",
    "mov": "3g2 3ga 3gp alac f4a f4b f4v ism isma ismv m4a m4b m4p m4r m4v mj2 mov mp4 psp qt",
    "mp3": "m2a mp1 mp2 mp3 mpa mpga",
    "mpc": "mp+ mpc mpp",
    "mpeg": "mpeg mpg vob",
    "mpegts": "m2t m2ts mts ts",
    "ogg": "ogg ogm ogv ogx spx",
    "oma": "aa3 oma omg",
    "rm": "ra rm rmvb",
    "shn": "shn",
    "tak": "tak",
    "truehd": "thd",
    "tta": "tta",
    "wv": "wv",
}
AUDIO_EXTENSIONS = frozenset(
    f".{name}" for names in (*SOUNDFILE_EXTENSIONS.values(), *FFMPEG_EXTENSIONS.values()) for name in names.split()
)
"""In lower case, with the dot."""
AMBIGUOUS_EXTENSIONS = frozenset((".iff", ".mac", ".mts", ".psp", ".sf", ".ts"))
"""Those of them that files of another kind have, too (TypeScript, pictures): the first bytes decide."""


def extension_of(path: str) -> str:
    """Return the extension of a path in lower case, with its dot; "" without one."""
    return os.path.splitext(path)[1].lower()
