"""Operators in saved files: the dict is untrusted, so anything unexpected is a ValueError that says what."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_cases import CASES

from commutant.operators import BlockMean, Composed, LinearOperator, Resize, SpectralCrop, StridedSelection
from commutant.operators.saved import serialisable

MEAN = {"operator": "BlockMean", "scale": [2, 2]}


def test_the_saved_form_is_stable():
    """These dicts are in files people keep."""
    assert BlockMean(2).to_dict() == MEAN
    assert StridedSelection((2, 3), 4).to_dict() == {"operator": "StridedSelection", "scale": [2, 3], "phase": [1, 1]}
    for text in (
        '{"operator": "SpectralCrop", "shape": [64, 48]}',
        '{"operator": "SpectralCrop", "scale": [[4, 3], [2, 1]]}',
        '{"operator": "FourierCrop", "shape": [64, 48]}',
        '{"operator": "FourierShift", "dx": 0.5, "dy": -3.0}',
        '{"operator": "Resize", "shape": [64, 48], "kernel": "lanczos", "antialias": true}',
        '{"operator": "Resize", "scale": [[1, 2], [3, 2]], "kernel": "bicubic", "antialias": false}',
        '{"operator": "OrthonormalSum", "scale": [2, 3]}',
        '{"operator": "Kronecker", "rows": [[0.5, 0.5]], "columns": [[1.0]]}',
        '{"operator": "Scaled", "factor": 2.5, "of": {"operator": "BlockMean", "scale": [2, 2]}}',
        '{"operator": "Whitened", "of": {"operator": "BlockMean", "scale": [2, 2]}}',
        '{"operator": "Composed", "factors": [{"operator": "BlockMean", "scale": [2, 2]}, '
        '{"operator": "BlockMean", "scale": [3, 3]}]}',
    ):
        config = json.loads(text)
        assert LinearOperator.from_dict(config).to_dict() == config


def nested(depth):
    return MEAN if depth == 0 else {"operator": "Scaled", "factor": 2.0, "of": nested(depth - 1)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "must be a dict, not NoneType"),
        ([MEAN], "must be a dict, not list"),
        ({}, "names no known operator: None"),
        ({"operator": "os.system", "scale": [2, 2]}, "names no known operator: 'os.system'"),
        ({"operator": "LinearOperator"}, "no known operator"),
        ({"operator": ["BlockMean"]}, "no known operator"),
        ({"operator": "x" * 10_000}, "no known operator"),
        ({"operator": "BlockMean"}, r"BlockMean config must hold exactly the fields \['scale'\], not \[\]"),
        ({**MEAN, "phase": [0, 0]}, "exactly the fields"),
        ({**MEAN, 3: 1}, "exactly the fields"),
        ({**MEAN, "scale": 2}, "scale must be a list of two integers"),
        ({**MEAN, "scale": [2, 2, 2]}, "scale must be a list of two integers"),
        ({**MEAN, "scale": [2.0, 2]}, "scale must be an integer from 1"),
        ({**MEAN, "scale": [True, 2]}, "scale must be an integer from 1"),
        ({**MEAN, "scale": ["2", 2]}, "scale must be an integer from 1"),
        ({**MEAN, "scale": [0, 2]}, "scale must be an integer from 1"),
        ({**MEAN, "scale": [2**40, 2]}, "scale must be an integer from 1"),
        ({"operator": "StridedSelection", "scale": [2, 2], "phase": [2, 0]}, "outside its 2 x 2 block"),
        ({"operator": "StridedSelection", "scale": [2, 2], "phase": [-1, 0]}, "phase must be an integer from 0"),
        ({"operator": "SpectralCrop"}, "SpectralCrop config"),
        ({"operator": "SpectralCrop", "shape": [4, 4], "scale": [[2, 1], [2, 1]]}, "SpectralCrop config"),
        ({"operator": "SpectralCrop", "scale": [2, 2]}, "scale must be a list of two"),
        ({"operator": "SpectralCrop", "scale": [[2, 1]]}, "scale must be a list of two"),
        ({"operator": "SpectralCrop", "scale": [[2, 0], [2, 1]]}, "scale must be an integer from 1"),
        ({"operator": "SpectralCrop", "scale": [[1, 2], [2, 1]]}, "at least 1"),
        ({"operator": "FourierCrop", "scale": [[1, 2], [2, 1]]}, "at least 1"),
        ({"operator": "FourierShift", "dx": float("nan"), "dy": 0}, "dx must be a number"),
        ({"operator": "FourierShift", "dx": 0, "dy": 10**400}, "dy must be a number"),
        ({"operator": "Resize", "shape": [2, 2]}, "exactly the fields"),
        ({"operator": "Resize", "shape": [2, 2], "kernel": "area", "antialias": 1}, "true or false"),
        ({"operator": "Resize", "shape": [2, 2], "kernel": "box", "antialias": True}, "kernel must be one of"),
        ({"operator": "Resize", "scale": [[0, 1], [1, 1]], "kernel": "area", "antialias": True}, "from 1"),
        ({"operator": "Composed", "factors": [MEAN]}, "2 to 16"),
        ({"operator": "Composed", "factors": [MEAN] * 17}, "2 to 16"),
        ({"operator": "Composed", "factors": [MEAN, None]}, "must be a dict"),
        ({"operator": "Scaled", "factor": float("nan"), "of": MEAN}, "moderate"),
        ({"operator": "Scaled", "factor": float("inf"), "of": MEAN}, "moderate"),
        ({"operator": "Scaled", "factor": 10**400, "of": MEAN}, "moderate"),
        ({"operator": "Scaled", "factor": True, "of": MEAN}, "factor must be a number"),
        ({"operator": "Scaled", "factor": 0, "of": MEAN}, "not 0"),
        (nested(500), "nested deeper than 8"),
    ],
)
def test_malformed_dicts_are_refused(config, message):
    with pytest.raises(ValueError, match=message) as caught:
        LinearOperator.from_dict(config)
    assert len(str(caught.value)) < 500


def test_a_subclass_reads_only_itself():
    assert BlockMean.from_dict(MEAN) == BlockMean(2)
    with pytest.raises(ValueError, match="describes a BlockMean, not a StridedSelection"):
        StridedSelection.from_dict(MEAN)


words = st.sampled_from(["operator", "scale", "phase", "shape", "factor", "of", "factors", "BlockMean", "Scaled"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5) | st.floats() | words | st.just(MEAN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(config=json_values, case=st.sampled_from(list(CASES.values())), data=st.data())
def test_damaged_dicts_raise_value_error_or_nothing(config, case, data):
    """One field of a sound dict replaced by anything at all, and anything at all instead of a dict."""
    op, _ = data.draw(case)
    damaged = op.to_dict()
    damaged[data.draw(st.sampled_from(list(damaged)))] = config
    for candidate in (config, damaged):
        with contextlib.suppress(ValueError):
            assert isinstance(LinearOperator.from_dict(candidate), LinearOperator)


def test_names_are_registered_once():
    with pytest.raises(ValueError, match="registered already"):
        serialisable(type("BlockMean", (BlockMean,), {}))


def test_an_operator_without_saved_form_says_so():
    class Private(LinearOperator):
        _fault = _out_size = _forward = _adjoint = None

    with pytest.raises(TypeError, match="no saved form"):
        Private().to_dict()


SIDE = {"operator": "SpectralCrop", "shape": [4096, 1]}
UP = {"operator": "Adjoint", "of": {"operator": "BlockMean", "scale": [64, 64]}, "shape": None}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"operator": "SpectralCrop", "shape": [65537, 1]}, "shape must be an integer from 1 to 4096"),
        ({"operator": "Resize", "shape": [1, 2**20], "kernel": "area", "antialias": True}, "shape must .* to 4096"),
        ({"operator": "BlockMean", "scale": [2**20, 2**20]}, "scale must be an integer from 1 to 64"),
        ({"operator": "StridedSelection", "scale": [2, 2**20], "phase": [0, 0]}, "scale must .* to 64"),
        (
            {"operator": "Resize", "scale": [[1, 65], [1, 1]], "kernel": "area", "antialias": True},
            "ratios from 1/64 to 64",
        ),
        ({"operator": "FourierCrop", "scale": [[4097, 4096], [1, 1]]}, "from 1 to 4096"),
        ({**UP, "shape": [2**20, 2]}, "shape must .* to 4096"),
        ({"operator": "Composed", "factors": [UP, UP]}, "enlarge an image 64 times at most"),
        ({"operator": "Composed", "factors": [UP, SIDE]}, "enlarge an image 64 times at most"),
        ({"operator": "Sum", "operators": [MEAN, {"operator": "Composed", "factors": [UP, UP]}]}, "64 times at most"),
        (
            {"operator": "Scaled", "factor": 1.0, "of": {"operator": "Composed", "factors": [UP, UP]}},
            "64 times at most",
        ),
    ],
    ids=repr,
)
def test_sizes_that_would_take_all_memory_are_refused_by_name(config, message):
    with pytest.raises(ValueError, match=message):
        LinearOperator.from_dict(config)


@pytest.mark.parametrize(
    "op",
    [
        SpectralCrop((65537, 1)),
        Resize((1, 5000)),
        BlockMean(65),
        BlockMean(64).T @ BlockMean(2).T,
        Composed(*[BlockMean(1)] * 17),
        2.0 * (2.0 * (2.0 * (2.0 * (2.0 * (2.0 * (2.0 * (2.0 * BlockMean(2)))))))),
    ],
    ids=lambda op: repr(op)[:40],
)
def test_nothing_is_written_that_would_be_refused(op):
    with pytest.raises(ValueError):
        LinearOperator.from_dict(op.to_dict())
    with pytest.raises(ValueError):
        op.to_dict()


def test_sizes_up_to_the_limits_are_read():
    for op in (SpectralCrop((4096, 1)), BlockMean(64).T, BlockMean(64) @ SpectralCrop((512, 512)).T):
        assert LinearOperator.from_dict(op.to_dict()) == op
    chain = SpectralCrop((512, 512)) @ SpectralCrop((2048, 2048)) @ Resize.by(2)
    assert LinearOperator.from_dict(chain.to_dict()) == chain


def test_an_unregistered_subclass_has_no_saved_form():
    """Its name could not be read back."""
    with pytest.raises(TypeError, match="no saved form"):
        type("Blur", (BlockMean,), {})(2).to_dict()
