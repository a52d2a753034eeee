"""What A1111 and Forge load: finds the package that this checkout is, and the script in it.

An extension's folder stays on `sys.path`, and folders named `operators` or `adapters` there would be anybody's. So the
checkout is loaded by its path, once, under a name of its own; inside, all imports are relative. A pip-installed
`commutant` is another package and is left alone.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

NAME = "commutant_webui_extension"


def package():
    """The checkout as a package, loaded once for as long as the program runs."""
    if NAME not in sys.modules:
        root = Path(__file__).resolve().parent.parent
        spec = importlib.util.spec_from_file_location(
            NAME, root / "__init__.py", submodule_search_locations=[str(root)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[NAME]
            raise
    return sys.modules[NAME]


# The program collects the classes of this module that are scripts.
PreviewScript = importlib.import_module(f"{package().__name__}.integrations.webui.script").PreviewScript

importlib.import_module(f"{package().__name__}.integrations.webui.script").register()
