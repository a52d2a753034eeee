"""Warps against loops over pixels, and what is particular to them."""

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import relative
from operator_cases import FILLS, MODES, flows

from commutant.operators import LinearOperator, ShapeError, Warp
from commutant.operators.host_array import HostArray

sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))
rngs = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def outside(n, length, fill):
    """The pixel that stands for pixel n of a line, or None."""
    if 0 <= n < length:
        return n
    if fill == "zero":
        return None
    if fill == "edge" or length == 1:
        return min(max(n, 0), length - 1)
    while not 0 <= n < length:
        n = -n if n < 0 else 2 * (length - 1) - n
    return n


def looked_at(i, j, flow, mode):
    """The pixels around the position, in range or not, with their weights."""
    x, y = j + float(flow[i][j][0]), i + float(flow[i][j][1])
    if mode == "nearest":
        return [(math.floor(y + 0.5), math.floor(x + 0.5), 1.0)]
    top, left = math.floor(y), math.floor(x)
    down, right = y - top, x - left
    return [
        (top + b, left + a, (down if b else 1 - down) * (right if a else 1 - right)) for b in (0, 1) for a in (0, 1)
    ]


def by_loop(x, flow, mode, fill):
    out = np.zeros(x.shape)
    for i, j in itertools.product(range(x.shape[0]), range(x.shape[1])):
        for row, column, weight in looked_at(i, j, flow, mode):
            at = outside(row, x.shape[0], fill), outside(column, x.shape[1], fill)
            if None not in at:
                out[i, j] += weight * x[at]
    return out


def seen_by_loop(size, flow, mode):
    out = np.zeros(size)
    for i, j in itertools.product(range(size[0]), range(size[1])):
        for row, column, weight in looked_at(i, j, flow, mode):
            out[i, j] += weight * (0 <= row < size[0] and 0 <= column < size[1])
    return out


@given(size=sizes, data=st.data(), mode=MODES, fill=FILLS, rng=rngs)
@settings(max_examples=60, deadline=None)
def test_warp_by_index(size, data, mode, fill, rng):
    flow, x = data.draw(flows(size)), rng.normal(size=size)
    op = Warp(flow, mode, fill)
    np.testing.assert_allclose(op(x), by_loop(x, flow, mode, fill), atol=1e-13)
    np.testing.assert_allclose(op.coverage(size), seen_by_loop(size, flow, mode), atol=1e-13)


def test_the_loop_catches_a_forward_map_and_swapped_axes():
    rng = np.random.default_rng(0)
    flow, x = rng.uniform(-2, 2, size=(5, 5, 2)), rng.normal(size=(5, 5))
    wanted = by_loop(x, flow, "bilinear", "edge")
    assert relative(Warp(flow)(x), wanted) < 1e-13
    assert relative(Warp(-flow)(x), wanted) > 0.1
    assert relative(Warp(flow[..., ::-1])(x), wanted) > 0.1


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_a_flow_of_whole_pixels_copies_them(mode):
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    flow = np.broadcast_to([2.0, -1.0], (6, 8, 2))
    out = Warp(flow, mode, "zero")(x)
    np.testing.assert_array_equal(out[1:, :-2], x[:-1, 2:])
    assert not out[0].any()
    assert not out[:, -2:].any()


@pytest.mark.parametrize("fill", ["edge", "reflect", "zero"])
def test_it_is_what_torch_samples(fill):
    """grid_sample, on an image where both count from the same corner."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    flow, x = rng.normal(size=(9, 7, 2)) * 4, rng.normal(size=(9, 7))
    rows, columns = np.indices((9, 7))
    at = np.stack([2 * (columns + flow[..., 0]) / 6 - 1, 2 * (rows + flow[..., 1]) / 8 - 1], axis=-1)
    padding = {"edge": "border", "reflect": "reflection", "zero": "zeros"}[fill]
    wanted = torch.nn.functional.grid_sample(
        torch.tensor(x)[None, None], torch.tensor(at)[None], padding_mode=padding, align_corners=True
    )
    np.testing.assert_allclose(Warp(flow, fill=fill)(x), wanted[0, 0].numpy(), atol=1e-12)


def test_torch_takes_large_and_empty_images_too():
    """Beyond 1024 pixels float32 positions are too coarse for torch's sampler: weights of the tables then."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    flow, x = rng.normal(size=(2, 3000, 2)), rng.normal(size=(2, 3000)).astype(np.float32)
    op = Warp(flow)
    assert relative(op(torch.tensor(x)), op(x)) < 1e-6
    assert Warp(flow[:, :8])(torch.zeros(2, 0, 2, 8)).shape == (2, 0, 2, 8)


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (np.zeros((4, 4)), "height x width x 2"),
        (np.zeros((4, 4, 3)), "height x width x 2"),
        (np.zeros((0, 4, 2)), "height x width x 2"),
        (np.full((2, 2, 2), np.nan), "flow must be finite"),
        (np.full((2, 2, 2), np.inf), "flow must be finite"),
        (np.zeros((2, 2, 2), dtype=complex), "array of real numbers"),
        (np.zeros((2, 2, 2), dtype=bool), "array of real numbers"),
        ("flow", "array of real numbers"),
        ([[[0, 0]], [[0]]], "array of real numbers"),
        (None, "array of real numbers"),
    ],
)
def test_what_is_no_flow_is_refused(flow, message):
    with pytest.raises(ValueError, match=message):
        Warp(flow)


def test_other_refusals():
    flow = np.zeros((4, 6, 2))
    with pytest.raises(ValueError, match="mode must be one of 'bilinear', 'nearest', not 'cubic'"):
        Warp(flow, "cubic")
    with pytest.raises(ValueError, match="fill must be one of 'edge', 'reflect', 'zero', not 'wrap'"):
        Warp(flow, fill="wrap")
    with pytest.raises(ShapeError, match="of 4 x 6 pixels") as caught:
        Warp(flow)(np.zeros((6, 4)))
    assert caught.value.nearest == ((4, 6),)
    with pytest.raises(TypeError, match="real floating"):
        Warp(flow)(np.zeros((4, 6), dtype=int))
    with pytest.raises(ValueError, match="not isotropic"):
        Warp(flow).transposed().noise_partner()


def test_a_warp_is_a_value():
    torch = pytest.importorskip("torch")
    flow = np.random.default_rng(0).normal(size=(4, 6, 2))
    op = Warp(flow)
    same = [Warp(flow.copy()), Warp(flow.tolist()), Warp(torch.tensor(flow, requires_grad=True)), copy.deepcopy(op)]
    same += [pickle.loads(pickle.dumps(op)), LinearOperator.from_dict(json.loads(json.dumps(op.to_dict())))]
    assert {op, *same} == {op}
    other = flow.copy()
    other[0, 0, 0] = np.nextafter(other[0, 0, 0], 9)
    assert len({op, Warp(other), Warp(flow, "nearest"), Warp(flow, fill="zero")}) == 4
    assert Warp(np.zeros((2, 2, 2))) == Warp(-np.zeros((2, 2, 2)))
    assert repr(op).startswith("Warp(<4x6 flow ")
    assert repr(op) != repr(Warp(other))
    flow[:] = 0  # the warp has a copy
    assert op.flow.any()
    for same in (op, pickle.loads(pickle.dumps(op))):
        with pytest.raises(ValueError, match="read-only"):
            same.flow[0] = 0


def test_saved_flows_are_short_where_float32_holds_them():
    flow = np.random.default_rng(0).normal(size=(4, 6, 2))
    wide, narrow = Warp(flow), Warp(flow.astype(np.float32))
    assert (wide.to_dict()["flow"]["dtype"], narrow.to_dict()["flow"]["dtype"]) == ("float64", "float32")
    assert LinearOperator.from_dict(narrow.to_dict()) == narrow
    huge = Warp(np.full((1, 1, 2), 1e300))
    assert LinearOperator.from_dict(huge.to_dict()) == huge


def test_saved_flows_that_are_not_finite_or_too_large_are_refused():
    config = Warp(np.zeros((1, 1, 2))).to_dict()
    config["flow"]["data"] = "AADAfwAAAAA="  # float32 nan
    with pytest.raises(ValueError, match="finite"):
        LinearOperator.from_dict(config)
    with pytest.raises(ValueError, match="saved form takes 4194304 at most"):
        HostArray("flow", np.zeros((2**11, 2**10 + 1, 2))).to_config()


def test_on_cells_is_the_same_map_of_a_smooth_scene():
    """Warped, then reduced; or reduced, then warped on cells."""
    from commutant.operators import BlockMean

    rows, columns = np.indices((64, 64)) / 64
    scene = np.sin(3 * rows + 2) * np.cos(4 * columns)
    flow = 6 * np.stack([np.sin(2 * rows), np.cos(3 * columns)], axis=-1)
    op, reduced = Warp(flow, fill="reflect"), BlockMean(4)
    np.testing.assert_allclose(op.on_cells(4)(reduced(scene))[2:-2, 2:-2], reduced(op(scene))[2:-2, 2:-2], atol=0.02)
    np.testing.assert_array_equal(Warp(np.full((4, 4, 2), 8.0)).on_cells(4).flow, np.full((1, 1, 2), 2.0))
    with pytest.raises(ValueError, match="no whole number of cells of 5 pixels"):
        op.on_cells(5)
