"""Pickles that would run, hash or build for ever are plain values here, or are refused."""

from __future__ import annotations

import collections
import pickle
import pickletools
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from detkit.core.errors import ArtifactError
from detkit.importing import pickle_machine, unpickle
from detkit.importing.pickle_machine import Global, InertObject, PickleMachine
from detkit.importing.unpickle import read_checkpoint

FOUR_FLOATS = struct.pack("<4f", 1, 2, 3, 4)
STORAGE = b"((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nK\x04tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n" + STORAGE + b"K\x00(K\x04t(K\x01t\x89NtR"


def run(data: bytes) -> Any:
    return PickleMachine(lambda f, args: InertObject(f.name, args), lambda pid: pid).run(data)


def checkpoint(path: Path, data: bytes) -> Path:
    """A torch checkpoint of this pickle and one storage of four floats."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/data/0", FOUR_FLOATS)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_those_of_pythons_own_unpickler(protocol: int) -> None:
    value: Any = {"a": [1, -(2**70), 2.5, None, True], "b": ("x", ("\u732b",)), 3: {}, None: []}
    value["again"] = value["a"]
    assert run(pickle.dumps(value, protocol)) == value


def test_sets_are_lists_and_odd_keys_equal_nothing_so_that_nothing_is_hashed() -> None:
    assert run(pickle.dumps({1})) == [1]
    assert run(pickle.dumps(frozenset("a"))) == ["a"]
    (key,) = run(pickle.dumps({(1, (2, 3)): 4}))
    assert isinstance(key, InertObject)


def test_objects_keep_what_they_were_made_of() -> None:
    found = run(pickle.dumps(collections.Counter("aab"), 2))
    assert (found.origin, found.args) == ("Counter", ({"a": 2, "b": 1},))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TENSOR + b"(K\x01tb.", "gives state to what has none"),
        (b"c_codecs\nencode\nN}S'__defaults__'\n(S'ascii'\nts\x86b.", "state to what has none"),
        (TENSOR + b"K\x01a.", "appends to what is no list"),
        (TENSOR + b"K\x01K\x02s.", "sets items of what is no dict"),
        (b"S'os'\n(tR.", "calls what is no function"),
        (b"\x82\x01.", "opcode EXT1"),
        (b"\x8b\x00\x01\x00\x00" + b"\x7f" * 256 + b".", "absurd size"),
        (b"((S'storage'\nctorch\nFloatStorage\nh\x00S'cpu'\nK\x04tQ.", "not readable"),
        (TENSOR.replace(b"K\x00(", b"K\x02("), "reaches beyond its storage"),
    ],
)
def test_what_no_checkpoint_does_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read_checkpoint(checkpoint(tmp_path / "x.pth", data))


def test_a_far_memo_index_takes_no_memory() -> None:
    assert run(b"Np2000000000\n.") is None


def test_steps_are_bounded_and_calls_cost_what_they_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 50)
    assert run(b"N0" * 20 + b"N.") is None
    with pytest.raises(ArtifactError, match="million steps"):
        run(b"N0" * 30 + b"N.")
    long_text = b"X\x40\x00\x00\x00" + b"a" * 64
    with pytest.raises(ArtifactError, match="million steps"):
        run(b"c_codecs\nencode\n" + long_text + b"\x85R.")


def test_tensors_share_a_storage_that_is_read_once(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    torch.save({"a": shared, "b": shared[2:]}, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth")
    assert found["b"].data_ptr() == found["a"].data_ptr() + 8


def test_storages_with_more_bytes_than_the_file_are_refused(tmp_path: Path) -> None:
    """As entries of the archive that overlap have."""
    path = checkpoint(tmp_path / "x.pth", TENSOR + b".")
    with zipfile.ZipFile(path) as archive:
        assert unpickle._Reader(archive, len(FOUR_FLOATS)).load().tolist() == [1, 2, 3, 4]
        with pytest.raises(ArtifactError, match="overlap"):
            unpickle._Reader(archive, len(FOUR_FLOATS) - 1).load()


def test_mutated_pickles_give_values_or_one_error(tmp_path: Path) -> None:
    torch.save({"net": {"w": torch.ones(4)}, "names": ["x"], "big": 1 << 70}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        data = archive.read("x/data.pkl")
    opcodes = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
    inserted = [*opcodes, b"cos\nsystem\n", b"\xff"]
    draw, outcomes = random.Random(0), collections.Counter[str]()
    for _ in range(200):
        mutated = bytearray(data)
        for _ in range(draw.choice((1, 2, 4))):
            at = draw.randrange(len(mutated))
            mutated[at : at + draw.randrange(2)] = draw.choice(inserted)
        try:
            read_checkpoint(checkpoint(tmp_path / "m.pth", bytes(mutated)))
            outcomes["read"] += 1
        except ArtifactError:
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 2


def test_globals_are_names_alone() -> None:
    found = run(b"cos\nsystem\n.")
    assert isinstance(found, Global)
    assert (found.module, found.name) == ("os", "system")
