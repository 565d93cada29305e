"""Guitars and related instruments: folk, rock, funk, bluegrass, raga."""

from __future__ import annotations

from scripts.demo_music.notation import KIT, ROCK_KIT, Part, Piece, drums, grid, line, picked, strummed

__all__ = ["plucked"]

BANJO_KEYS = (72, 55, 60, 64, 67)  # the short fifth string first: g4 D3 G3 B3 D4, a capo at the fifth fret


def plucked() -> list[Piece]:
    """Return the pieces of this family."""
    riff = (
        "E2+B2+E3!:.5 E2:.25 E2 E2:.5 G2+D3+G3!:.5 E2:.25 E2 A2+E3+A3!:.75 Bb2+F3:.25 A2+E3:.5 "
        "E2+B2+E3!:.5 E2:.25 E2 E2:.5 G2+D3+G3!:.5 E2:.25 E2 D3+A3!:.5 C3+G3:.5 B2+F#3:.5"
    )
    # The roots of the riff, for the bass.
    roots = "E2!:.5 E2 E2 G2 E2 A2:.75 Bb2:.25 A2:.5 E2!:.5 E2 E2 G2 E2 D3 C3 B2"
    chops = "-:.5 E4+G4+B4:.25 - - E4+G4+B4:.25 -:.5 -:.25 D4+F#4+A4:.25 -:.5 E4+G4+B4:.25 -:.75"
    bass = "E2!:.5 E2:.25 E3:.25 -:.25 D2:.25 E2:.5 E2!:.25 G2 -:.25 E3:.25 A2:.5 B2:.25 D3:.25"
    rolls = "3 2 1 5 2 1 5 1 4 2 1 5 3 2 1 5"
    return [
        Piece(
            "Evening walk",
            "Folk",
            ("acoustic guitar",),
            98,
            (Part(25, picked(["x32010", "x02210", "133211", "320003", "x32010"], "b1 3 a 2 b 31 a 1")),),
        ),
        Piece(
            "Kitchen window",
            "Classical guitar",
            ("acoustic guitar", "nylon-string guitar"),
            144,
            (
                Part(
                    24,
                    picked(
                        ["x02210", "x02213", "xx0231", "020130", "x02210", "xx3211", "020100", "x02210"],
                        "b 3 2 1 2 3",
                        velocity=78,
                    ),
                ),
            ),
            room_size=0.5,
        ),
        Piece(
            "Campfire road",
            "Folk",
            ("acoustic guitar",),
            116,
            (Part(25, strummed(["320033", "x32033", "022033", "xx0232", "320033"], "D-DU-UDU")),),
            room_size=0.2,
        ),
        Piece(
            "Red line",
            "Rock",
            ("electric guitar", "electric bass", "drums"),
            138,
            (
                Part(30, line(riff, times=3, velocity=96), pan=24, volume=92, reverb=25),
                Part(29, line(riff, times=3, velocity=92), pan=104, volume=88, reverb=25),
                Part(34, line(roots, times=3, velocity=104), volume=100, reverb=10),
                drums(
                    grid({49: "X" + "." * 31}, times=3)
                    + grid({36: "X..x..x.X.x.....", 38: "....X.......X...", 42: "x.o.x.o.x.o.x.o."}, times=6),
                    kit=ROCK_KIT,
                ),
            ),
        ),
        Piece(
            "Low gear",
            "Funk",
            ("electric bass", "electric guitar", "drums"),
            104,
            (
                Part(33, line(bass, times=5, velocity=104), reverb=8),
                Part(28, line(chops, times=5, velocity=90), pan=96, volume=110, reverb=25),
                drums(
                    grid({36: "X..x..X...x.....", 38: "....X..g.g..X..g", 42: "xoxoxoxoxoxoxo.o"}, times=5)
                    + grid({46: "..............x."}, times=5),
                    kit=KIT,
                    volume=80,
                ),
            ),
            room_size=0.2,
        ),
        Piece(
            "Back porch",
            "Bluegrass",
            ("banjo", "upright bass"),
            126,
            (
                Part(
                    105,
                    picked(
                        ["00000", "00000", "02012", "00000", "00234", "00000"],
                        rolls,
                        step_beats=0.25,
                        velocity=92,
                        open_keys=BANJO_KEYS,
                    ),
                ),
                Part(
                    32,
                    line("C3:1 G2 C3 G2 C3 G2 C3 E3 F3 C3 F3 C3 C3 G2 C3 E3 G3 D3 G3 B2 C3 G2 C3 -"),
                    volume=56,
                    reverb=20,
                ),
            ),
            room_size=0.1,
        ),
        Piece(
            "Slow incense",
            "Indian classical",
            ("sitar",),
            76,
            (
                Part(
                    104,
                    line(
                        "D4:.5 F#4:.25 G4:.25 A4!:1.5 Bb4:.25 A4 G4 F#4 G4:.5 F#4:.25 Eb4 D4!:1.5 D4:.25 "
                        "Eb4 F#4 G4 A4 C5 Bb4 A4 D5!:1.5 C5:.25 Bb4 A4:.5 G4:.25 F#4 D4:2",
                        velocity=96,
                        gate=1.3,
                    ),
                    scoop_semitones=0.9,
                ),
                Part(104, line("D3:.5 A3 A3 D4", times=7, velocity=58, gate=2.5), pan=44, volume=80),
            ),
            room_size=0.6,
        ),
    ]
