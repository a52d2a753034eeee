"""Affine maps and homographies: against loops over pixels, against rearrangements, and what is refused."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import relative
from operator_cases import CASES
from test_warp import by_loop

from commutant.operators import (
    Affine,
    BlockMean,
    Flip,
    Homography,
    LinearOperator,
    QuarterTurn,
    ShapeError,
    StridedSelection,
    Translate,
    Warp,
)

TILTED = ((1, 0.1, 2), (-0.1, 1, -1), (0.01, 0.02, 1))


def flow_of(op, size):
    """Where each pixel looks, by solving the forward map, point by point."""
    matrix = np.eye(3)
    matrix[: len(op.entries)] = op.entries
    flow, middle = np.zeros((*size, 2)), ((size[1] - 1) / 2, (size[0] - 1) / 2)
    for i, j in itertools.product(range(size[0]), range(size[1])):
        u, v, w = np.linalg.solve(matrix, [j - middle[0], i - middle[1], 1])
        flow[i, j] = u / w + middle[0] - j, v / w + middle[1] - i
    return flow


@given(data=st.data(), name=st.sampled_from(["affine", "homography"]), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_planar_maps_by_index(data, name, seed):
    op, size = data.draw(CASES[name].filter(lambda drawn: drawn[0].mode == "bilinear"))
    x = np.random.default_rng(seed).normal(size=size)
    np.testing.assert_allclose(op(x), by_loop(x, flow_of(op, size), op.mode, op.fill), atol=1e-9)


def test_the_loop_catches_the_inverse_map():
    x = np.random.default_rng(0).normal(size=(6, 6))
    op = Affine.rotation(20)
    wanted = by_loop(x, flow_of(op, (6, 6)), "bilinear", "edge")
    assert relative(op(x), wanted) < 1e-12
    assert relative(Affine.rotation(-20)(x), wanted) > 0.1


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(6, 6), (7, 7)])
def test_where_rearrangements_do_the_same(mode, size):
    """Turns, mirrors and whole shifts, bit for bit and in the sense that their names say."""
    x = np.random.default_rng(0).normal(size=size)
    for turns in range(-3, 5):
        np.testing.assert_array_equal(Affine.rotation(90 * turns, mode)(x), QuarterTurn(turns)(x))
    np.testing.assert_array_equal(Affine(((-1, 0), (0, 1)), mode)(x), Flip("horizontal")(x))
    for fill in ("edge", "reflect", "zero"):
        np.testing.assert_array_equal(Affine.shift(2, -1, mode, fill)(x), Translate(2, -1, fill)(x))
        np.testing.assert_array_equal(Affine.shift(2, -1, mode, fill).coverage(size), Translate(2, -1).coverage(size))


def test_directions():
    """A bright pixel at the right: up for a rotation counter-clockwise, outward for a zoom above 1."""
    x = np.zeros((9, 9))
    x[4, 6] = 1
    assert np.unravel_index(Affine.rotation(90)(x).argmax(), x.shape) == (2, 4)
    assert np.unravel_index(Affine.zoom(2)(x).argmax(), x.shape) == (4, 8)
    assert np.unravel_index(Affine.shift(-3, 1)(x).argmax(), x.shape) == (5, 3)


def test_a_homography_without_perspective_is_affine():
    x = np.random.default_rng(0).normal(size=(5, 6))
    matrix = ((1.2, 0.3, 1.5), (-0.2, 0.9, -0.5))
    np.testing.assert_allclose(Homography((*matrix, (0, 0, 1)))(x), Affine(matrix)(x), atol=1e-13)
    assert Homography(np.multiply((*matrix, (0, 0, 1)), -4)) == Homography((*matrix, (0, 0, 1)))  # of any scale


@pytest.mark.parametrize(
    "op", [Affine(((1, 0.2, 6), (-0.1, 1.1, -4))), Homography(((1, 0, 6), (0, 1, 2), (0.004, 0, 1)))]
)
def test_on_cells_is_the_same_map_of_a_smooth_scene(op):
    rows, columns = np.indices((64, 64)) / 64
    scene, reduced = np.sin(3 * rows + 2) * np.cos(4 * columns), BlockMean(4)
    inner = np.s_[3:-3, 3:-3]
    np.testing.assert_allclose(op.on_cells(4)(reduced(scene))[inner], reduced(op(scene))[inner], atol=0.02)
    assert relative(op(reduced(scene))[inner], reduced(op(scene))[inner]) > 0.1  # not the same map in pixels


def test_on_cells_divides_what_has_pixels_in_it():
    assert Affine.shift(8, 4).on_cells(8) == Affine.shift(1, 0.5)
    assert Affine.rotation(30, fill="zero").on_cells(8) == Affine.rotation(30, fill="zero")
    assert Homography(TILTED).on_cells(2).entries == ((1, 0.1, 1), (-0.1, 1, -0.5), (0.02, 0.04, 1))


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Affine(((1, 2), (2, 4))), ValueError, "singular"),
        (lambda: Affine(((0, 0, 1), (0, 0, 1))), ValueError, "singular"),
        (lambda: Affine.zoom(1e-200), ValueError, "singular"),
        (lambda: Affine.zoom(0), ValueError, "factor must be more than 0"),
        (lambda: Affine.zoom(-1), ValueError, "factor must be more than 0"),
        (lambda: Affine.zoom(math.nan), ValueError, "factor must be finite"),
        (lambda: Affine.rotation("90"), TypeError, "degrees must be a real number"),
        (lambda: Affine.shift(math.inf), ValueError, "dx must be finite"),
        (lambda: Affine.shift(1e30), ValueError, "at most 4294967296"),
        (lambda: Affine(np.eye(3)), ValueError, "2 x 3 or 2 x 2"),
        (lambda: Affine(((1, 0), (0, math.nan))), ValueError, "finite"),
        (lambda: Affine(((1, 0), (0, 1j))), ValueError, "real numbers"),
        (lambda: Affine(np.eye(2), "cubic"), ValueError, "mode must be one of"),
        (lambda: Homography(np.eye(2)), ValueError, "matrix of 3 x 3"),
        (lambda: Homography(np.diag([1, 1, 0])), ValueError, "to the horizon"),
        (lambda: Homography(np.diag([1, 0, 1])), ValueError, "singular"),
        (lambda: Homography(((1, 0, 3), (0, 1, 0), (0.5, 0, 1))), ValueError, "behind the camera"),
    ],
)
def test_refusals(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_horizon_in_the_image_is_refused_with_a_smaller_one():
    op = Homography(((1, 0, 0), (0, 1, 0), (0.1, 0, 1)))  # w = 1 - 0.1 x: the horizon is 10 pixels from the centre
    assert np.isfinite(op(np.ones((30, 20)))).all()
    with pytest.raises(ShapeError, match="horizon would cross") as caught:
        op(np.ones((30, 21)))
    assert caught.value.nearest[0] == (30, 20)


def test_they_are_values():
    torch = pytest.importorskip("torch")
    assert Affine(np.eye(2)) == Affine(torch.eye(2)) == Affine(((1, 0, 0), (0, 1, 0))) == Affine.rotation(360)
    assert len({Affine.zoom(2), Affine.zoom(3), Affine.zoom(2, "nearest"), Affine.zoom(2, fill="zero")}) == 4
    for config in ({"matrix": [[1, 0], [0, 1]]}, {"matrix": [[1, 0, "0"], [0, 1, 0]]}, {"matrix": 1}):
        with pytest.raises(ValueError, match="matrix must be"):
            LinearOperator.from_dict({"operator": "Affine", "mode": "nearest", "fill": "edge", **config})


def test_nearest_zoom_down_is_a_selection():
    """Whole factors on odd sizes keep the pixels that fall on the centres, as strided selection does."""
    x = np.random.default_rng(0).normal(size=(9, 9))
    out = Affine.zoom(1 / 2, "nearest")(x)
    np.testing.assert_array_equal(out[2:7, 2:7], StridedSelection(2)(np.pad(x, ((0, 1), (0, 1)))))


def test_a_planar_map_is_a_warp():
    """The same tables, and so the same noise."""
    x = np.random.default_rng(0).normal(size=(6, 7))
    for op in (Affine.rotation(25, fill="zero"), Homography(TILTED)):
        warp = Warp(flow_of(op, x.shape), op.mode, op.fill)
        np.testing.assert_allclose(op.adjoint(x), warp.adjoint(x), atol=1e-12)
        np.testing.assert_allclose(op.noise_partner()(x, 3), warp.noise_partner()(x, 3), atol=1e-6)
