"""Closed-form fields against slow and independent computations of the same posterior means."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    Field,
    GaussianField,
    GaussianMixtureField,
    RectifiedFlow,
    StationaryGaussianField,
)

from .worlds import highest, normal, paths, relative, seeds


def quadrature_mean(density, path, x: float, t: float) -> float:
    """E[x_0 | x_t = x] of scalar data with the given density, by the trapezoidal rule around the data."""
    grid = np.linspace(-40, 40, 40001)
    likelihood = -((x - path.alpha(t) * grid) ** 2) / (2 * path.sigma(t) ** 2)
    weight = density(grid) * np.exp(likelihood - likelihood.max())
    return float((grid * weight).sum() / weight.sum())


def bell(mean, std):
    return lambda grid: np.exp(-((grid - mean) ** 2) / (2 * std**2)) / std


def gaussian_error(field, path, t, seed, *, mean, std) -> float:
    x = 2 * normal(seed, 1, 1, 2, 3)
    slow = [quadrature_mean(bell(mean, std), path, float(v), t) for v in x.ravel()]
    return relative(field.denoised(x, t), np.reshape(slow, x.shape))


@settings(max_examples=30)
@given(path=paths, u=st.floats(0.05, 0.95), mean=st.floats(-1, 1), std=st.floats(0.3, 1.5), seed=seeds)
def test_gaussian_field_is_the_posterior_mean(path, u, mean, std, seed):
    t = u * min(highest(path), 3.0)
    error = gaussian_error(GaussianField(mean, std, path), path, t, seed, mean=mean, std=std)
    assert error <= 1e-8
    assert gaussian_error(GaussianField(mean + 0.1, std, path), path, t, seed, mean=mean, std=std) > 10 * error


@settings(max_examples=20)
@given(path=paths, u=st.floats(0.1, 0.95), std=st.floats(0.2, 1.0), seed=seeds)
def test_mixture_of_scalars_is_the_posterior_mean(path, u, std, seed):
    t = u * min(highest(path), 3.0)
    rng = np.random.default_rng(seed)
    means, weights = rng.normal(size=3), rng.dirichlet(np.ones(3))
    field = GaussianMixtureField(means.reshape(3, 1, 1, 1), std, weights, path)
    x = 2 * rng.normal(size=(4, 1, 1, 1))

    def density(grid):
        return sum(w * bell(m, std)(grid) for m, w in zip(means, weights))

    slow = [quadrature_mean(density, path, float(v), t) for v in x.ravel()]
    assert relative(field.denoised(x, t).ravel(), slow) <= 1e-8


def mixture_by_loops(means, std, weights, path, x, t):
    """The mixture's posterior mean, one sample and one component at a time."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    variance = alpha**2 * std**2 + sigma**2
    out = []
    for sample in x:
        terms = [(np.log(w) - ((sample - alpha * mu) ** 2).sum() / (2 * variance), mu) for mu, w in zip(means, weights)]
        top = max(score for score, _ in terms)
        parts = [np.exp(score - top) for score, _ in terms]
        answer = np.zeros_like(sample)
        for part, (_, mu) in zip(parts, terms):
            answer += part / sum(parts) * (mu + alpha * std**2 / variance * (sample - alpha * mu))
        out.append(answer)
    return np.stack(out)


@settings(max_examples=30)
@given(path=paths, u=st.floats(0.05, 0.95), std=st.sampled_from([0.0, 0.4]), seed=seeds)
def test_mixture_is_its_formula(path, u, std, seed):
    t = u * min(highest(path), 3.0)
    rng = np.random.default_rng(seed)
    means, x, weights = rng.normal(size=(5, 2, 3, 4)), rng.normal(size=(3, 2, 3, 4)), rng.uniform(0.1, 2, size=5)
    slow = mixture_by_loops(means, std, weights, path, x, t)
    assert relative(GaussianMixtureField(means, std, weights, path).denoised(x, t), slow) <= 1e-10
    assert relative(GaussianMixtureField(means, std, 7 * weights, path).denoised(x, t), slow) <= 1e-10
    equal = GaussianMixtureField(means, std, np.ones(5), path).denoised(x, t)
    assert relative(GaussianMixtureField(means, std, None, path).denoised(x, t), equal) <= 1e-12


def test_the_weights_of_a_mixture_matter():
    means, x, weights = normal(1, 5, 1, 2, 2), normal(2, 3, 1, 2, 2), np.array([1.0, 2, 3, 4, 5])
    slow = mixture_by_loops(means, 0.4, weights[::-1], RectifiedFlow(), x, 0.7)
    assert relative(GaussianMixtureField(means, 0.4, weights).denoised(x, 0.7), slow) > 0.05


@given(path=paths, u=st.floats(0.05, 0.95), std=st.floats(0.1, 2), seed=seeds)
def test_a_mixture_of_one_is_the_gaussian(path, u, std, seed):
    t = u * highest(path)
    mean, x = normal(seed, 2, 1, 2, 3, 3)
    one = GaussianMixtureField(mean, std, None, path).denoised(x, t)
    assert relative(one, GaussianField(mean, std, path).denoised(x, t)) <= 1e-12


def test_a_data_set_answers_with_its_nearest_image_at_little_noise():
    means = normal(3, 6, 1, 4, 4)
    field = GaussianMixtureField(means)
    x = 0.99 * means[[4, 1]] + 0.01 * normal(4, 2, 1, 4, 4)
    assert relative(field.denoised(x, 0.01), means[[4, 1]]) <= 1e-12


def test_mixture_survives_distances_that_overflow_an_exponential():
    field = GaussianMixtureField(1e3 * normal(3, 4, 1, 4, 4))
    assert np.isfinite(field.denoised(1e3 * normal(5, 2, 1, 4, 4), 1e-3)).all()


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 2, 4, 4), (1, 4, 4), (1, 1, 1, 1)])
def test_mixture_refuses_samples_of_another_shape(shape):
    with pytest.raises(ValueError, match="do not fit means"):
        GaussianMixtureField(np.zeros((3, 1, 4, 4))).denoised(np.zeros(shape), 0.5)


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 1), ()])
def test_mixture_refuses_weights_of_another_count(shape):
    with pytest.raises(ValueError, match="do not fit 3 means"):
        GaussianMixtureField(np.zeros((3, 1, 4, 4)), weights=np.ones(shape))


def dct_matrix(n: int) -> np.ndarray:
    k, i = np.arange(n)[:, None], np.arange(n)[None, :]
    return np.cos(np.pi * k * (2 * i + 1) / (2 * n)) * np.where(k == 0, np.sqrt(1 / n), np.sqrt(2 / n))


@settings(max_examples=20)
@given(path=paths, u=st.floats(0.05, 0.95), seed=seeds)
def test_stationary_field_solves_the_linear_least_squares(path, u, seed):
    """alpha C (alpha^2 C + sigma^2 I)^-1 x with the dense covariance C: the best linear estimate, hence the mean."""
    t, height, width = u * highest(path), 4, 6
    field = StationaryGaussianField(lambda i, j, h, w: 1 / (1.0 + i**2 + 2 * j**2), path)
    basis = np.kron(dct_matrix(height), dct_matrix(width))
    i, j = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    covariance = basis.T @ np.diag((1 / (1.0 + i**2 + 2 * j**2)).ravel()) @ basis
    x = normal(seed, 2, 1, height, width)
    alpha, sigma = path.alpha(t), path.sigma(t)
    system = alpha**2 * covariance + sigma**2 * np.eye(height * width)
    slow = alpha * covariance @ np.linalg.solve(system, x.reshape(2, -1).T)
    assert relative(field.denoised(x, t), slow.T.reshape(x.shape)) <= 1e-10


def test_fields_keep_library_and_dtype():
    torch = pytest.importorskip("torch")
    means = normal(1, 3, 1, 4, 4).astype(np.float32)
    fields = [
        (GaussianField(0.2, 0.9), GaussianField(0.2, 0.9)),
        (StationaryGaussianField(lambda i, j, h, w: 1 / (1 + i + j)),) * 2,
        (GaussianMixtureField(means, 0.1), GaussianMixtureField(torch.tensor(means), 0.1)),
    ]
    x = normal(2, 2, 1, 4, 4).astype(np.float32)
    for ours, theirs in fields:
        assert isinstance(ours, Field)
        expected, answer = ours.denoised(x, 0.6), theirs.denoised(torch.tensor(x), 0.6)
        assert expected.dtype == np.float32
        assert isinstance(answer, torch.Tensor)
        assert answer.dtype == torch.float32
        assert relative(answer, expected) <= 1e-5


def test_the_rectified_flow_is_the_path_unless_told():
    assert GaussianField().path == RectifiedFlow() == GaussianMixtureField(np.zeros((1, 1, 2, 2))).path
