"""Operators made of others, and what is asked of them as matrices: sums, stacks, inverses, norms, the adjoint check."""

import math

import broken_operators as broken
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import relative
from operator_cases import CASES

from commutant.operators import (
    Affine,
    BlockDiagonal,
    BlockMean,
    Composed,
    Diagonal,
    Flip,
    Identity,
    Kronecker,
    LinearOperator,
    Resize,
    Scaled,
    ShapeError,
    SpectralCrop,
    Stack,
    StridedSelection,
    Sum,
    Translate,
    check_adjoint,
)

RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 8, 12))
BLUR = Resize.by(1, "bicubic") @ Translate(1, 0, "edge") + Identity()


def test_sums_add_and_subtract():
    a, b = BlockMean(2), StridedSelection(2)
    np.testing.assert_array_equal((a + b)(X), a(X) + b(X))
    np.testing.assert_array_equal((a - b)(X), a(X) - b(X))
    assert (a + b) + a == Sum(a, b, a)
    assert (a + b).in_shape((4, 6)) == (8, 12)
    with pytest.raises(TypeError):
        a + 1  # no silent broadcasting
    with pytest.raises(TypeError, match="two or more"):
        Sum(a)


def test_a_sum_of_unequal_sizes_is_refused():
    with pytest.raises(ShapeError, match=r"terms lead to different sizes, \(4, 6\), \(8, 12\)"):
        (BlockMean(2) + Identity())(X)
    with pytest.raises(ValueError, match="no noise partner"):
        (Flip() + Identity()).noise_partner()


def test_a_sum_saw_what_all_its_terms_saw():
    seen = (Translate(2, 0) + Translate(0, 1)).coverage((4, 5))
    assert seen.sum() == 3 * 3
    assert (Flip() + Translate(8, 0)).on_cells(4) == Flip() + Translate(2, 0)


def test_transposes():
    assert BlockMean(2).T == BlockMean(2).H == BlockMean(2).transposed()
    assert BlockMean(2) == BlockMean(2).T.T
    assert Flip("both") == Flip("both").T


def test_a_stack_of_all_selections_is_a_permutation():
    stack = Stack(*StridedSelection.family(2))
    out = stack(X)
    assert out.shape == (2, 16, 6)
    np.testing.assert_array_equal(out[:, 4:8], StridedSelection(2, 1)(X))
    np.testing.assert_array_equal(stack.adjoint(out, X.shape), X)
    assert Stack(Identity(), Flip(), axis="horizontal").out_shape((3, 4)) == (3, 8)


def test_panels_are_mapped_one_by_one():
    panels = BlockDiagonal(Flip(), Identity(), axis="horizontal")
    np.testing.assert_array_equal(panels(X), np.concatenate([X[..., 5::-1], X[..., 6:]], axis=-1))
    assert panels.gain == 1
    assert panels.keeps_size
    both = BlockDiagonal(BlockMean(2), 2.0 * BlockMean(2))
    assert both.gain is None
    np.testing.assert_allclose(both.noise_partner()(X)[:, 2:], 2 * BlockMean(2)(X)[:, 2:])
    with pytest.raises(ShapeError, match="width must be a positive multiple of 2"):
        panels(X[..., 1:])


def test_outputs_that_do_not_fit_together_are_refused():
    for make in (Stack, BlockDiagonal):
        with pytest.raises(ShapeError, match="do not fit together"):
            make(BlockMean(2), Identity())(X)


def dense_ridge(op, size, ridge):
    """(A^T A + ridge I)^-1 A^T, or the Moore-Penrose inverse for ridge 0, from the dense matrix."""
    a = op.matrix(size).toarray()
    return np.linalg.pinv(a) if ridge == 0 else np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T)


INVERTIBLE = [
    BlockMean(2),
    3.0 * SpectralCrop.by(2),
    StridedSelection(2, 3),
    Flip() @ BlockMean((1, 3)),
    BlockMean(2).T,
    Resize((5, 7), "bicubic"),
    Resize((10, 13)),
    SpectralCrop((9, 5)),
    2.0 * Translate(2, -1, "edge"),
    Kronecker([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]], np.eye(4)),
]


@pytest.mark.parametrize("ridge", [0.0, 0.01, 3.0])
@pytest.mark.parametrize("op", INVERTIBLE, ids=repr)
def test_the_inverse_is_that_of_the_matrix(op, ridge):
    size = (3, 4) if isinstance(op, Kronecker) else (8, 12)
    inverse = op.pseudoinverse(ridge, size)
    out = op.out_shape(size)
    assert inverse.out_shape(out) == size
    assert relative(inverse.matrix(out).toarray(), dense_ridge(op, size, ridge)) <= 1e-11
    again = LinearOperator.from_dict(inverse.to_dict())
    assert relative(again.matrix(out).toarray(), inverse.matrix(out).toarray()) <= 1e-15


def test_an_isotropic_inverse_needs_no_shape():
    mean = BlockMean(2)
    assert mean.pseudoinverse() == mean.T * 4.0
    assert relative(mean(mean.pseudoinverse()(mean(X))), mean(X)) <= 1e-14


def test_inverses_without_closed_form_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"no closed form: give as_linear_operator\(shape\) to scipy"):
        Affine.rotation(8).pseudoinverse(shape=(8, 12))
    with pytest.raises(ValueError, match="give the input shape"):
        Resize((4, 4)).pseudoinverse()
    for ridge in (-1.0, math.nan):
        with pytest.raises(ValueError, match="ridge must be finite and at least 0"):
            BlockMean(2).pseudoinverse(ridge)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_norm_and_condition_number_are_those_of_the_matrix(case, data):
    op, size = data.draw(case)
    values = np.linalg.svd(op.matrix(size).toarray(), compute_uv=False)
    assert op.norm(size) == pytest.approx(values[0], rel=1e-10, abs=1e-14)
    found = op.condition_number((3, *size))
    if values[-1] > 1e-9 * values[0]:
        assert found == pytest.approx(values[0] / values[-1], rel=1e-6)
    else:
        assert found > 1e8


def test_the_norm_of_a_large_warp_is_found_without_its_matrix():
    op, size = Affine.zoom(1.5, fill="zero"), (64, 48)
    values = np.linalg.svd(op.matrix(size).toarray(), compute_uv=False)
    assert op.norm(size) == pytest.approx(values[0], rel=1e-9)
    with pytest.raises(ValueError, match="too many for a dense matrix"):
        op.condition_number(size)


def test_diagonals():
    weights = np.array([[2.0, 0.0], [-3.0, 1.0]])
    assert Diagonal(weights)(np.ones((2, 2))).tolist() == weights.tolist()
    assert Diagonal([[2.0, -2.0]]).gain == 2
    assert Diagonal([[0.0, 0.0]]).gain is None
    assert Diagonal(weights).noise_partner()(np.ones((2, 2))).tolist() == [[1, 1], [-1, 1]]
    with pytest.raises(ShapeError, match="its weights are of 2 x 2 pixels"):
        Diagonal(weights)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="height x width"):
        Diagonal([1.0])


@pytest.mark.parametrize("op", [BlockMean(2), BLUR, Stack(Flip(), Identity()), Affine.rotation(8)], ids=repr)
def test_the_adjoint_check_accepts_adjoints(op):
    assert check_adjoint(op, (3, 8, 12)) < 1e-15


class NotFinite:
    def __call__(self, x):
        return x

    def adjoint(self, y, shape):
        return y * np.nan


class WrongShape(NotFinite):
    def adjoint(self, y, shape):
        return y[..., 1:]


FLOW = np.random.default_rng(0).normal(size=(8, 12, 2))
WRONG = [
    broken.AdjointWithoutItsFactor(2),
    broken.AdjointTooSmall(2),
    broken.OffByOnePhase(2),
    broken.WarpsBack(FLOW),
    broken.RollsOnItsInverse(3, 1),
    NotFinite(),
    WrongShape(),
]


@pytest.mark.parametrize("op", WRONG, ids=lambda op: type(op).__name__)
def test_the_adjoint_check_catches_what_is_none(op):
    assert all(check_adjoint(op, (3, 8, 12), seed) > 1e-4 for seed in range(5))


def test_the_new_ones_are_saved_under_stable_names():
    op = BlockDiagonal(Identity(), Scaled(Identity(), 2.0))
    assert op.to_dict() == {
        "operator": "BlockDiagonal",
        "operators": [{"operator": "Identity"}, {"operator": "Scaled", "factor": 2.0, "of": {"operator": "Identity"}}],
        "axis": "vertical",
    }
    assert isinstance(LinearOperator.from_dict((BLUR @ op).to_dict()), Composed)
