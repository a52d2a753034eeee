"""Tapes that come from outside: every one is read as written or refused with TapeError."""

import json
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_numpy

from commutant.commutator import Tape, TapeError
from commutant.commutator.tape import _digest

from .test_tape import TIMES, differences, tape

quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(a tape, its file)."""
    path = tmp_path_factory.mktemp("tapes") / "a.tape"
    good = tape()
    good.save(path)
    return good, path.read_bytes()


def verdict(folder, data: bytes, framework: str = "numpy") -> Tape | None:
    """The tape in `data`, or None where it is refused; anything but TapeError comes through."""
    (folder / "x.tape").write_bytes(data)
    try:
        return Tape.load(folder / "x.tape", framework=framework)
    except TapeError:
        return None


def test_the_unchanged_file_is_accepted(written, tmp_path):
    good, data = written
    assert differences(verdict(tmp_path, data), good) == []


@quiet
@given(share=st.floats(0, 1, exclude_max=True))
@example(share=0.0)
@example(share=0.999999)
def test_truncated_anywhere(written, tmp_path, share):
    _, data = written
    assert verdict(tmp_path, data[: int(share * len(data))]) is None


@quiet
@given(extra=st.binary(min_size=1, max_size=40))
def test_with_bytes_after_its_end(written, tmp_path, extra):
    _, data = written
    assert verdict(tmp_path, data + extra) is None


@settings(quiet, max_examples=300)
@given(where=st.integers(0, 2**20), flip=st.integers(1, 255), front=st.booleans())
def test_a_changed_byte_is_refused_or_changes_nothing(written, tmp_path, where, flip, front):
    """White space or the case of a hexadecimal escape may change in the header; no value may."""
    good, data = written
    (length,) = struct.unpack("<Q", data[:8])
    at = where % (8 + length) if front else 8 + length + where % (len(data) - 8 - length)
    changed = verdict(tmp_path, data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
    if front:
        assert changed is None or differences(changed, good) == []
    else:
        assert changed is None


RELABELLED = {
    "dtype": (b'"F32"', b'"I32"'),
    "shape": (b"[1,2,3,4]", b"[1,2,4,3]"),
    "name": (b'"rng"', b'"RNG"'),
    "schedule": (b"0.8", b"0.7"),
    "header": (b"tiny", b"mini"),
}


@pytest.mark.parametrize(("old", "new"), RELABELLED.values(), ids=RELABELLED)
def test_the_same_bytes_under_another_label(written, tmp_path, old, new):
    _, data = written
    assert old in data
    assert verdict(tmp_path, data.replace(old, new)) is None


def test_every_single_bit_of_the_payload_counts(written, tmp_path):
    _, data = written
    (length,) = struct.unpack("<Q", data[:8])
    for at in range(8 + length, len(data), 7):
        assert verdict(tmp_path, data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]) is None


@settings(quiet, max_examples=200)
@given(data=st.binary(max_size=200), framed=st.booleans())
def test_garbage_is_refused(tmp_path, data, framed):
    if framed:  # a length that fits, so that the header is parsed
        data = struct.pack("<Q", len(data) // 2) + data
    assert verdict(tmp_path, data) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(quiet, max_examples=200)
@given(header=json_values, payload=st.binary(max_size=64))
def test_any_json_for_a_header_is_refused(tmp_path, header, payload):
    text = json.dumps(header).encode()
    assert verdict(tmp_path, struct.pack("<Q", len(text)) + text + payload) is None


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"__metadata__": {"tape": 1}}',
        b'{"__metadata__": []}',
        b'{"__metadata__": null}',
        b"9" * 5000,
        b"\xff\xfe{}",
        b"",
        b"{}",
        b"null",
        b'"tape"',
    ],
    ids=lambda h: h[:20].decode("latin-1"),
)
def test_headers_made_to_hurt(tmp_path, header):
    assert verdict(tmp_path, struct.pack("<Q", len(header)) + header) is None


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**31, 10**6, 101])
def test_a_header_length_beyond_the_file(tmp_path, length):
    assert verdict(tmp_path, struct.pack("<Q", length) + b" " * 100) is None


def forged(head=None, *, digest=None, tensors=None, **fields) -> bytes:
    """A file with a right digest over whatever content, as somebody would make who read the source."""
    good = tape()
    content = {"output.0000": good.outputs[0], "output.0001": good.outputs[1], "noise": good.noise, "state": good.state}
    content = content if tensors is None else tensors(content)
    full = {"format": "commutant-tape", "version": 1, "times": list(TIMES), "header": {}, **fields}
    text = json.dumps(full) if head is None else head
    return save_numpy(content, {"tape": f"{_digest(text, content) if digest is None else digest} {text}"})


def test_a_forgery_of_right_content_is_a_tape(tmp_path):
    """So that the refusals below are due to what they change, not to the forger's ways."""
    assert verdict(tmp_path, forged()).recorded == 2


def without(name):
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def and_also(**more):
    return lambda tensors: {**tensors, **more}


def moved(old, new):
    return lambda tensors: {(new if k == old else k): v for k, v in tensors.items()}


ODD = np.zeros((1, 2, 3, 5), np.float32)
FORGERIES = {
    "no digest": {"digest": ""},
    "digest of something else": {"digest": "0" * 64},
    "other format": {"format": "another"},
    "no format": {"format": None},
    "older version": {"version": 0},
    "newer version": {"version": 2},
    "version as text": {"version": "1"},
    "no version": {"version": None},
    "head is no JSON": {"head": "tape"},
    "head is a list": {"head": "[]"},
    "head is deep": {"head": "[" * 100_000},
    "head is a huge number": {"head": "9" * 5000},
    "times are no list": {"times": 3},
    "times are text": {"times": ["1.0", "0.0"]},
    "times are truths": {"times": [True, False]},
    "times are nan": {"times": [float("nan"), 0.0]},
    "times are infinite": {"times": [float("inf"), 0.0]},
    "times no float can hold": {"times": [10**400, 0]},
    "times are nested": {"times": [[1.0], 0.0]},
    "header is a list": {"header": []},
    "header is null": {"header": None},
    "no noise": {"tensors": without("noise")},
    "no state": {"tensors": without("state")},
    "first output missing": {"tensors": without("output.0000")},
    "a gap in the outputs": {"tensors": moved("output.0001", "output.0002")},
    "outputs numbered otherwise": {"tensors": moved("output.0001", "output.1")},
    "an unknown tensor": {"tensors": and_also(other=ODD)},
    "noise of another shape": {"tensors": and_also(noise=ODD)},
    "state of another shape": {"tensors": and_also(state=ODD)},
    "output of another shape": {"tensors": and_also(**{"output.0001": ODD})},
    "output of another dtype": {"tensors": and_also(**{"output.0001": np.zeros((1, 2, 3, 4))})},
    "rng of floats": {"tensors": and_also(rng=np.zeros(4))},
    "rng in a plane": {"tensors": and_also(rng=np.zeros((2, 2), np.uint8))},
    "nothing but an rng": {"tensors": lambda tensors: {"rng": np.zeros(4, np.uint8)}},
}


@pytest.mark.parametrize("framework", ["numpy", "torch"])
@pytest.mark.parametrize("what", FORGERIES)
def test_forgeries(tmp_path, what, framework):
    pytest.importorskip(framework)
    assert verdict(tmp_path, forged(**FORGERIES[what]), framework) is None


def test_an_ordinary_safetensors_file(tmp_path):
    content = {"noise": ODD, "state": ODD, "output.0000": ODD}
    for metadata in (None, {"format": "pt"}, {"tape": "{}"}):
        assert verdict(tmp_path, save_numpy(content, metadata)) is None


def test_the_message_says_which(tmp_path):
    for forgery, says in (
        ("newer version", "tape version 2"),
        ("no digest", "changed"),
        ("a gap in the outputs", "missing"),
    ):
        (tmp_path / "x.tape").write_bytes(forged(**FORGERIES[forgery]))
        with pytest.raises(TapeError, match=f"^x.tape: .*{says}"):
            Tape.load(tmp_path / "x.tape")
