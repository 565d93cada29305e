"""Woodwind, brass and harmonica."""

from __future__ import annotations

from scripts.demo_music.notation import BRUSH_KIT, KIT, ORCHESTRA_KIT, Part, Piece, drums, grid, line

__all__ = ["blown"]


def blown() -> list[Piece]:
    """Return the pieces of this family."""
    shuffle = "x..x.ox..x.o"
    return [
        Piece(
            "Paper bird",
            "Classical",
            ("flute",),
            88,
            (
                Part(
                    73,
                    line(
                        "E5:.5 G5:.25 A5 B5!:1 D6:.25 C6 B5 A5 G5:.5 A5:.25 F#5 E5!:1 E5:.25 F#5 G5 A5 B5 "
                        "D6 E6 F#6 G6!:1.25 F#6:.25 E6 D6 B5 G5 A5:.5 B5:.25 A5 G5:.25 F#5 E5:2.5",
                        velocity=92,
                    ),
                    swell=True,
                ),
            ),
            room_size=0.7,
        ),
        Piece(
            "Side street",
            "Klezmer",
            ("clarinet", "upright bass"),
            124,
            (
                Part(
                    71,
                    line(
                        "D5!:.75 Eb5:.25 F#5:.5 G5 A5!:1 G5:.25 F#5 Eb5 D5 C5:.5 Eb5 D5!:1 A4:.5 Bb4:.25 "
                        "C5 D5:.5 Eb5 F#5!:.75 G5:.25 A5:.5 Bb5 A5:.25 G5 F#5 Eb5 D5!:1.5 C5:.25 Bb4 A4:.5 "
                        "C5 Eb5 C5 D5:3",
                        velocity=98,
                    ),
                    swell=True,
                    scoop_semitones=0.5,
                ),
                Part(32, line("D2 A2 D2 A2 G2 D3 D2 A2", times=3, velocity=88), volume=84, reverb=20),
            ),
        ),
        Piece(
            "After midnight",
            "Jazz",
            ("saxophone", "upright bass", "drums"),
            88,
            (
                Part(
                    66,
                    line(
                        "-:.67 D4:.33 F4:.67 A4:.33 C5!:1.5 Bb4:.17 A4:.33 G4:.67 F4:.33 E4:.67 G4:.33 "
                        "Bb4!:1 A4:.67 E4:.33 F4:1.67 A4:.33 D5:.67 E5:.33 F5!:1.5 E5:.17 D5:.33 C5:.67 "
                        "A4:.33 D4:2",
                        velocity=100,
                    ),
                    swell=True,
                    scoop_semitones=0.6,
                ),
                Part(
                    32,
                    line("D2 F2 A2 C3 Bb2 G2 A2 C#3 D3 C3 Bb2 A2 G2 A2 D2 D2", velocity=90),
                    volume=92,
                    reverb=20,
                ),
                drums(
                    grid(
                        {51: "o..o.oo..o.o", 44: "...x.....x..", 38: "..go.g..go.g"},
                        step_beats=1 / 3,
                        times=4,
                    ),
                    kit=BRUSH_KIT,
                    volume=84,
                ),
            ),
        ),
        Piece(
            "Morning parade",
            "March",
            ("trumpet", "trombone", "tuba", "drums"),
            116,
            (
                Part(
                    56,
                    line(
                        "Bb4!:.75 Bb4:.25 D5:.5 F5 Bb5!:1.5 F5:.5 G5:.5 F5 Eb5 D5 C5!:1.5 A4:.5 D5:.75 "
                        "Eb5:.25 F5:.5 G5 A5!:1 C6 Bb5:2 F5:.5 Bb5 F5 D5 Bb4:1",
                        velocity=104,
                        gate=0.85,
                    ),
                ),
                Part(
                    57,
                    line(
                        "Bb3:1 D4 F4 D4 Eb4 C4 F3 A3 Bb3 D4 F4 Eb4 D4 F3 Bb3 D4 F4 Bb3 D4 F4",
                        velocity=94,
                        gate=0.7,
                    ),
                    pan=84,
                    volume=52,
                ),
                Part(58, line("Bb1:1 F2 Bb1 F2 Eb2 C2 F2 F1", times=3, velocity=100, gate=0.6), volume=70),
                drums(
                    grid({38: "X.ooX.x.X.ooXoxo", 36: "X.......X.......", 49: "....o.......o..."}, times=5),
                    kit=ORCHESTRA_KIT,
                    volume=58,
                ),
            ),
            room_size=0.5,
        ),
        Piece(
            "Freight yard",
            "Blues",
            ("harmonica", "electric bass", "drums"),
            108,
            (
                Part(
                    22,
                    line(
                        "-:.67 B4:.33 D5:.67 E5:.33 G5!:1.33 E5:.33 D5:.34 B4:.67 A4:.33 B4!:1 -:.67 "
                        "G4:.33 Bb4:.67 B4:.33 D5+G5!:1.67 E5:.33 D5:.67 B4:.33 A4:.67 G4:.33 E4:1 "
                        "G4+B4!:2",
                        velocity=102,
                    ),
                    swell=True,
                    scoop_semitones=0.8,
                ),
                Part(
                    33,
                    line("G2:.67 G2:.33 B2:.67 D3:.33 E3:.67 E3:.33 D3:.67 B2:.33", times=5, velocity=92),
                    volume=96,
                    reverb=15,
                ),
                drums(
                    grid({42: shuffle, 36: "x.....x..x..", 38: "...X.....X.."}, step_beats=1 / 3, times=5),
                    kit=KIT,
                    volume=82,
                ),
            ),
        ),
    ]
