"""Every law for every operator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import ALPHA, LAWS, TOLERANCE, gradient, noise
from operator_cases import CASES

from commutant import operators
from commutant.operators import LinearOperator

# Acts on three dims and mixes channels, so it is no LinearOperator: `test_fitted.py` has the laws that hold for it.
ON_THREE_DIMS = {operators.FittedResize}

seeds = st.integers(0, 2**32 - 1)
WITH_PARTNER = {name: case for name, case in CASES.items() if name not in ("sums", "stack")}


@settings(max_examples=1, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_exported_operator_has_a_case(data):
    exported = {kind for name in operators.__all__ if isinstance(kind := getattr(operators, name), type)}
    kinds = {kind for kind in exported if issubclass(kind, LinearOperator) and kind is not LinearOperator}
    assert kinds <= {type(data.draw(case)[0]) for case in CASES.values()}
    assert {kind for kind in exported - kinds if hasattr(kind, "adjoint")} == {LinearOperator, *ON_THREE_DIMS}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=seeds)
def test_law(law, case, data, seed):
    op, size = data.draw(case)
    assert law(op, size, np.random.default_rng(seed)) <= TOLERANCE


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@settings(max_examples=10, deadline=None)
@given(data=st.data(), seed=seeds)
def test_torch_differentiates_to_the_adjoint(case, data, seed):
    pytest.importorskip("torch")
    op, size = data.draw(case)
    assert gradient(op, size, np.random.default_rng(seed)) <= TOLERANCE


# One fixed seed per test: the rate ALPHA is what a new seed would risk, not what CI risks every day. Each of at most
# 4 drawn operators per case is one report: over all cases a new seed fails with probability below 4e-4.
@pytest.mark.parametrize("case", WITH_PARTNER.values(), ids=WITH_PARTNER.keys())
@settings(max_examples=4, deadline=None, derandomize=True)
@given(data=st.data())
def test_noise_partner_keeps_white_noise_white(case, data):
    op, size = data.draw(case)
    partner, rng = op.noise_partner(), np.random.default_rng(20240914)
    report = noise(lambda drawn: partner(drawn, rng), size, rng)
    assert report.p > ALPHA, report
