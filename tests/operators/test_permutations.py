"""Operators that only move pixels: against loops over indices, and undone bit for bit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import held_arrays, readable_repr
from operator_cases import CASES

from commutant.operators import BlockMean, Flip, LinearOperator, Permutation, QuarterTurn, Roll, ShapeError

REARRANGING = {name: CASES[name] for name in ("roll", "flip", "quarter_turn", "permutation", "composed_rearrangements")}
sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))


def by_index(size, source):
    """The image that shows at (i, j) the value of x, 0, 1, 2, ... in row-major order, at source(i, j)."""
    out = np.empty(size)
    for i, j in itertools.product(range(size[0]), range(size[1])):
        out[i, j] = source(i, j)
    return out


@given(size=sizes, dx=st.integers(-9, 9), dy=st.integers(-9, 9))
@settings(max_examples=40, deadline=None)
def test_roll_by_index(size, dx, dy):
    (height, width), x = size, np.arange(size[0] * size[1]).reshape(size)
    wanted = by_index(size, lambda i, j: x[(i - dy) % height][(j - dx) % width])
    np.testing.assert_array_equal(Roll(dx, dy)(x), wanted)


@given(size=sizes)
@settings(max_examples=20, deadline=None)
def test_flip_by_index(size):
    (height, width), x = size, np.arange(size[0] * size[1]).reshape(size)
    for axis, source in (
        ("horizontal", lambda i, j: x[i][width - 1 - j]),
        ("vertical", lambda i, j: x[height - 1 - i][j]),
        ("both", lambda i, j: x[height - 1 - i][width - 1 - j]),
    ):
        np.testing.assert_array_equal(Flip(axis)(x), by_index(size, source))


@given(size=sizes, turns=st.integers(-5, 5))
@settings(max_examples=20, deadline=None)
def test_quarter_turns_by_index(size, turns):
    x = np.arange(size[0] * size[1]).reshape(size)
    out = QuarterTurn(turns)(x)
    for _ in range(turns % 4):
        x = by_index(x.shape[::-1], lambda i, j, x=x: x[j][x.shape[1] - 1 - i])
    np.testing.assert_array_equal(out, x)


def test_a_quarter_turn_is_counter_clockwise():
    """What is at the right goes to the top."""
    assert QuarterTurn(1)(np.array([[0, 0], [0, 1]])).tolist() == [[0, 1], [0, 0]]


@given(size=sizes, data=st.data())
@settings(max_examples=20, deadline=None)
def test_permutation_by_index(size, data):
    count = size[0] * size[1]
    order = np.reshape(data.draw(st.permutations(range(count))), size)
    x = np.arange(100.0, 100 + count).reshape(size)
    np.testing.assert_array_equal(Permutation(order)(x), by_index(size, lambda i, j: 100.0 + order[i][j]))


def undone(op, back, x) -> bool:
    return np.array_equal(back(op(x)), x) and np.array_equal(op(back(op(x))), op(x))


@pytest.mark.parametrize("case", REARRANGING.values(), ids=REARRANGING.keys())
@settings(max_examples=20, deadline=None)
@given(data=st.data(), dtype=st.sampled_from([np.float64, np.float16, np.int8, np.complex64]))
def test_the_adjoint_is_the_inverse_bit_for_bit(case, data, dtype):
    op, size = data.draw(case)
    x = np.random.default_rng(0).integers(-99, 99, size=(2, *size)).astype(dtype)
    assert op(x).dtype == dtype
    assert undone(op, op.adjoint, x)
    if hasattr(op, "inverse"):
        assert undone(op, op.inverse, x)
        assert undone(op, op.transposed(), x)
        assert op.inverse.inverse == op


def test_the_check_catches_the_same_way_twice():
    x = np.arange(12).reshape(3, 4)
    assert undone(Roll(1, 0), Roll(-1, 0), x)
    assert not undone(Roll(1, 0), Roll(1, 0), x)
    assert not undone(0.1 * Roll(1, 0), 10 * Roll(-1, 0), x)  # to rounding is not bit for bit


@pytest.mark.parametrize("a", REARRANGING.values(), ids=REARRANGING.keys())
@settings(max_examples=10, deadline=None)
@given(data=st.data(), turns=st.integers(0, 3))
def test_composition(a, data, turns):
    """(A B) x = A(B x), and (A B)^T = B^T A^T."""
    op, size = data.draw(a)
    b = QuarterTurn(turns) @ Roll(1, 1)
    x = np.random.default_rng(0).normal(size=b.in_shape(size))
    np.testing.assert_array_equal((op @ b)(x), op(b(x)))
    y = op(b(x))
    np.testing.assert_array_equal((op @ b).adjoint(y), b.adjoint(op.adjoint(y)))


def test_views_where_numpy_has_them():
    x = np.zeros((3, 4))
    for op in (Flip("both"), QuarterTurn(0), QuarterTurn(1), QuarterTurn(2), QuarterTurn(3)):
        assert np.shares_memory(op(x), x)


def test_on_cells():
    assert Roll(16, -8).on_cells(8) == Roll(2, -1)
    assert Flip("vertical").on_cells(8) == Flip("vertical")
    assert QuarterTurn(3).on_cells(8) == QuarterTurn(3)
    with pytest.raises(
        ValueError, match=r"no whole number of cells of 8 pixels; nearest \(dx, dy\): \(8, 0\) or \(16, 8\)"
    ):
        Roll(12, 3).on_cells(8)
    with pytest.raises(ValueError, match="no counterpart on a coarser grid"):
        Permutation([[0, 1]]).on_cells(2)
    with pytest.raises(ValueError, match="at least 1"):
        Flip().on_cells(0)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([[0, 0]], "each position from 0 to 1 once"),
        ([[1, 2]], "each position from 0 to 1 once"),
        ([0, 1], "height x width"),
        ([[]], "integers|height x width"),
        ([[0.0, 1.0]], "array of integers"),
        ([["a"]], "array of integers"),
        ([[0, 1], [2]], "array of integers"),
    ],
)
def test_what_is_no_permutation_is_refused(order, message):
    with pytest.raises(ValueError, match=message):
        Permutation(order)


def test_a_permutation_has_one_size():
    with pytest.raises(ShapeError, match="of 1 x 2 pixels"):
        Permutation([[1, 0]])(np.zeros((2, 1)))


def test_permutation_is_a_value():
    torch = pytest.importorskip("torch")
    op = Permutation(np.array([[1, 0]]))
    assert op == Permutation(torch.tensor([[1, 0]])) == LinearOperator.from_dict(op.to_dict())
    assert op != Permutation([[1], [0]])
    assert op != Permutation([[0, 1]])
    with pytest.raises(ValueError, match="read-only"):
        op.order[0, 0] = 0


def test_repr_tells_orders_apart_and_the_law_notices():
    op, other = Permutation([[1, 0, 2]]), Permutation([[0, 1, 2]])
    assert repr(op) != repr(other)
    assert repr(op).startswith("Permutation(<1x3 order ")
    assert held_arrays(BlockMean((1, 3)) @ op) == held_arrays(op)
    assert readable_repr(op, None, None) == 0

    class Mumbles(Permutation):
        def __repr__(self):
            return repr(other)

    assert readable_repr(Mumbles([[1, 0, 2]]), None, None) == np.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [1]}, "list of 2 integers"),
        ({"shape": [1, 2.0]}, "integer from 1"),
        ({"shape": [2**20, 2**20]}, "at most 4194304 values"),
        ({"dtype": "float64"}, "dtype of order must be one of int64"),
        ({"dtype": "object"}, "dtype of order"),
        ({"data": "AAAA"}, "base64 of 2 values"),
        ({"data": "!" * 24}, "Only base64|[Bb]ase64|padding"),
        ({"data": None}, "base64 of 2 values"),
        ({"more": 1}, "exactly the fields"),
    ],
)
def test_malformed_arrays_are_refused(changes, message):
    config = Permutation([[1, 0]]).to_dict()
    config["order"] = {**config["order"], **changes}
    with pytest.raises(ValueError, match=message):
        LinearOperator.from_dict(config)
