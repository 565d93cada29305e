"""Drums, mallets and machines."""

from __future__ import annotations

from scripts.demo_music.notation import KIT, SYNTH_KIT, Part, Piece, drums, grid, line, loop

__all__ = ["struck"]


def struck() -> list[Piece]:
    """Return the pieces of this family."""
    wave = "C2:.5 C2:.25 C3:.25 C2:.5 Eb2:.25 G2 Ab1:.5 Ab1:.25 Ab2:.25 Bb1:.5 Bb1:.25 Bb2"
    stabs = "-:.75 C5+Eb5+G5!:.25 -:.5 C5+Eb5+G5:.25 -:.25 -:.75 C5+Eb5+Ab5!:.25 -:.5 D5+F5+Bb5:.25 -:.25"
    first = "C4:.25 G4 E5 G4 C5 G4 E5 G4"
    second = "A3:.25 E4 C5 E4 A4 E4 C5 E4"
    return [
        Piece(
            "Rain on tin",
            "Minimal",
            ("marimba", "vibraphone"),
            132,
            (
                Part(12, line(f"{first} {first} {second} {second}", times=3, velocity=92), pan=44),
                Part(
                    11,
                    line("-:2 E5:2 G5:1.5 A5:.5 C6:2 B5:2 E5:2 A5:1 G5:1 E5:2 G5:2 C6:4", velocity=84, gate=1.6),
                    pan=88,
                ),
            ),
            room_size=0.5,
        ),
        Piece(
            "Back room",
            "Rock",
            ("drums",),
            112,
            (
                drums(
                    loop(
                        grid({36: "X..x..x.x.X.....", 38: "....X..g.g..X..g", 42: "xoxoxoxoxoxoxo.o"}, times=3)
                        + grid({46: "." * 46 + "x."}),
                        period_beats=16,
                        times=2,
                    )
                    + line(
                        "D3!:.25 D3 B2 B2 A2! A2 G2 G2 F2! F2 D2! D2 D2! D2 C2! C2",
                        start_beats=12,
                        velocity=98,
                    )
                    + grid({49: "." * 64 + "X"}),
                    kit=KIT,
                    volume=112,
                ),
            ),
            room_size=0.3,
        ),
        Piece(
            "Far shore",
            "Ambient",
            ("synthesizer", "synth pad"),
            60,
            (
                Part(89, line("C3+G3+D4+E4:5 A2+E3+C4+G4:5", velocity=84, gate=1.15), reverb=90),
                Part(95, line("G4+D5:5 E4+B4:5", velocity=70, gate=1.1), pan=40, reverb=100, volume=84),
                Part(
                    88,
                    line("-:1 B5:1.5 G5:1.5 D5:2 C5:1 E5:1.5 G5:1.5", velocity=52, gate=1.4),
                    pan=92,
                    reverb=110,
                    volume=70,
                ),
            ),
            room_size=1.0,
        ),
        Piece(
            "Neon",
            "Electronic dance",
            ("synthesizer", "drum machine", "synth bass"),
            128,
            (
                Part(38, line(wave, times=6, velocity=108, gate=0.85), volume=108, reverb=5),
                Part(81, line(stabs, times=6, velocity=96), volume=76, reverb=60),
                Part(
                    81,
                    line("C5:.25 Eb5 G5 C6 G5 Eb5 C5 G4 Ab4 C5 Eb5 Ab5 Bb4 D5 F5 Bb5", times=6, velocity=78),
                    volume=58,
                    pan=88,
                    reverb=70,
                ),
                drums(
                    grid(
                        {
                            36: "X...X...X...X...",
                            39: "....x.......x...",
                            46: "..x...x...x...x.",
                            42: "o.o.o.o.o.o.o.oo",
                        },
                        times=6,
                    ),
                    kit=SYNTH_KIT,
                    volume=112,
                ),
            ),
            room_size=0.4,
        ),
        Piece(
            "Harbour lights",
            "Calypso",
            ("steel drums", "electric bass", "percussion"),
            116,
            (
                Part(
                    114,
                    line(
                        "G4!:.5 E4 C4 E4 G4:.75 A4:.25 G4:.5 E4 F4! D4 B3 D4 F4:.75 G4:.25 F4:.5 D4 E4! C4 "
                        "E4 G4 C5:.75 B4:.25 A4:.5 G4 F4! A4 G4 F4 E4 D4 C4:1 C4+E4!:.5 G4+C5:1.5",
                        velocity=100,
                    ),
                ),
                Part(
                    114,
                    line(
                        "E4+G4:.5 - E4+G4 E4+G4 - E4+G4 E4+G4 - D4+F4 - D4+F4 D4+F4 - D4+F4 D4+F4 -",
                        times=3,
                        velocity=70,
                    ),
                    pan=40,
                    volume=64,
                ),
                Part(33, line("C3:1.5 G2:.5 C3:1 E3:1 G2:1.5 D3:.5 G2:1 B2:1", times=3), volume=66, reverb=10),
                drums(
                    grid(
                        {
                            70: "xoxxxoxxxoxxxoxx",
                            63: "..x..ox...x..oxx",
                            64: "x...x...x...x...",
                            36: "X.....x.X.....x.",
                        },
                        times=5,
                    ),
                    kit=KIT,
                    volume=52,
                ),
            ),
        ),
    ]
