"""What the processes of a run tell each other."""

from __future__ import annotations

import time

import pytest
import torch

from detkit.core.errors import BackendError, TrainingError, UsageError
from detkit.train import ranks
from fixtures.several_ranks import in_ranks, torchrun_environment


def test_what_every_process_brings_reaches_the_others() -> None:
    def work() -> tuple[list[list[float]], list[int], str, float, list[float]]:
        mine = ranks.rank() + 1.0
        moved = [torch.tensor([mine]), torch.tensor([[10 * mine]])]
        ranks.average(moved)
        return (
            ranks.gather_rows(torch.tensor([mine, -mine])).tolist(),
            ranks.to_first(ranks.rank()),
            ranks.from_first("figures" if ranks.is_first() else None),
            float(ranks.normalizer(torch.tensor(mine))),
            [float(tensor) for tensor in moved],
        )

    first, second = in_ranks(2, work)
    assert first == ([[1, -1], [2, -2]], [0, 1], "figures", 1.5, [1.5, 15])
    assert second == ([[1, -1], [2, -2]], [1], "figures", 1.5, [1.5, 15])


def test_few_soft_targets_count_as_one_of_the_whole_batch() -> None:
    assert float(ranks.normalizer(torch.tensor(0.2))) == 1
    shares = in_ranks(2, lambda: float(ranks.normalizer(torch.tensor(0.2))))
    assert shares == [0.5, 0.5]


def test_the_first_works_before_the_others() -> None:
    def work() -> float:
        def look() -> float:
            if ranks.is_first():
                time.sleep(0.2)
            return time.monotonic()

        return ranks.first_before_others(look)

    first, second = in_ranks(2, work)
    assert first < second


def test_of_a_failure_the_first_to_fail_speaks_alone() -> None:
    spoke: list[int] = []

    def work() -> tuple[str, list[int]]:
        try:
            with ranks.joined(lambda: spoke.append(ranks.rank())):
                if not ranks.is_first():
                    raise UsageError("no such image")
                ranks.gather_rows(torch.zeros(1))  # the other does not come
        except (UsageError, SystemExit) as error:
            return f"{type(error).__name__} {error}", spoke
        return "no error", spoke

    assert in_ranks(2, work, meet=False) == [
        ("SystemExit 1", []),
        ("UsageError no such image", [1]),
    ]


def test_a_process_that_waits_for_one_that_failed_ends() -> None:
    def work() -> str:
        try:
            with ranks.joined():
                if ranks.is_first():
                    raise UsageError("that folder is taken")
                ranks.hear_first()
        except (UsageError, SystemExit, TrainingError) as error:
            return type(error).__name__
        return "no error"

    first, other = in_ranks(2, work, meet=False)
    assert first == "UsageError"
    assert other in ("SystemExit", "TrainingError")  # the store may have ended with the first


def test_errors_of_libraries_that_lost_a_process_say_so() -> None:
    lost = ranks.lost_peer(
        RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    )
    assert isinstance(lost, TrainingError)
    assert "--resume" in lost.hint
    bug = RuntimeError("shape mismatch")
    assert ranks.lost_peer(bug) is bug


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.train.ranks.usable_cpus", lambda: 8)
    assert ranks.threads_per_process() == torch.get_num_threads()
    for name, value in torchrun_environment(0, 4, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert ranks.threads_per_process() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert ranks.threads_per_process() == torch.get_num_threads()


def test_a_gpu_is_not_for_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    ranks.check_device(torch.device("cuda", 0))
    monkeypatch.setattr(ranks, "is_shared", lambda: True)
    monkeypatch.setattr(ranks, "world", lambda: 2)
    for name, value in torchrun_environment(1, 2, 1).items():
        monkeypatch.setenv(name, value)
    ranks.check_device(torch.device("cpu"))
    with pytest.raises(UsageError, match="one GPU for 2 processes"):
        ranks.check_device(torch.device("cuda", 0))
    with pytest.raises(BackendError, match="2 processes on a machine of 1 GPUs"):
        ranks.check_device(torch.device("cuda"))
