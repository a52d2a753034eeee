"""What every test may use: the support table. And a checkout may have any name, a standard module's included."""

import sys
from importlib.machinery import PathFinder

from .support_table import (  # noqa: F401 - hooks and a fixture, found by name
    pytest_addoption,
    pytest_configure,
    pytest_sessionfinish,
    pytest_terminal_summary,
    support,
)

# To import this file pytest imports the folders above it, and so the checkout, under the folder's own name. In a folder
# called `calendar` the standard library would then find our package under that name: it is given back here. What lies
# below (`calendar.tests`) stays imported, so pytest does not come back for it. Our package has one name, `commutant`.
_FOLDER = __name__.partition(".")[0]
if _FOLDER not in ("commutant", "tests") and (_FOLDER in sys.stdlib_module_names or PathFinder.find_spec(_FOLDER)):
    del sys.modules[_FOLDER]
