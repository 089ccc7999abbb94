from __future__ import annotations

import pytest

from detkit.core.errors import UsageError
from detkit.core.launch import Launch, find_launch

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}


def test_torchrun_tells_a_process_its_place() -> None:
    found = find_launch(TORCHRUN)
    assert found == Launch(rank=3, processes=4, local_rank=1, local_processes=2)
    assert not found.is_first


@pytest.mark.parametrize("missing", TORCHRUN)
def test_a_part_of_that_is_a_process_on_its_own(missing: str) -> None:
    rest = {name: value for name, value in TORCHRUN.items() if name != missing}
    assert find_launch(rest) == Launch()
    assert Launch().is_first


@pytest.mark.parametrize(("name", "value"), [("RANK", "4"), ("RANK", "x"), ("LOCAL_RANK", "-1")])
def test_numbers_that_make_no_sense_are_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{name}={value}"):
        find_launch({**TORCHRUN, name: value})
