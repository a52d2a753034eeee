"""What A1111, Forge and ComfyUI-Manager run at installation: the dependencies that are missing, nothing else.

It imports nothing of theirs: only the first two have a `launch` module. Nothing is upgraded, and torch is never
touched: the program has pinned what it needs.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def module(requirement):
    """What the requirement is imported as: `array_api_compat` of `array-api-compat>=1.9`."""
    return re.match(r"[\w.-]+", requirement)[0].replace("-", "_")


def missing():
    """Lines of requirements.txt whose module cannot be found."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").split()
    return [line for line in lines if importlib.util.find_spec(module(line)) is None]


def main():
    """Install them into the interpreter that runs this, without their dependencies: they have none but numpy."""
    wanted = missing()
    if wanted:
        subprocess.run([sys.executable, "-m", "pip", "install", "--no-deps", *wanted], check=True)


if __name__ == "__main__":
    main()
