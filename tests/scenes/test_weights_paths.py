"""The shipped weights say nothing about the machine that trained them."""

import json

from commutant.integrations.scenes import WEIGHTS


def test_no_paths_in_the_configurations() -> None:
    configurations = list(WEIGHTS.rglob("*config*.json"))
    assert configurations
    for path in configurations:
        names = json.loads(path.read_text(encoding="utf-8"))
        absolute = {k: v for k, v in names.items() if isinstance(v, str) and v.startswith(("/", "\\"))}
        assert not absolute, path.name
