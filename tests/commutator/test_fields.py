"""Closed-form fields against slow and independent computations of the same numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commutant.commutator import (
    ConvolutionField,
    Field,
    GaussianField,
    GaussianMixtureField,
    PeriodicGaussianField,
    PointwiseField,
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


stencils = st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 3, 5, 7]))
sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))


def convolved_by_loops(x, k):
    """One pixel and one tap at a time; a stencil larger than the image comes round again."""
    height, width = x.shape[-2:]
    out = np.zeros_like(x)
    for i, j in np.ndindex(height, width):
        for (a, b), weight in np.ndenumerate(k):
            row, column = i - (a - k.shape[0] // 2), j - (b - k.shape[1] // 2)
            out[..., i, j] += weight * x[..., row % height, column % width]
    return out


@settings(max_examples=30)
@given(stencil=stencils, size=sizes, seed=seeds)
def test_convolution_is_its_sum(stencil, size, seed):
    k, x = normal(seed, *stencil), normal(seed + 1, 2, 1, *size)
    assert relative(ConvolutionField(k).denoised(x, 0.5), convolved_by_loops(x, k)) <= 1e-11


def test_a_mirrored_stencil_is_another_field():
    k, x = normal(0, 3, 3), normal(1, 1, 1, 6, 6)
    assert relative(ConvolutionField(k[::-1, ::-1]).denoised(x, 0.5), convolved_by_loops(x, k)) > 0.1


@given(stencil=stencils, size=sizes, t=st.floats(0.1, 1), seed=seeds)
def test_response_is_what_the_field_does_to_each_frequency(stencil, size, t, seed):
    k, x = normal(seed, *stencil), normal(seed + 1, 1, 1, *size)
    field = ConvolutionField(lambda t: t * k)
    by_response = np.fft.ifft2(field.response(t, *size) * np.fft.fft2(x)).real
    assert relative(field.denoised(x, t), by_response) <= 1e-10
    assert relative(field.denoised(x, t), t * convolved_by_loops(x, k)) <= 1e-11


@pytest.mark.parametrize("kernel", [np.ones(3), np.ones((2, 3)), np.ones((3, 0)), np.full((1, 1), np.nan)])
def test_stencils_without_a_centre_or_a_value_are_refused(kernel):
    with pytest.raises(ValueError, match="a kernel"):
        ConvolutionField(kernel)
    with pytest.raises(ValueError, match="a kernel"):
        ConvolutionField(lambda t: kernel).denoised(np.ones((1, 1, 4, 4)), 0.5)


def lively(i, j, height, width):
    """Even in (i, j) together, not in each: the covariance has a direction."""
    return height * width / (1.0 + i**2 + 2 * j**2 + i * j)


@settings(max_examples=20)
@given(path=paths, size=sizes, u=st.floats(0.05, 0.95), seed=seeds)
def test_periodic_field_solves_the_linear_least_squares(path, size, u, seed):
    """alpha C (alpha^2 C + sigma^2 I)^-1 x with the dense circulant covariance C = sum_k P_k f_k f_k^H."""
    t, (height, width) = u * highest(path), size
    freqs = [np.rint(np.fft.fftfreq(n) * n) for n in size]
    # A Nyquist frequency is its own mirror image, whatever its sign: only a power even in i and in j is defined there.
    even = height % 2 == 0 or width % 2 == 0
    power = (lambda i, j, h, w: 3 / (1.0 + i**2 + 2 * j**2)) if even else lively
    basis = np.kron(*(np.fft.fft(np.eye(n), norm="ortho") for n in size))
    p = power(*np.meshgrid(*freqs, indexing="ij"), height, width)
    covariance = (basis.conj().T @ np.diag(p.ravel()) @ basis).real
    x = normal(seed, 2, 1, height, width)
    alpha, sigma = path.alpha(t), path.sigma(t)
    system = alpha**2 * covariance + sigma**2 * np.eye(height * width)
    slow = (alpha * covariance @ np.linalg.solve(system, x.reshape(2, -1).T)).T.reshape(x.shape)
    assert relative(PeriodicGaussianField(power, path).denoised(x, t), slow) <= 1e-10
    if not even and min(size) > 1:
        other = PeriodicGaussianField(lambda i, j, h, w: lively(i, -j, h, w), path)
        assert relative(other.denoised(x, t), slow) > 1e-4


@pytest.mark.parametrize("field", [PeriodicGaussianField, StationaryGaussianField])
@pytest.mark.parametrize(
    ("power", "match"),
    [
        (lambda i, j, h, w: -1.0 + 0 * i, "not negative"),
        (lambda i, j, h, w: np.inf + 0 * i, "finite"),
        (lambda i, j, h, w: np.ones(3), "one variance per frequency"),
    ],
)
def test_powers_that_are_no_variances_are_refused(field, power, match):
    with pytest.raises(ValueError, match=match):
        field(power).denoised(np.ones((1, 1, 4, 5)), 0.5)


def test_a_power_without_symmetry_is_refused():
    with pytest.raises(ValueError, match="real images"):
        PeriodicGaussianField(lambda i, j, h, w: 5.0 + i).denoised(np.ones((1, 1, 5, 5)), 0.5)


@pytest.mark.parametrize("field", [PeriodicGaussianField, StationaryGaussianField])
def test_a_frequency_that_the_data_lack_is_removed_even_without_noise(field):
    answer = field(lambda i, j, h, w: (i == 0) * (j == 0) * 1.0).denoised(normal(0, 1, 1, 4, 6), 0.0)
    assert np.ptp(answer) <= 1e-12


def test_a_function_of_more_than_one_pixel_is_refused_where_it_shows():
    with pytest.raises(ValueError, match="keeps the shape"):
        PointwiseField(lambda x, t: x.mean(axis=-1)).denoised(np.ones((1, 1, 4, 4)), 0.5)


@pytest.mark.parametrize(
    "field",
    [
        ConvolutionField(normal(3, 3, 5)),
        PeriodicGaussianField(lambda i, j, h, w: 1 / (1 + i**2 + j**2)),
        PointwiseField(lambda x, t: (1 - t) * x / (1 + x * x)),
    ],
    ids=lambda f: type(f).__name__,
)
def test_linear_and_elementwise_fields_keep_library_and_dtype(field):
    torch = pytest.importorskip("torch")
    assert isinstance(field, Field)
    x = normal(2, 2, 1, 4, 6)
    exact = field.denoised(x, 0.6)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)):
        answer = field.denoised(torch.tensor(x, dtype=dtype), 0.6)
        assert answer.dtype == dtype
        assert relative(answer.double(), exact) <= tolerance
    assert field.denoised(x.astype(np.float32), 0.6).dtype == np.float32


@pytest.mark.parametrize("field", [ConvolutionField(np.ones((1, 1))), PeriodicGaussianField(lambda i, j, h, w: 1.0)])
def test_integers_are_refused(field):
    with pytest.raises(TypeError, match="real floating"):
        field.denoised(np.ones((1, 1, 3, 3), dtype=int), 0.5)


def test_gradients_pass_through():
    torch = pytest.importorskip("torch")
    x = torch.tensor(normal(0, 1, 1, 4, 5), requires_grad=True)
    for field in (ConvolutionField(normal(1, 3, 3)), PeriodicGaussianField(lambda i, j, h, w: 1.0 / (1 + i**2))):
        assert torch.autograd.gradcheck(lambda v, f=field: f.denoised(v, 0.5), (x,))


def test_the_rectified_flow_is_the_path_by_default():
    assert GaussianField().path == RectifiedFlow() == GaussianMixtureField(np.zeros((1, 1, 2, 2))).path
    assert PeriodicGaussianField(lively).path == RectifiedFlow()
