"""Evolution on a cheap model of every objective, so that few points have to be evaluated.

The model is ridge regression on the values of the knobs, singly and in pairs, in its kernel form,
which also says how unsure it is. How much pairs and penalty weigh is chosen by marginal likelihood
(Rasmussen and Williams, Gaussian Processes, 2006, eq. 5.8). Candidates evolve on the models'
optimism, the prediction less its standard error; asked for are those that together would enlarge
the front most.

Legend: N trials, C candidates, K knobs, F features, M losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detkit.search.strategies.discrete_space import DiscreteSpace, Floats, Rows
from detkit.search.strategies.evolution import breed, survivors
from detkit.search.strategies.hypervolume import MAX_LOSSES, hypervolume
from detkit.search.strategies.pareto import nondominated
from detkit.search.strategies.searcher import History, StrategySetup

INITIAL = 32  # points of a Latin hypercube to fit the first model on
OPTIMISM = 1.0  # standard errors
PARENTS = 200
GENERATIONS = 5
NUM_OFFSPRING = 600  # candidates of a generation
POOL = 60  # candidates among which the picks are made
MARGIN = 0.3  # of the front's extent, to the reference point of its volume
MAX_FITTED = 800  # trials a model is fitted on: the front and the latest
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
PAIR_WEIGHTS = (0.1, 0.3, 1.0, 3.0)
MATCH_WEIGHT = 0.3  # of single values that agree, beside 1 for positions along the knobs
BEND = 0.5  # of squared positions: gains that level off
ONE_RANDOM_IN = 12


class Surrogate:
    """Model-guided evolution; the default searcher."""

    def __init__(self, setup: StrategySetup) -> None:
        self.seed = setup.seed

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        space = history.space
        if history.usable.sum() < INITIAL:
            return space.initial_design(INITIAL, count, self.seed, rng)
        candidates, optimistic_cm = evolve(history, fit_all(history), rng)
        seen = set(map(tuple, history.rows_nk.tolist()))
        new = np.array([tuple(row) not in seen for row in candidates.tolist()])
        feasible_nm = history.scaled_nm[history.feasible]
        picked = candidates[new]  # the nearest to the limits first, until one keeps them
        if len(feasible_nm):
            picked = best_picks(
                picked, optimistic_cm[new], feasible_nm[nondominated(feasible_nm)], count
            )
        explorers = space.sample(int(rng.random() * ONE_RANDOM_IN < count), rng)
        kept = max(count - len(explorers), 0)
        return np.concatenate([picked[:kept], explorers, picked[kept:]])


# --- the model -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Features:
    """What the kernel compares: one-hot values (N, E) and positions along the knobs (N, 2K)."""

    values: Floats
    positions: Floats

    def of(self, rows: Rows) -> Features:
        return Features(self.values[rows], self.positions[rows])

    def kernel(self, other: Features, pair_weight: float) -> Floats:
        """The kernel (N, N'): a constant, single knobs, and pairs of knobs that both agree."""
        match = self.values @ other.values.T
        lines = self.positions @ other.positions.T
        kernel: Floats = 1.0 + lines + MATCH_WEIGHT * match + pair_weight * match**2
        return kernel

    def own_kernel(self, pair_weight: float) -> Floats:
        """The diagonal (N,) of the kernel with itself; every knob agrees."""
        lines = (self.positions**2).sum(axis=1)
        diagonal: Floats = 1.0 + lines + MATCH_WEIGHT + pair_weight
        return diagonal


def features(space: DiscreteSpace, rows_nk: Rows) -> Features:
    position = rows_nk / np.maximum(space.counts - 1, 1) * 2 - 1
    positions = np.concatenate([position, BEND * position**2], axis=1)
    scale = np.sqrt(len(space.counts))
    return Features(space.one_hot(rows_nk) / scale, positions / scale)


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Kernel ridge on centred losses, by the eigenvectors of its kernel."""

    inputs: Features
    pair_weight: float
    vectors_nn: Floats
    inverse_n: Floats  # 1 / (eigenvalue + penalty)
    rotated_n: Floats  # eigenvectors' share of the centred losses
    mean: float

    @property
    def variance(self) -> float:
        return float((self.rotated_n**2 * self.inverse_n).sum()) / max(len(self.inverse_n), 1)

    @property
    def cost(self) -> float:
        """Minus twice the log likelihood of the losses, the variance at its best."""
        count = len(self.inverse_n)
        return count * float(np.log(self.variance + 1e-30)) - float(np.log(self.inverse_n).sum())

    def optimistic(self, candidates: Features) -> Floats:
        """Predicted losses (C,) less `OPTIMISM` standard errors."""
        kernel = candidates.kernel(self.inputs, self.pair_weight) @ self.vectors_nn
        mean = self.mean + kernel @ (self.inverse_n * self.rotated_n)
        unsure = candidates.own_kernel(self.pair_weight) - kernel**2 @ self.inverse_n
        return mean - OPTIMISM * np.sqrt(np.maximum(unsure, 0.0) * self.variance)


@dataclass(frozen=True)
class Spectrum:
    """A kernel of `inputs` with themselves, by its eigenvectors."""

    inputs: Features
    pair_weight: float
    eigenvalues_n: Floats
    vectors_nn: Floats


def spectra(inputs: Features) -> list[Spectrum]:
    """Decomposes one kernel for each of `PAIR_WEIGHTS`: most of a fit's time, for all losses."""
    kernels = [(weight, inputs.kernel(inputs, weight)) for weight in PAIR_WEIGHTS]
    return [Spectrum(inputs, weight, *np.linalg.eigh(kernel)) for weight, kernel in kernels]


def fit(known: list[Spectrum], losses_n: Floats) -> Ridge:
    """Fits the likeliest ridge of all weights and penalties; it predicts 0 without any loss."""
    mean = float(losses_n.mean()) if len(losses_n) else 0.0
    found = []
    for spectrum in known:
        for penalty in PENALTIES:
            ridge = Ridge(
                inputs=spectrum.inputs,
                pair_weight=spectrum.pair_weight,
                vectors_nn=spectrum.vectors_nn,
                inverse_n=1 / (np.maximum(spectrum.eigenvalues_n, 0) + penalty),
                rotated_n=spectrum.vectors_nn.T @ (losses_n - mean),
                mean=mean,
            )
            found.append(ridge)
    return min(found, key=lambda ridge: ridge.cost)


def fit_all(history: History) -> list[Ridge]:
    """Fits one model to each loss, and one to the violation where limits are passed."""
    at = np.flatnonzero(history.usable)
    if len(at) > MAX_FITTED:
        front = at[nondominated(history.scaled_nm[at])][: MAX_FITTED // 2]
        at = np.union1d(front, at[len(front) - MAX_FITTED :])
    columns = [
        (at[known], scaled[at[known]])
        for scaled, known in zip(
            history.scaled_nm.T, np.isfinite(history.losses_nm[at]).T, strict=True
        )
    ]
    if history.violations_n[at].any():
        columns.append((at, history.violations_n[at]))
    inputs = features(history.space, history.rows_nk)
    distinct = {rows.tobytes(): rows for rows, _ in columns}
    shared = {key: spectra(inputs.of(rows)) for key, rows in distinct.items()}
    return [fit(shared[rows.tobytes()], column) for rows, column in columns]


# --- candidates ----------------------------------------------------------------------------------


def evolve(history: History, models: list[Ridge], rng: np.random.Generator) -> tuple[Rows, Floats]:
    """Evolves candidates (C, K) on the models, best first; with their optimistic losses (C, M)."""
    space, num_losses = history.space, history.losses_nm.shape[1]

    def predict(rows: Rows) -> Floats:
        inputs = features(space, rows)
        return np.stack([model.optimistic(inputs) for model in models], axis=1)

    def best(predicted: Floats, count: int) -> Rows:
        violations = np.maximum(predicted[:, num_losses:].sum(axis=1), 0.0)
        return survivors(predicted[:, :num_losses], violations, count)

    started = np.concatenate([history.rows_nk[history.usable], space.sample(NUM_OFFSPRING, rng)])
    rows = np.unique(started, axis=0)
    predicted = predict(rows)
    for _ in range(GENERATIONS):
        parents = best(predicted, PARENTS)
        offspring = breed(space, rows[parents], predicted[parents, :num_losses], NUM_OFFSPRING, rng)
        rows, first = np.unique(np.concatenate([rows, offspring]), axis=0, return_index=True)
        predicted = np.concatenate([predicted, predict(offspring)])[first]
    order = best(predicted, len(rows))
    return rows[order], predicted[order, :num_losses]


def best_picks(candidates: Rows, optimistic_cm: Floats, front_nm: Floats, count: int) -> Rows:
    """Picks `count` candidates that together add most to the hypervolume of the front.

    One after the other, each counted as found before the next; then the rest of the pool.
    """
    pool, losses = candidates[:POOL], optimistic_cm[:POOL]
    if losses.shape[1] > MAX_LOSSES or not len(pool):
        return pool
    reached = np.concatenate([front_nm, losses])
    reference = reached.max(axis=0) + MARGIN * (np.ptp(reached, axis=0) + 1e-9)
    reached, chosen = front_nm, list[int]()
    while len(chosen) < min(count, len(pool)):
        volumes = [
            -1.0 if i in chosen else hypervolume(np.vstack([reached, loss]), reference)
            for i, loss in enumerate(losses)
        ]
        chosen.append(int(np.argmax(volumes)))
        reached = np.vstack([reached, losses[chosen[-1]]])
    return pool[chosen + [i for i in range(len(pool)) if i not in chosen]]
