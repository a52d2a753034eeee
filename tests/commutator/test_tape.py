"""The tape: what is written is what is read, and nothing else is accepted."""

import hashlib
import json
import math
import os
import pickle
import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from commutant.commutator import Tape, TapeError

from .worlds import normal, same_bits, seeds

HEADER = {"model": "tiny", "prompt": "a fox — und ein Ballon", "size": [64, 64], "nested": {"cfg": 2.5, "none": None}}
TIMES = (1.0, 0.8, 0.5, 0.0)


def tape(outputs=2, *, dtype=np.float32, rng=True, shape=(1, 2, 3, 4), seed=0) -> Tape:
    draws = normal(seed, outputs + 2, *shape).astype(dtype)
    state = np.arange(16, dtype=np.uint8) if rng else None
    return Tape(tuple(draws[2:]), draws[0], draws[1], TIMES, HEADER, state)


def differences(a: Tape, b: Tape) -> list[str]:
    """The attributes in which two tapes differ, to the bit and in dtype."""
    found = [] if len(a.outputs) == len(b.outputs) else ["outputs"]
    found += [f"outputs[{i}]" for i, (x, y) in enumerate(zip(a.outputs, b.outputs)) if not _same(x, y)]
    found += [name for name in ("noise", "state") if not _same(getattr(a, name), getattr(b, name))]
    found += [] if (a.rng is None) == (b.rng is None) and (a.rng is None or _same(a.rng, b.rng)) else ["rng"]
    return found + [name for name in ("times", "header") if getattr(a, name) != getattr(b, name)]


def _same(x, y) -> bool:
    if hasattr(x, "detach") or hasattr(y, "detach"):
        import torch

        return type(x) is type(y) and x.dtype == y.dtype and torch.equal(x, y)
    return same_bits(x, y)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    outputs=st.integers(0, 4),
    shape=arrays.array_shapes(min_dims=2, max_dims=5, max_side=4).map(lambda s: (1, *s)),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    rng=st.booleans(),
    seed=seeds,
)
def test_round_trip_in_numpy(tmp_path, outputs, shape, dtype, rng, seed):
    written = tape(outputs, dtype=dtype, rng=rng, shape=shape, seed=seed)
    digest = written.save(tmp_path / "a.tape")
    read = Tape.load(tmp_path / "a.tape")
    assert differences(written, read) == []
    assert read.recorded == outputs
    assert digest == written.save(tmp_path / "b.tape"), "equal tapes are equal files"
    assert digest == hashlib.sha256((tmp_path / "a.tape").read_bytes()).hexdigest()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_round_trip_in_torch(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    draws = torch.randn(4, 1, 2, 3, 4, generator=torch.Generator().manual_seed(1)).to(getattr(torch, dtype))
    state = torch.Generator().manual_seed(3).get_state()
    written = Tape((draws[2], draws[3]), draws[0], draws[1].float(), TIMES, HEADER, state)
    written.save(tmp_path / "a.tape")
    assert differences(written, Tape.load(tmp_path / "a.tape", framework="torch")) == []


def test_bit_patterns_survive_nan_payloads_and_signed_zeros(tmp_path):
    odd = np.array([[[0x7FC00123, 0xFFC00001, 0x80000000, 0x7F800000]]], dtype=np.uint32).view(np.float32)
    Tape((odd,), odd, odd, TIMES).save(tmp_path / "a.tape")
    read = Tape.load(tmp_path / "a.tape")
    assert read.outputs[0].tobytes() == read.noise.tobytes() == odd.tobytes()


def test_numpy_and_torch_read_each_other(tmp_path):
    torch = pytest.importorskip("torch")
    written = tape()
    written.save(tmp_path / "a.tape")
    read = Tape.load(tmp_path / "a.tape", framework="torch")
    assert torch.equal(read.outputs[1], torch.tensor(written.outputs[1]))
    read.save(tmp_path / "b.tape")
    assert differences(written, Tape.load(tmp_path / "b.tape")) == []


def test_views_and_shared_memory_are_written_as_their_values(tmp_path):
    """At switch 0 the state is the noise, one tensor; and a batch is cut into views of one storage."""
    torch = pytest.importorskip("torch")
    for library in (np, torch):
        batch = library.asarray(normal(1, 3, 4, 6, 2))
        view = batch[1:2, ::2].swapaxes(2, 3)
        written = Tape((view, batch[:1, ::2].swapaxes(2, 3)), view, view, TIMES)
        written.save(tmp_path / "a.tape")
        framework = "numpy" if library is np else "torch"
        assert differences(written, Tape.load(tmp_path / "a.tape", framework=framework)) == []


def test_foreign_byte_order_is_written_in_native_order(tmp_path):
    swapped = tape(dtype=np.dtype(np.float32).newbyteorder())
    swapped.save(tmp_path / "a.tape")
    assert differences(tape(), Tape.load(tmp_path / "a.tape")) == []


def test_differences_are_found():
    one, other = tape(seed=1), tape(seed=2)
    assert differences(one, other) == ["outputs[0]", "outputs[1]", "noise", "state"]
    assert differences(one, tape(1, rng=False, dtype=np.float64)) != []
    assert differences(one, Tape(one.outputs, one.noise, one.state, (1.0,), {}, one.rng)) == ["times", "header"]
    assert differences(one, Tape(one.outputs, one.noise, one.state, TIMES, HEADER)) == ["rng"]


def test_bfloat16_in_numpy_is_refused_or_read_to_the_bit(tmp_path):
    torch = pytest.importorskip("torch")
    value = torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(1)).bfloat16()
    Tape((value,), value, value, TIMES).save(tmp_path / "a.tape")
    try:
        read = Tape.load(tmp_path / "a.tape")
    except TapeError:
        return
    assert read.noise.tobytes() == value.view(torch.int16).numpy().tobytes()


def test_times_come_back_as_floats(tmp_path):
    plain = tape()
    Tape(plain.outputs, plain.noise, plain.state, (1, 0.5, 0)).save(tmp_path / "a.tape")
    times = Tape.load(tmp_path / "a.tape").times
    assert times == (1.0, 0.5, 0.0)
    assert {type(t) for t in times} == {float}


def test_an_unknown_framework_is_the_callers_mistake(tmp_path):
    tape().save(tmp_path / "a.tape")
    with pytest.raises(ValueError, match="framework must be") as caught:
        Tape.load(tmp_path / "a.tape", framework="jax")
    assert not isinstance(caught.value, TapeError)


def test_no_file_is_no_tape_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        Tape.load(tmp_path / "none.tape")


GOOD, OTHER = tape(), normal(3, 1, 2, 3, 5).astype(np.float32)
ODD = {
    "shape of state": Tape(GOOD.outputs, GOOD.noise, OTHER, TIMES),
    "shape of noise, nothing recorded": Tape((), OTHER, GOOD.state, TIMES),
    "shape of an output": Tape((GOOD.outputs[0], OTHER), GOOD.noise, GOOD.state, TIMES),
    "dtype of an output": Tape((GOOD.outputs[0], GOOD.noise.astype(float)), GOOD.noise, GOOD.state, TIMES),
    "rng of floats": Tape(GOOD.outputs, GOOD.noise, GOOD.state, TIMES, {}, np.zeros(4)),
    "rng in a plane": Tape(GOOD.outputs, GOOD.noise, GOOD.state, TIMES, {}, np.zeros((2, 2), np.uint8)),
    "nan in the header": Tape(GOOD.outputs, GOOD.noise, GOOD.state, TIMES, {"cfg": math.nan}),
    "infinite time": Tape(GOOD.outputs, GOOD.noise, GOOD.state, (math.inf, 0.0)),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_could_not_be_read_is_not_written(tmp_path, odd):
    tape().save(tmp_path / "a.tape")
    before = (tmp_path / "a.tape").read_bytes()
    with pytest.raises(ValueError):
        odd.save(tmp_path / "a.tape")
    assert (tmp_path / "a.tape").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.tape"]


@pytest.mark.parametrize("fails", ["open", "fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fails):
    tape(seed=1).save(tmp_path / "a.tape")
    before = (tmp_path / "a.tape").read_bytes()

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="disk full"):
        tape(seed=2).save(tmp_path / "a.tape")
    monkeypatch.undo()
    assert (tmp_path / "a.tape").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.tape"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_file_has_the_permissions_of_an_ordinary_new_file(tmp_path):
    tape().save(tmp_path / "a.tape")
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a.tape").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


SCRIPT = """
import sys
import numpy as np
import commutant.commutator, commutant.operators
from commutant.commutator import Tape, preset, euler, RectifiedFlow, GaussianField
x = np.random.default_rng(0).normal(size=(1, 1, 8, 8))
result = euler.preview(preset("paper", 6), RectifiedFlow(), GaussianField(), x, [1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.0])
Tape(result.head.outputs, x, result.head.state, result.head.times).save(sys.argv[1])
Tape.load(sys.argv[1])
heavy = {"torch", "jax", "tensorflow", "diffusers", "cupy"} & set(sys.modules)
assert not heavy, heavy
print("light")
"""


def test_numpy_users_import_no_framework(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = [sys.executable, "-c", SCRIPT, str(tmp_path / "a.tape")]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "light\n", done.stderr
    broken = [sys.executable, "-c", SCRIPT.replace("import sys", "import sys, types\nsys.modules['jax'] = types", 1)]
    assert (
        "{'jax'}"
        in subprocess.run(
            [*broken, str(tmp_path / "b.tape")], capture_output=True, text=True, env=environment, check=False
        ).stderr
    )


class Boobytrap:
    def __reduce__(self):
        return (os.abort, ())


def test_a_pickle_is_refused_and_not_run(tmp_path):
    for protocol in range(6):
        (tmp_path / "a.tape").write_bytes(pickle.dumps(Boobytrap(), protocol=protocol))
        with pytest.raises(TapeError):
            Tape.load(tmp_path / "a.tape")


def test_the_file_is_ordinary_safetensors(tmp_path):
    from safetensors import safe_open

    tape().save(tmp_path / "a.tape")
    with safe_open(tmp_path / "a.tape", "numpy") as file:
        assert sorted(file.keys()) == ["noise", "output.0000", "output.0001", "rng", "state"]
        assert json.loads(file.metadata()["tape"].partition(" ")[2])["header"] == HEADER
