"""Wrong shapes: refused before any work, in words that name the way out."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from operator_cases import CASES

from commutant.operators import (
    Affine,
    BlockMean,
    FourierCrop,
    Homography,
    Permutation,
    Roll,
    ShapeError,
    SpectralCrop,
    StridedSelection,
    Warp,
    Whitened,
)

SIXTH = BlockMean(3) @ BlockMean(2)
REFUSED = [
    (BlockMean(2), (1, 4, 65, 64), "multiples of 2 and 2", ((64, 64), (66, 64))),
    (BlockMean((2, 3)), (64, 64), "multiples of 2 and 3", ((64, 63), (64, 66))),
    (BlockMean(4), (2, 9), "multiples of 4 and 4", ((4, 8), (4, 12))),
    (StridedSelection(3, 4), (7, 7), "multiples of 3 and 3", ((6, 6), (9, 9))),
    (SpectralCrop((8, 8)), (1, 3, 6, 0), "at least 1 and 1", ((6, 1),)),
    (FourierCrop((8, 8)), (1, 3, 6, 12), "at least 8 and 8; to go up, take SpectralCrop or", ((8, 12),)),
    (SpectralCrop.by(Fraction(4, 3)), (10, 12), "multiples of 4 and 4", ((8, 12), (12, 12))),
    (SIXTH, (1, 100, 60), r"at BlockMean\(3\), which is given \(50, 30\), ", ((102, 60), (96, 60), (102, 54))),
    (SIXTH, (101, 60), r"at BlockMean\(2\), which is given \(101, 60\), ", ((102, 60), (96, 60), (102, 54))),
    (2 * BlockMean(2), (3, 4), "multiples of 2 and 2", ((2, 4), (4, 4))),
    (Whitened(BlockMean(2)), (6, 5), "multiples of 2 and 2", ((6, 4), (6, 6))),
    (SpectralCrop((8, 8)).transposed((9, 9)), (6, 6), "no output size", ((8, 8),)),
    (BlockMean(2) @ SpectralCrop((5, 5)), (9, 9), r"at BlockMean\(2\), which is given \(5, 5\)", ()),
    (BlockMean(2), (0, 4), "positive", ((2, 4),)),
    (Roll(1, 1), (0, 4), "positive", ((1, 4),)),
    (Affine.rotation(10), (3, 0), "positive", ((3, 1),)),
    (Warp(np.zeros((4, 6, 2))), (2, 6, 4), "of 4 x 6 pixels", ((4, 6),)),
    (Permutation([[0, 1]]), (2, 1), "of 1 x 2 pixels", ((1, 2),)),
    (Homography(((1, 0, 0), (0, 1, 0), (0.1, 0, 1))), (4, 21), "horizon", ((4, 20), (3, 20), (4, 19))),
]


@pytest.mark.parametrize(("op", "shape", "rule", "nearest"), REFUSED, ids=str)
def test_refusal_names_operator_shape_rule_and_nearest_sizes(op, shape, rule, nearest):
    with pytest.raises(ShapeError, match=rule) as caught:
        op(np.zeros(shape))
    assert caught.value.nearest == nearest
    message = str(caught.value)
    assert message.startswith(f"{op!r} cannot take shape {shape}: ")
    assert all(str(size) in message for size in nearest)
    for call in (op.out_shape, op.noise_gain, op.matrix, op.as_linear_operator):
        with pytest.raises(ShapeError):
            call(shape)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data(), size=st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_nearest_sizes_are_valid(case, data, size):
    op, _ = data.draw(case)
    assume(op._fault(size) is not None)
    with pytest.raises(ShapeError) as caught:
        op.out_shape(size)
    assert caught.value.nearest
    for near in caught.value.nearest:
        op.out_shape(near)


@pytest.mark.parametrize("op", [BlockMean(2), StridedSelection(2), SpectralCrop((2, 2)), BlockMean(2) @ BlockMean(2)])
def test_an_image_has_two_dims(op):
    for shape in ((), (4,)):
        with pytest.raises(ShapeError, match="at least two dims"):
            op(np.zeros(shape))


def test_adjoint_of_a_target_size_needs_the_input_shape():
    op, y = SpectralCrop((4, 4)), np.ones((2, 4, 4))
    with pytest.raises(ShapeError, match="give the input shape"):
        op.adjoint(y)
    assert op.adjoint(y, (6, 8)).shape == op.adjoint(y, (2, 6, 8)).shape == (2, 6, 8)


def test_adjoint_refuses_what_is_no_output():
    with pytest.raises(ShapeError, match=r"takes \(4, 4\)") as caught:
        BlockMean(2).adjoint(np.ones((3, 5, 4)), (8, 8))
    assert caught.value.nearest == ((4, 4),)
    with pytest.raises(ShapeError):
        BlockMean(2).adjoint(np.ones((3, 4, 4)), (2, 8, 8))  # leading dims differ
    with pytest.raises(ShapeError, match="no input has this output shape"):
        SpectralCrop.by(Fraction(4, 3)).adjoint(np.ones((4, 3)))


def test_shape_error_is_a_value_error_and_survives_pickling():
    import pickle

    with pytest.raises(ShapeError) as caught:
        BlockMean(2).out_shape((3, 3))
    error = caught.value
    assert isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.nearest == error.nearest
