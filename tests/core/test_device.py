"""Names of devices, and what is said to those who call them otherwise."""

from __future__ import annotations

import pytest

from detkit.core.device import check_device_name, cuda_index
from detkit.core.errors import BackendError


@pytest.mark.parametrize(
    ("name", "index"),
    [("auto", None), ("cpu", None), ("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)],
)
def test_names_of_devices_and_their_number(name: str, index: int | None) -> None:
    check_device_name(name)
    assert cuda_index(name) == index


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("0", "--device cuda:0"),
        ("3", "--device cuda:3"),
        ("gpu", "--device cuda;"),
        ("GPU:1", "--device cuda:1"),
        ("cuda0", "--device cuda:0"),
        ("0,1", "--device cuda:0"),
        ("CPU", "--device cpu"),
        ("mps", "--device cpu"),
        ("", "cuda:N"),
        ("cuda:", "cuda:N"),
        ("cuda:-1", "cuda:N"),
        ("cuda:1x", "cuda:N"),
        ("cuda:١", "cuda:N"),  # noqa: RUF001
        ("cpu\n", "cuda:N"),
        ("the toaster", "cuda:N"),
    ],
)
def test_other_names_are_refused_with_the_one_that_is_meant(name: str, meant: str) -> None:
    with pytest.raises(BackendError, match="no device") as raised:
        check_device_name(name)
    assert meant in raised.value.hint
