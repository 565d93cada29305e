"""The General MIDI soundfonts that scripts render with, at the paths of Debian's packages."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CSOUND_GM", "FLUID_R3", "MUSESCORE_LITE", "TIM_GM6MB", "TRAINING_SOUNDFONTS"]

FLUID_R3 = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
"""Package fluid-soundfont-gm; MIT."""
MUSESCORE_LITE = Path("/usr/share/sounds/sf3/MuseScore_General_Lite.sf3")
"""Package musescore-general-soundfont-small; MIT."""
CSOUND_GM = Path("/usr/share/sounds/sf2/sf_GMbank.sf2")
"""Package csound-soundfont; public domain."""
TIM_GM6MB = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
"""Package timgm6mb-soundfont; GPL. For test clips only: no training clip is rendered with it."""
TRAINING_SOUNDFONTS = (FLUID_R3, MUSESCORE_LITE, CSOUND_GM)
"""The soundfonts of the default model."""
