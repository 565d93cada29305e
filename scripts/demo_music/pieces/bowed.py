"""Strings, harp, choir and orchestra."""

from __future__ import annotations

from scripts.demo_music.notation import ORCHESTRA_KIT, Part, Piece, drums, grid, line

__all__ = ["bowed"]


def bowed() -> list[Piece]:
    """Return the pieces of this family."""
    return [
        Piece(
            "Four chairs",
            "Classical",
            ("violin", "viola", "cello", "string quartet"),
            112,
            (
                Part(
                    40,
                    line(
                        "D5!:1 F#5:.5 E5 D5 C#5 B4 A4 B4!:1 D5:.5 C#5 B4 A4 G4 F#4 E4!:1 G4:.5 B4 A4 G4 "
                        "F#4 E4 F#4!:1 A4:.5 D5 E5:1 C#5:1 D5:3"
                    ),
                    pan=36,
                    swell=True,
                ),
                Part(
                    40,
                    line(
                        "A4:.5 F#4 A4 F#4 A4 F#4 A4 F#4 G4 D4 G4 D4 G4 D4 G4 D4 G4 E4 G4 E4 G4 E4 G4 E4 D4 "
                        "F#4 A4 F#4 G4:1 G4:1 F#4:3",
                        velocity=66,
                        gate=0.8,
                    ),
                    pan=54,
                    volume=84,
                ),
                Part(
                    41,
                    line("F#4:2 D4:2 D4:2 B3:2 B3:2 C#4:2 A3:2 B3:1 A3:1 A3:3", velocity=72),
                    pan=76,
                    swell=True,
                ),
                Part(
                    42,
                    line(
                        "D3:1 D3:.5 D3 F#3:1 D3 G2:1 G2:.5 G2 B2:1 G2 E3:1 E3:.5 E3 A2:1 A2 D3:1 F#3 A3 A2 D3:3",
                        velocity=88,
                    ),
                    pan=92,
                ),
            ),
            room_size=0.6,
        ),
        Piece(
            "High wire",
            "Classical",
            ("violin",),
            92,
            (
                Part(
                    40,
                    line(
                        "D5!:.25 F5 E5 D5 A4 D5 F5 A5 Bb5! A5 G5 F5 E5 C#5 A4 C#5 D5! A4 F4 A4 D5 E5 F5 D5 "
                        "G5! F5 E5 D5 C#5 E5 A5 G5 F5! E5 D5 A5 D6:1.5 C6:.25 Bb5 A5!:1 G5:.5 F5 E5 F5:.25 "
                        "E5 D5:2.5",
                        velocity=96,
                    ),
                    swell=True,
                ),
            ),
            room_size=0.6,
        ),
        Piece(
            "Low tide",
            "Classical",
            ("cello",),
            64,
            (
                Part(
                    42,
                    line(
                        "G2:.75 D3:.25 B3:1.25 A3:.25 G3:.5 F#3:1 E3:.5 D3:.5 C3:1.5 E3:.25 G3 C4:1.25 "
                        "B3:.25 A3:.5 F#3:1 D3:.5 G2:2",
                        velocity=98,
                        gate=1.0,
                    ),
                    swell=True,
                ),
            ),
            room_size=0.7,
        ),
        Piece(
            "Glass stairs",
            "Classical",
            ("harp",),
            84,
            (
                Part(
                    46,
                    line(
                        "C3:.25 G3 C4 E4 G4 C5 E5 G5 C6 G5 E5 C5 G4 E4 C4 G3 A2 E3 A3 C4 E4 A4 C5 E5 A5 E5 "
                        "C5 A4 E4 C4 A3 E3 F2 C3 F3 A3 C4 F4 A4 C5 F5 C5 A4 F4 G2:.125 A2 B2 C3 D3 E3 F3 "
                        "G3 A3 B3 C4 D4 E4 F4 G4 A4 B4 C5 D5 E5 F5 G5 A5 B5 C6+E6+G6!:2",
                        velocity=82,
                        gate=4.0,
                    ),
                ),
            ),
            room_size=0.7,
        ),
        Piece(
            "Candle mass",
            "Choral",
            ("choir", "voices"),
            60,
            (
                Part(52, line("E5:2 D5:1 C5:1 D5:2 E5:1 F5:1 E5:4", velocity=86, gate=0.75), swell=True),
                Part(52, line("G4:2 B4:1 A4:1 B4:2 C5:1 C5:1 C5:4", velocity=78, gate=0.75), pan=44),
                Part(52, line("C4:2 G4:1 E4:1 G4:2 G4:1 A4:1 G4:4", velocity=78, gate=0.75), pan=84),
                Part(52, line("C3:2 G3:1 A3:1 G3:2 C3:1 F3:1 C3:4", velocity=84, gate=0.75), pan=70),
            ),
            room_size=0.5,
        ),
        Piece(
            "Open country",
            "Orchestral",
            ("orchestra", "strings", "french horn", "trumpet", "timpani"),
            104,
            (
                Part(
                    48,
                    line(
                        "D4+F#4+A4+D5:3 C4+E4+G4+C5:1 B3+D4+G4+B4:2 A3+C#4+E4+A4:2",
                        times=3,
                        velocity=88,
                        gate=1.0,
                    ),
                    volume=94,
                ),
                Part(
                    60,
                    line(
                        "-:1 D4:.5 A4 D5!:2 C5:.5 B4 G4:1 B4:1 A4:1.5 D4:.5 F#4:.5 A4 D5!:2 E5:1 D5:1 B4 A4:2",
                        velocity=104,
                    ),
                    pan=40,
                    volume=110,
                    swell=True,
                ),
                Part(56, line("-:8 A4:.5 D5 F#5!:2 G5:1 F#5 D5 E5:2", velocity=96), pan=90, volume=92),
                Part(43, line("D2:3 C2:1 G2:2 A2:2", times=3, velocity=96), pan=96),
                Part(47, line("D2!:1 -:2 C2:.5 C2 -:3.5 A2:.125 A2 A2 A2", times=3, velocity=104), volume=104),
                drums(grid({49: "X" + "." * 31}, times=3), kit=ORCHESTRA_KIT, volume=76),
            ),
            room_size=0.8,
        ),
    ]
