"""The pieces of the demo library: short, of many styles, with unambiguous instruments.

Programs are General MIDI's, counted from 0. In a drum kit, a key is a drum: 36 kick, 38 snare,
42 closed, 44 pedal and 46 open hi-hat, 49 crash, 51 ride.
"""

from scripts.demo_music.pieces.blown import blown
from scripts.demo_music.pieces.bowed import bowed
from scripts.demo_music.pieces.keyed import keyed
from scripts.demo_music.pieces.plucked import plucked
from scripts.demo_music.pieces.struck import struck

__all__ = ["PIECES"]

PIECES = (*plucked(), *keyed(), *bowed(), *blown(), *struck())
