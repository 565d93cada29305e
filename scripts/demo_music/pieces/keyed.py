"""Piano, organ, accordion."""

from __future__ import annotations

from scripts.demo_music.notation import BRUSH_KIT, Part, Piece, drums, grid, line

__all__ = ["keyed"]


def keyed() -> list[Piece]:
    """Return the pieces of this family."""
    return [
        Piece(
            "Letter to no one",
            "Ballad",
            ("piano",),
            74,
            (
                Part(
                    0,
                    line(
                        "C3:.5 G3 E4 G3 C3 G3 E4 G3 B2 G3 D4 G3 B2 G3 D4 G3 A2 E3 C4 E3 A2 E3 C4 E3 F2 C3 A3 C3",
                        velocity=58,
                        gate=2.2,
                    ),
                ),
                Part(
                    0,
                    line(
                        "-:1 E5:.5 G5 C6!:1 B5:.5 A5 G5:1.5 D5:.5 E5:.5 F5 D5:1 E5:1.5 C5:.5 B4:.5 A4 C5:1 A4+C5+F5!:2",
                        velocity=82,
                        gate=1.1,
                    ),
                ),
            ),
            room_size=0.6,
        ),
        Piece(
            "Corner table",
            "Jazz",
            ("piano", "upright bass", "drums"),
            152,
            (
                Part(
                    0,
                    line(
                        "-:.67 A5:.33 F5:.67 D5:.33 E5:.67 F5:.33 C5:1 B4:.67 D5:.33 F5:.67 A5:.33 Ab5:1 "
                        "F5:.67 E5:.33 -:.67 G5:.33 E5:.67 B4:.33 D5:1 C5:.67 E5:.33 G5:1 A5:.67 C#5:.33 "
                        "E5:.67 Bb5:.33 A5:1 -:.67 F5:.33 D5:.67 F5:.33 A5:.67 C6:.33 B5:1 G5:.67 E5:.33",
                        velocity=88,
                        gate=0.9,
                    ),
                    volume=104,
                ),
                Part(
                    0,
                    line(
                        "-:1.67 F4+A4+C5+E5:.33 -:1.67 F4+A4+C5+E5:.33 -:1.67 F4+A4+B4+E5:.33 -:1.67 "
                        "F4+Ab4+B4+Eb5:.33 -:1.67 E4+G4+B4+D5:.33 -:1.67 E4+G4+B4+D5:.33 -:1.67 "
                        "G4+C#5+E5:.33 -:1.67 G4+Bb4+C#5:.33",
                        velocity=66,
                        times=2,
                    ),
                    volume=80,
                ),
                Part(
                    32,
                    line(
                        "D2 F2 A2 Ab2 G2 B2 D3 Db3 C3 B2 G2 E2 A2 C#3 E3 Eb3 D3 A2 F2 D2 G2 F2 E2 D2 C2 E2",
                        velocity=96,
                    ),
                    volume=108,
                    reverb=20,
                ),
                drums(
                    grid({51: "x..x.xx..x.x"}, step_beats=1 / 3, times=7)
                    + grid({44: "...x.....x..", 38: "...g..o..g.g"}, step_beats=1 / 3, times=7),
                    kit=BRUSH_KIT,
                    volume=88,
                ),
            ),
        ),
        Piece(
            "Stone arches",
            "Baroque",
            ("church organ",),
            84,
            (
                Part(
                    19,
                    line(
                        "A4:.25 G4 A4!:1.5 -:.25 G4:.25 F4 E4 D4 C#4:.5 D4!:1 A4+D5:.5 G4+C#5:.25 A4+D5 "
                        "Bb4+E5:.5 A4+D5:.5 G4+C#5:1 F4+A4+D5:.5 D4+F4+A4:.5 E4+G4+Bb4:1 E4+G4+C#5:1 "
                        "F4+A4+D5:3",
                        velocity=92,
                        gate=1.0,
                    ),
                ),
                Part(
                    19,
                    line(
                        "-:4 D3:1 E3 F3:.5 G3 A3:1 D3+A3:1 G3+Bb3:1 A2+A3:1 D3+A3:3",
                        velocity=88,
                        gate=1.0,
                    ),
                    pan=52,
                ),
                Part(19, line("-:4 D2:3 A1:1 D2:1 G2:1 A1:1 D2:3", velocity=92, gate=1.0), pan=76),
            ),
            room_size=0.95,
        ),
        Piece(
            "River market",
            "Musette",
            ("accordion",),
            168,
            (
                Part(
                    21,
                    line(
                        "E5:1 D#5:.5 E5 F5 E5 C5!:2 A4:1 B4:.5 C5 D5 C5 B4 A4 G#4!:2 E4:1 F4:.5 E4 G#4 B4 "
                        "D5 F5 E5!:2 C5:1 A4:.5 C5 E5 A5 C6 B5 A5!:2 G5:1 F5:.5 E5 D5 C5 B4 G#4 A4:3",
                        velocity=98,
                        gate=0.9,
                    ),
                ),
                Part(
                    21,
                    line(
                        "A2:1 A3+C4+E4:.8 A3+C4+E4:1.2 E2:1 A3+C4+E4:.8 A3+C4+E4:1.2 E2:1 G#3+B3+D4:.8 "
                        "G#3+B3+D4:1.2 B2:1 G#3+B3+D4:.8 G#3+B3+D4:1.2",
                        times=3,
                        velocity=62,
                        gate=0.5,
                    ),
                    volume=76,
                    pan=44,
                ),
            ),
        ),
    ]
