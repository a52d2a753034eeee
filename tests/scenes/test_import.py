"""Importing the subpackage, and asking about words, must not import a framework."""

import subprocess
import sys

_PROGRAM = """
import sys
from commutant.integrations import scenes
assert scenes.unknown_words("a fox and a gnu") == ["gnu"]
assert scenes.SCENES_CALL_DEFAULTS["height"] == 256
heavy = {"torch", "diffusers", "transformers", "PIL", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""


def test_import_is_light() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
