"""Genres of mma's style files, with the tempos and harmonies that fit them: the table behind `grooves.py`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HARMONIES", "PARENTS", "RHYTHM_SECTIONS", "STYLES", "Style", "with_parents"]

PARENTS: dict[str, tuple[str, ...]] = {
    "afro-cuban": ("latin",),
    "bebop": ("jazz",),
    "beguine": ("latin",),
    "big band": ("swing", "jazz"),
    "bluegrass": ("country",),
    "bolero": ("latin",),
    "boogie-woogie": ("blues",),
    "bossa nova": ("latin",),
    "bubblegum pop": ("pop",),
    "cha-cha": ("latin",),
    "charleston": ("jazz",),
    "country blues": ("blues",),
    "dance pop": ("dance", "pop"),
    "disco": ("dance",),
    "dixieland": ("jazz",),
    "doo-wop": ("rock and roll", "rock"),
    "drum and bass": ("electronic",),
    "electropop": ("electronic", "pop"),
    "folk rock": ("folk", "rock"),
    "gypsy jazz": ("jazz",),
    "hard rock": ("rock",),
    "heavy metal": ("metal",),
    "house": ("electronic", "dance"),
    "jazz fusion": ("jazz",),
    "jazz waltz": ("jazz", "waltz"),
    "mambo": ("latin",),
    "merengue": ("latin",),
    "motown": ("soul",),
    "pop rock": ("pop", "rock"),
    "punk": ("rock",),
    "ragtime": ("jazz",),
    "rave": ("electronic", "dance"),
    "rhumba": ("latin",),
    "rock and roll": ("rock",),
    "salsa": ("latin",),
    "samba": ("latin",),
    "soft rock": ("rock",),
    "son cubano": ("latin",),
    "swing": ("jazz",),
    "tango": ("latin",),
    "techno": ("electronic", "dance"),
    "thrash metal": ("metal",),
    "trance": ("electronic", "dance"),
    "trip hop": ("electronic",),
    "twist": ("rock and roll", "rock"),
    "viennese waltz": ("waltz",),
    "western swing": ("country", "swing", "jazz"),
}
"""Genre -> the genres that it is part of, all levels."""

HARMONIES: dict[str, tuple[str, ...]] = {
    "blues": (
        "0:7 0:7 0:7 0:7 5:7 5:7 0:7 0:7 7:7 5:7 0:7 7:7",
        "0:7 5:7 0:7 0:7 5:7 5:7 0:7 9:7 2:m7 7:7 0:7 7:7",
        "0:m7 0:m7 0:m7 0:m7 5:m7 5:m7 0:m7 0:m7 8:7 7:7 0:m7 7:7",
    ),
    "jazz": (
        "2:m7 7:7 0:M7 0:6",
        "0:M7 9:m7 2:m7 7:7",
        "0:6 0:6 2:7 2:7 2:m7 7:7 0:6 7:7",
        "2:m7b5 7:7 0:m6 0:m6",
        "0:m7 5:7 10:M7 3:M7 9:m7b5 2:7 7:m7 7:m7",
        "4:m7 9:7 2:m7 7:7",
    ),
    "latin": (
        "0:m 0:m 5:m 5:m 7:7 7:7 0:m 0:m",
        "0:m 10:7 8:M7 7:7",
        "2:m7 7:7 0:M7 0:M7",
        "0:M7 0:M7 2:7 2:7 2:m7 1:7 0:M7 7:7",
        "0: 5: 7:7 5:",
        "0: 0: 7:7 7:7 7:7 7:7 0: 0:",
    ),
    "plain": (
        "0: 0: 5: 0: 0: 0: 7:7 7:7",
        "0: 5: 0: 7:7",
        "0: 0: 7:7 0: 5: 0: 7:7 0:",
        "0: 9:m 2:m 7:7",
        "0:m 0:m 7:7 0:m 5:m 0:m 7:7 0:m",
    ),
    "pop": (
        "0: 7: 9:m 5:",
        "9:m 5: 0: 7:",
        "0: 9:m 5: 7:",
        "0: 4:m 5: 7:sus",
        "0:m 8: 3: 10:",
        "0:M7 2:m7 5:M7 7:",
    ),
    "rock": (
        "0: 10: 5: 0:",
        "0: 5: 7: 5:",
        "0:m 8: 10: 0:m",
        "0:m 3: 10: 5:",
        "9:m 7: 5: 7:",
    ),
    "power": ("0:5 0:5 8:5 10:5", "0:5 3:5 5:5 3:5", "0:5 0:5 1:5 0:5", "0:5 5:5 7:5 5:5"),
    "vamp": ("0:m7 0:m7 5:7 5:7", "0:7 0:7 0:7 0:7", "0:m7 10: 8:M7 10:", "0:9 0:9 5:9 0:9", "0:m7 0:m7 3:M7 5:m7"),
}
"""Kind -> progressions: a chord a bar, its root in semitones above the key and its quality as mma writes it."""


@dataclass(frozen=True)
class Style:
    """What is known of some style files.

    Attributes:
        labels: genres that hold for all of their grooves, without `PARENTS`.
        bpm: lowest and highest tempo, in the beats that the files count.
        harmony: one of `HARMONIES`.
        files: style files, as mma names them: library/name.
        section: what plays over drums that are alone, one of `RHYTHM_SECTIONS`, or empty.
    """

    labels: tuple[str, ...]
    bpm: tuple[int, int]
    harmony: str
    files: tuple[str, ...]
    section: str = ""


def _style(labels: str, low: int, high: int, harmony: str, files: str, section: str = "") -> Style:
    return Style(tuple(labels.split(";")), (low, high), harmony, tuple(files.split()), section)


STYLES: tuple[Style, ...] = (
    # Latin
    _style("bossa nova", 110, 150, "jazz", "stdlib/bossanova kara/kbossa"),
    _style("bossa nova;jazz", 110, 150, "jazz", "yamaha/jazzbossa"),
    _style("samba", 170, 230, "latin", "stdlib/samba"),
    _style("samba", 80, 100, "latin", "yamaha/quando-g.s280"),
    _style("salsa", 160, 220, "latin", "stdlib/salsa yamaha/salsa1 yamaha/salsa2"),
    _style("mambo", 150, 210, "latin", "stdlib/mambo yamaha/mambo"),
    _style("cha-cha", 105, 130, "latin", "stdlib/chacha"),
    _style("rhumba", 100, 135, "latin", "stdlib/rhumba"),
    _style("rhumba;jazz", 100, 140, "jazz", "stdlib/jazzrhumba"),
    _style("beguine", 100, 130, "latin", "stdlib/beguine"),
    _style("bolero", 80, 120, "latin", "stdlib/bolero stdlib/slowbolero"),
    _style("son cubano", 150, 200, "latin", "stdlib/son"),
    _style("afro-cuban", 100, 150, "latin", "stdlib/afro-cuban"),
    _style("merengue", 200, 270, "latin", "stdlib/merengue"),
    _style("tango", 110, 132, "latin", "stdlib/tango stdlib/lighttango"),
    _style("latin", 100, 140, "latin", "stdlib/cubanguitar stdlib/lfusion casio/latinfusion"),
    _style("latin;waltz", 110, 160, "latin", "stdlib/latinwaltz"),
    _style("house;latin", 118, 128, "vamp", "casio/latinhouse"),
    _style("calypso", 150, 200, "plain", "stdlib/calypso"),
    _style("ska", 190, 250, "pop", "stdlib/ska"),
    _style("ska", 130, 165, "plain", "zoom/ska", "ska"),
    _style("reggae", 130, 160, "pop", "zoom/reggae", "reggae"),
    # Jazz
    _style("swing", 120, 200, "jazz", "stdlib/swing stdlib/easyswing casio/swing yamaha/jazzswing"),
    _style("swing", 220, 300, "jazz", "stdlib/fastswing"),
    _style("swing", 80, 120, "jazz", "casio/slowswing"),
    _style("swing", 220, 330, "jazz", "stdlib/68swing"),
    _style("big band", 120, 180, "jazz", "stdlib/bigband yamaha/jazzbasie"),
    _style("big band", 72, 100, "jazz", "casio/slowbigband casio/middlebigband"),
    _style("big band", 180, 260, "jazz", "casio/fastbigband"),
    _style("bebop", 140, 220, "jazz", "stdlib/bebop"),
    _style("dixieland", 180, 230, "plain", "stdlib/dixie"),
    _style("dixieland;march", 180, 230, "plain", "stdlib/dixiemarch"),
    _style("ragtime", 160, 210, "plain", "stdlib/ragtime"),
    _style("charleston", 200, 290, "plain", "stdlib/charleston"),
    _style("gypsy jazz", 150, 220, "jazz", "stdlib/gypsyjazz"),
    _style("jazz waltz", 120, 170, "jazz", "stdlib/jazzwaltz stdlib/modernjazzwaltz casio/jazzwaltz yamaha/jazzwaltz"),
    _style("jazz waltz", 170, 220, "jazz", "stdlib/fastjazzwaltz"),
    _style("jazz", 60, 90, "jazz", "stdlib/slowjazz stdlib/mellowjazz stdlib/nitejazz"),
    _style(
        *("jazz", 110, 180, "jazz"),
        "stdlib/jazzcombo stdlib/jazzguitar stdlib/modernjazz stdlib/jazz-54 stdlib/descendingjazz casio/jazzcombo"
        " casio/modernjazz yamaha/jazzGrtrio yamaha/jazztrio",
    ),
    _style("jazz;rock", 100, 140, "jazz", "stdlib/jazzrock"),
    _style("jazz;folk", 90, 130, "jazz", "stdlib/folkyjazz"),
    _style("jazz fusion", 95, 130, "vamp", "casio/fusion"),
    _style("foxtrot", 110, 170, "jazz", "stdlib/foxtrot casio/foxtrot"),
    _style("quickstep", 175, 210, "jazz", "stdlib/quickstep casio/quickstep"),
    # Blues, rhythm and blues, soul, funk, gospel
    _style("blues", 90, 130, "blues", "stdlib/blues casio/blues"),
    _style("blues", 55, 80, "blues", "stdlib/slowblues stdlib/blues128"),
    _style("blues", 150, 200, "blues", "stdlib/fastblues"),
    _style("blues", 150, 210, "blues", "stdlib/blues68"),
    _style("country blues;country", 90, 130, "blues", "stdlib/countryblues"),
    _style("boogie-woogie", 130, 190, "blues", "stdlib/boggiewoggie"),
    _style("shuffle;boogie-woogie", 115, 160, "blues", "stdlib/shuffleboggie casio/shuffleboogie"),
    _style("rhythm and blues", 80, 115, "vamp", "stdlib/rb casio/r+b casio/mellowrb casio/modernrb"),
    _style("rhythm and blues", 85, 110, "vamp", "zoom/rnb", "soul"),
    _style("rhythm and blues;ballad", 60, 85, "pop", "stdlib/rb-ballad"),
    _style("soul", 85, 120, "pop", "casio/soul casio/60ssoul"),
    _style("soul;pop", 90, 120, "pop", "casio/soulpop"),
    _style("motown", 110, 140, "pop", "kara/8beatmotown"),
    _style("disco;soul", 105, 125, "pop", "stdlib/dsoul casio/discosoul"),
    _style("funk", 95, 120, "vamp", "stdlib/bvfunk casio/funk1 casio/funk2 kara/Kfunk1"),
    _style("funk", 95, 120, "vamp", "zoom/funk", "funk"),
    _style("gospel", 120, 175, "plain", "stdlib/spiritual"),
    _style("gospel", 65, 95, "plain", "stdlib/slowspiritual"),
    _style("hymn", 80, 110, "plain", "stdlib/hymn"),
    # Rock and metal
    _style(
        *("rock", 105, 145, "rock"),
        "stdlib/basicrock stdlib/60srock casio/60srock casio/rock1 casio/rock2 casio/digitalrock pflib/rock1"
        " pflib/highfive yamaha/w-rock",
    ),
    _style("rock", 105, 140, "rock", "zoom/rock", "rock"),
    _style("rock", 60, 85, "pop", "casio/slowrock pflib/slowrock"),
    _style("rock;waltz", 110, 150, "rock", "stdlib/rockwaltz"),
    _style("rock;shuffle", 110, 150, "blues", "casio/shufflerock"),
    _style("rock and roll", 130, 175, "blues", "stdlib/50srock kara/K50s_rock stdlib/jive"),
    _style("doo-wop", 60, 85, "pop", "stdlib/rock-128"),
    _style("twist", 140, 175, "blues", "stdlib/twist casio/twist kara/twi kara/fasttwist"),
    _style("folk rock", 95, 130, "pop", "stdlib/folkrock"),
    _style("soft rock", 80, 115, "pop", "stdlib/softrock"),
    _style("rock;ballad", 60, 85, "pop", "stdlib/rockballad"),
    _style("hard rock", 110, 145, "power", "zoom/hrk", "distorted"),
    _style("heavy metal", 110, 160, "power", "casio/heavymetal pflib/metal1 pflib/metal2"),
    _style("heavy metal", 110, 160, "power", "zoom/mtl", "distorted"),
    _style("thrash metal", 160, 200, "power", "zoom/thr", "distorted"),
    _style("punk", 165, 200, "power", "zoom/punk", "distorted"),
    # Pop
    _style("pop", 95, 130, "pop", "casio/pop casio/60spop casio/80spop casio/worldpop"),
    _style("pop", 95, 125, "pop", "zoom/pop", "pop"),
    _style("pop", 95, 125, "pop", "casio/8beatpop1 casio/8beatpop2 casio/8beatpop3"),
    _style("pop rock", 105, 135, "pop", "casio/poprock1 casio/poprock2 casio/8beat1"),
    _style("bubblegum pop", 110, 135, "pop", "stdlib/bubblerock"),
    _style("pop;shuffle", 105, 140, "pop", "casio/popshuffle1 casio/popshuffle2"),
    _style("pop;waltz", 90, 140, "pop", "casio/popwaltz"),
    _style("pop;ballad", 65, 90, "pop", "stdlib/popballad casio/popballad"),
    _style(
        *("ballad", 58, 84, "pop"),
        "stdlib/ballad stdlib/guitarballad stdlib/pianoballad stdlib/stringballad stdlib/ballad128 casio/oldieballad"
        " casio/8beatballad1 casio/8beatballad2 casio/8beatballad3 casio/16beatballad1 casio/16beatballad2"
        " casio/16beatballad3",
    ),
    _style("ballad", 120, 170, "pop", "stdlib/ballad68 casio/68ballad"),
    _style("lullaby", 60, 90, "plain", "stdlib/lullaby"),
    _style("show tune", 90, 130, "plain", "stdlib/showtune"),
    _style("show tune", 220, 290, "plain", "stdlib/broadway"),
    _style("show tune", 80, 120, "plain", "stdlib/slowbroadway"),
    _style("show tune;waltz", 130, 180, "plain", "stdlib/broadwaywaltz"),
    # Country, folk, dances
    _style("country", 80, 105, "plain", "stdlib/slowcountry"),
    _style("country", 105, 150, "plain", "stdlib/hillcountry yamaha/western"),
    _style("country;swing", 110, 160, "plain", "stdlib/countryswing"),
    _style("country;waltz", 95, 140, "plain", "stdlib/countrywaltz"),
    _style("country;ballad", 65, 100, "plain", "kara/kwestballad"),
    _style("western swing", 120, 180, "plain", "stdlib/westernswing"),
    _style("bluegrass", 110, 150, "plain", "stdlib/bluegrass"),
    _style("zydeco", 120, 170, "plain", "stdlib/zydeco"),
    _style("folk", 85, 130, "plain", "stdlib/folk stdlib/bluefolk"),
    _style("folk;ballad", 65, 95, "plain", "stdlib/folkballad"),
    _style("waltz", 90, 150, "plain", "stdlib/waltz stdlib/arpeggiowaltz stdlib/frenchwaltz"),
    _style("waltz", 150, 210, "plain", "stdlib/fastwaltz"),
    _style("viennese waltz", 150, 190, "plain", "stdlib/vienesewaltz"),
    _style("polka", 200, 250, "plain", "stdlib/polka"),
    _style("polka", 110, 135, "plain", "casio/polka casio/polkafox"),
    _style("polka;pop", 110, 135, "plain", "casio/poppolka"),
    _style("march", 190, 250, "plain", "stdlib/march stdlib/bwmarch"),
    _style("march", 105, 125, "plain", "stdlib/68march casio/march1 casio/germanmarch"),
    # Electronic, hip hop
    _style("house", 118, 130, "vamp", "casio/house"),
    _style("house", 118, 130, "vamp", "zoom/house", "synth"),
    _style("techno", 125, 145, "vamp", "casio/techno alexis/teamtechno"),
    _style("techno", 125, 145, "vamp", "zoom/techno", "synth"),
    _style("trance", 130, 145, "vamp", "stdlib/trance casio/trance1 casio/trance2"),
    _style("rave", 135, 155, "vamp", "casio/rave"),
    _style("drum and bass", 165, 178, "vamp", "zoom/dnb", "broken"),
    _style("dance", 115, 132, "vamp", "casio/dance1 casio/dance2 casio/8beatdance"),
    _style("dance", 118, 132, "vamp", "zoom/dance", "synth"),
    _style("dance pop", 110, 130, "pop", "casio/dancepop1 casio/dancepop2 casio/dancepop3"),
    _style("electropop", 110, 130, "pop", "casio/electricpop"),
    _style("hip hop", 82, 100, "vamp", "alexis/hiphop casio/hip-hop"),
    _style("hip hop", 82, 100, "vamp", "zoom/hiphop", "sparse"),
    _style("trip hop", 75, 95, "vamp", "casio/triphop"),
    _style("trip hop", 75, 95, "vamp", "zoom/trip", "broken"),
)

RHYTHM_SECTIONS: dict[str, tuple[tuple[str, tuple[str, ...], int, str], ...]] = {
    "reggae": (
        ("Bass", ("FingeredBass",), 3, "1 4. 1 100; 2.5 8 1 80; 3 4 5 95; 4 8 3 85"),
        ("Chord", ("Organ1", "MutedGuitar", "CleanGuitar"), 5, "2 16 95; 4 16 95"),
    ),
    "ska": (
        ("Bass", ("FingeredBass", "PickedBass"), 3, "1 4 1 95; 2 4 3 90; 3 4 5 95; 4 4 6 90"),
        ("Chord", ("CleanGuitar", "Organ1", "BrassSection"), 5, "1.5 16 90; 2.5 16 95; 3.5 16 90; 4.5 16 95"),
    ),
    "soul": (
        ("Bass", ("FingeredBass",), 3, "1 4. 1 95; 2.5 8 5 85; 3 8 1 90; 4 8 5 85; 4.5 8 1 80"),
        ("Chord", ("RhodesPiano", "Organ1"), 5, "1 2 75; 3.5 4 70"),
    ),
    "funk": (
        ("Bass", ("SlapBass1", "FingeredBass"), 3, "1 8 1 105; 1.75 16 1 85; 2.5 8 5 90; 3.75 16 1 95; 4.5 8 5 85"),
        ("Chord", ("CleanGuitar", "Clavinet"), 5, "1.5 16 85; 2 16 95; 2.75 16 80; 3.5 16 90; 4 16 95; 4.75 16 75"),
    ),
    "rock": (
        ("Bass", ("PickedBass", "FingeredBass"), 3, "1 8 1 95 * 8"),
        ("Chord", ("OverDriveGuitar", "CleanGuitar"), 4, "1 4 85; 2.5 8 75; 3 4 85; 4 8 70; 4.5 8 75"),
    ),
    "distorted": (
        ("Bass", ("PickedBass",), 3, "1 8 1 100 * 8"),
        ("Chord", ("DistortionGuitar",), 4, "1 8 90 * 8"),
    ),
    "pop": (
        ("Bass", ("FingeredBass",), 3, "1 4. 1 95; 2.5 8 1 85; 3 4. 1 95; 4.5 8 5 85"),
        ("Chord", ("Piano2", "RhodesPiano", "NylonGuitar"), 5, "1 4 75; 2 8 65; 2.5 8 65; 3 4 75; 4 4 65"),
    ),
    "synth": (
        ("Bass", ("SynthBass1", "SynthBass2"), 3, "1.5 8 1 95; 2.5 8 1 95; 3.5 8 1 95; 4.5 8 1 95"),
        ("Chord", ("SawWave", "PolySynth", "Piano3"), 5, "1 8 70; 1.75 8 60; 2.5 8 70; 3.5 8 65; 4.25 8 60"),
    ),
    "broken": (
        ("Bass", ("SynthBass1", "SynthBass2"), 3, "1 2 1 100; 3.5 4 5 90; 4.5 8 1 85"),
        ("Chord", ("WarmPad", "RhodesPiano", "SynthStrings1"), 5, "1 1 65"),
    ),
    "sparse": (
        ("Bass", ("SynthBass1", "FingeredBass"), 3, "1 4. 1 100; 2.75 8 1 90; 4 8 5 80"),
        ("Chord", ("RhodesPiano", "Vibraphone", "SlowStrings"), 5, "1 2. 65; 4.5 8 55"),
    ),
}
"""Name -> tracks that play over drums: kind of track, voices to choose from, octave and mma's pattern of a bar."""


def with_parents(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return genres, each once, followed by the genres that they are part of."""
    return tuple(dict.fromkeys([*labels, *(parent for label in labels for parent in PARENTS.get(label, ()))]))
