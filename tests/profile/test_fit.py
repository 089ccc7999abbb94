from __future__ import annotations

import numpy as np
import pytest

from detkit.profile.features import features_of
from detkit.profile.fit import fit_latency, ridge, spearman
from detkit.profile.predict import predict_ms
from detkit.profile.sampling import draw
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SPACES

TINY = SPACES["tiny"].for_task(3, (64, 64))


@pytest.fixture(scope="module")
def networks() -> list[ArchSpec]:
    rng = np.random.default_rng(0)
    drawn = [draw(TINY, size, rng) for size in rng.permutation(np.linspace(0, 1, 48))]
    return [*{spec.digest: spec for spec in drawn}.values()][:24]


def true_ms(spec: ArchSpec) -> float:
    """A machine whose multiply-adds cost more where maps are small, and that waits 0.2 ms."""
    found = features_of(spec)
    return 0.2 + 40 * found["macs"] + 60 * found["macs_wide_5"] + 0.5 * found["moved"]


def test_additive_machine_is_predicted_from_some_networks(networks: list[ArchSpec]) -> None:
    known, held_out = networks[:16], networks[16:]
    fit = fit_latency([features_of(spec) for spec in known], [true_ms(spec) for spec in known])
    errors = [abs(predict_ms(fit, spec) / true_ms(spec) - 1) for spec in held_out]
    assert np.mean(errors) < 0.02
    assert fit.mape < 0.02
    assert fit.spearman > 0.98
    assert fit.samples == 16


def test_error_left_out_is_that_of_a_fit_without_the_sample() -> None:
    rng = np.random.default_rng(0)
    shares, held = rng.random((12, 5)), np.array([0.01, 1, 1, 1, 1])
    left_out = ridge(shares, held, 0.3).left_out
    for out in range(12):
        without = ridge(np.delete(shares, out, axis=0), held, 0.3)
        assert shares[out] @ without.weights == pytest.approx(left_out[out])


def test_noise_is_told_by_the_error(networks: list[ArchSpec]) -> None:
    rng = np.random.default_rng(1)
    features = [features_of(spec) for spec in networks]
    errors = []
    for noise in (0.0, 0.05, 0.2):
        times = [true_ms(spec) * float(np.exp(rng.normal(0, noise))) for spec in networks]
        errors.append(fit_latency(features, times).mape)
    assert errors == sorted(errors)
    assert 0.1 < errors[-1] < 0.4


def test_spearman_by_hand() -> None:
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 40])) == pytest.approx(1)
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, 1])) == pytest.approx(-1)
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 4])) == pytest.approx(
        0.9487, abs=1e-4
    )
    assert spearman(np.array([1.0, 1]), np.array([1.0, 2])) == 0
