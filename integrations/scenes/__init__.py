"""`scenes`: the small text-to-image flow model that ships with commutant.

Importing this package imports no framework; `load_scenes` does.
"""

from .load import SCENES_CALL_DEFAULTS, WEIGHTS, load_scenes
from .vocabulary import BACKGROUNDS, OBJECTS, WORDS, unknown_words

__all__ = ["BACKGROUNDS", "OBJECTS", "SCENES_CALL_DEFAULTS", "WEIGHTS", "WORDS", "load_scenes", "unknown_words"]
