"""Tapes in memory, on disk, and gone."""

import pytest
import torch

from commutant.commutator import Tape
from commutant.integrations.webui.tapes import TapeStore, size_of

KEYS = [c * 64 for c in "0123456789abcdef"]


def tape(value=0.0):
    full = torch.full((1, 4, 8, 8), float(value))
    return Tape((full.clone(), full.clone()), full.clone(), full.clone(), (1.0, 0.5), {"kind": "k-diffusion"}, None)


def equal(one, other):
    pairs = zip((*one.outputs, one.noise, one.state), (*other.outputs, other.noise, other.state))
    return one.header == other.header and all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)


@pytest.fixture
def store(tmp_path):
    return TapeStore(tmp_path / "tapes", memory=2 * size_of(tape()), disk=10**6)


def test_memory_is_bounded_and_the_rest_goes_to_disk(store):
    for i in range(5):
        store.put(KEYS[i], tape(i))
        assert store.in_memory <= store.memory
    assert sorted(p.stem for p in store.folder.iterdir()) == KEYS[:3]
    assert all(equal(store.get(KEYS[i]), tape(i)) for i in range(5))
    assert not equal(store.get(KEYS[0]), tape(1))  # the comparison can fail


def test_the_disk_is_bounded_and_the_oldest_goes_first(store):
    store.memory = 0
    store.put(KEYS[0], tape(0))
    store.disk = 2 * store.on_disk
    for i in range(1, 4):
        store.put(KEYS[i], tape(i))
        assert store.on_disk <= store.disk
    assert store.get(KEYS[0]) is None
    assert equal(store.get(KEYS[3]), tape(3))


def test_what_was_used_last_stays(store):
    store.put(KEYS[0], tape(0))
    store.put(KEYS[1], tape(1))
    store.get(KEYS[0])
    store.put(KEYS[2], tape(2))
    assert [p.stem for p in store.folder.iterdir()] == [KEYS[1]]


def test_a_new_tape_replaces_one_on_disk(store):
    store.memory = 0
    store.put(KEYS[0], tape(0))
    store.memory = 10**6
    store.put(KEYS[0], tape(1))
    assert equal(store.get(KEYS[0]), tape(1))
    assert list(store.folder.glob("*.tape")) == []


@pytest.mark.parametrize("harm", ["cut", "flip", "pickle", "empty"])
def test_a_file_that_was_changed_is_no_tape(store, harm):
    store.memory = 0
    store.put(KEYS[0], tape(0))
    (path,) = store.folder.iterdir()
    data = path.read_bytes()
    harmed = {"cut": data[:-9], "flip": data[:-1] + bytes([data[-1] ^ 1]), "pickle": b"\x80\x04.", "empty": b""}
    path.write_bytes(harmed[harm])
    assert store.get(KEYS[0]) is None
    assert not path.exists()


def test_a_tape_of_an_earlier_session_is_found(store, tmp_path):
    store.memory = 0
    store.put(KEYS[0], tape(3))
    assert equal(TapeStore(tmp_path / "tapes").get(KEYS[0]), tape(3))


@pytest.mark.parametrize("key", ["", "../" + "a" * 61, "A" * 64, "a" * 63, "a" * 65, "é" * 64])
def test_a_key_is_a_digest_and_nothing_else(store, key):
    with pytest.raises(ValueError, match="SHA-256"):
        store.put(key, tape())
    with pytest.raises(ValueError, match="SHA-256"):
        store.get(key)


def test_a_tape_too_large_for_the_disk_is_dropped(store):
    store.memory, store.disk = 0, 10
    store.put(KEYS[0], tape())
    assert store.get(KEYS[0]) is None


def test_a_full_disk_costs_the_tape_only(store, monkeypatch, capsys):
    def full(self, path):
        raise OSError("no space left on device")

    monkeypatch.setattr(Tape, "save", full)
    store.memory = 0
    store.put(KEYS[0], tape())
    assert store.get(KEYS[0]) is None
    assert "no space left" in capsys.readouterr().out


def test_other_files_in_the_folder_are_left_alone(store):
    store.folder.mkdir()
    (store.folder / "notes.tape").write_text("mine")
    store.memory, store.disk = 0, 1
    store.put(KEYS[0], tape())
    store.clear()
    assert (store.folder / "notes.tape").read_text() == "mine"
