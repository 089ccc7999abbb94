"""Candidates evaluated on a Ray cluster: its nodes are stateless and may die at any time.

Ray carries tasks and results and says who died; which node takes what is decided in
`search.cluster.scheduling`, so that nothing else of the search runs where latency is measured. What
lives here: nothing but this; what nodes do is in `search.cluster.node`, retries and the journal are
the driver's (`search.study.dispatch`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from detkit.artifact.artifact import versions
from detkit.artifact.writing import write_bytes
from detkit.config import SearchConfig
from detkit.core.errors import BackendError, DetkitError, MeasurementError, UsageError
from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint
from detkit.search.cluster.executor import USER_ERRORS, Outcome, Task, error_line
from detkit.search.cluster.node import (
    TaskResult,
    WorkerInfo,
    measure,
    ping,
    score,
    serialize_weights,
)
from detkit.search.cluster.scheduling import Node, nodes_for, schedule, shared_hosts, total_capacity
from detkit.search.scoring.evaluators import Evaluator, SharingEvaluator
from detkit.search.scoring.latency import timing_setup
from detkit.search.scoring.study_folder import claim_in_study

POLL_SECONDS = 0.5
CONNECT_SECONDS = 5.0
START_HINT = "ray start --head --include-dashboard=false; on other machines, ray start --address"
PING_SECONDS = 60.0  # waited at first for nodes to start a worker; slow ones join later


class RayExecutor:
    """Runs tasks on the nodes of a running cluster, of which this machine is one.

    Raises:
        UsageError: a precision that the engine does not compute in, or no address.
        BackendError: there is no such cluster.
    """

    def __init__(
        self,
        config: SearchConfig,
        out: Path,
        *,
        evaluator: Evaluator,
        log: Callable[[str], None],
    ) -> None:
        self.config, self.setup, self.out, self.log = config, timing_setup(config), out, log
        self.sharing = evaluator if isinstance(evaluator, SharingEvaluator) else None
        self.waiting: list[Task] = []
        self.running: dict[Any, tuple[Task, Node]] = {}  # by the reference to its result
        self.data = config.data if config.evaluator != "proxy" else ""
        self.pings: dict[Any, dict[str, Any]] = {}  # nodes that were pinged, by the reference
        self.workers: dict[str, WorkerInfo | None] = {}  # by node; None where it cannot be used
        self.machine: dict[str, str] = {}  # that measured first
        self.idle_since: float | None = None
        self.restore = contextlib.ExitStack()
        connect(config.ray.address, self.restore)
        self.here = ray.get_runtime_context().get_node_id()
        self._nodes()
        self._poll_workers(seconds=PING_SECONDS)
        nodes = self._nodes()
        names = ", ".join(f"{n.address}{' (latency)' if n.measures else ''}" for n in nodes)
        log(f"ray: {len(nodes)} nodes, {self.slots} candidates at once: {names or 'none'}")
        for host in shared_hosts(nodes):
            log(f"ray: several nodes are on {host}, so latency is timed beside other work there")

    @property
    def slots(self) -> int:
        return self.config.ray.parallel or max(total_capacity(self._nodes()), 1)

    @property
    def fingerprint(self) -> dict[str, str]:
        return self.machine or fingerprint(engine_packages())

    def submit(self, task: Task) -> None:
        self.waiting.append(task)

    def wait(self) -> Outcome | None:
        """See `Executor`.

        Raises:
            BackendError: no node for what is to be done, for too long.
            MeasurementError: latency came from two machines that do not compare.
        """
        self._launch()
        if not self.running:
            self._wait_for_nodes()
            return None
        done, _ = ray.wait(list(self.running), timeout=POLL_SECONDS)
        return self._outcome(done[0]) if done else None

    def close(self) -> None:
        for reference in self.running:
            ray.cancel(reference, force=True)
        self.running.clear()
        ray.shutdown()
        self.restore.close()

    # --- nodes -----------------------------------------------------------------------------------

    def _nodes(self) -> list[Node]:
        """Lists the living nodes that answered a ping and can be used."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        pinged = {node["NodeID"] for node in self.pings.values()}
        for name, node in alive.items():
            if name not in self.workers and name not in pinged:
                self.pings[_remote(ping, name, num_cpus=0).remote(self.data)] = node
        self._poll_workers(seconds=0)
        workers = ((node, self.workers.get(name)) for name, node in alive.items())
        return [self._node(node, worker) for node, worker in workers if worker]

    def _node(self, found: dict[str, Any], worker: WorkerInfo) -> Node:
        resources, wanted = found["Resources"], self.config.ray
        cpus = resources.get("CPU", 0.0)
        capacity = int(cpus // wanted.cpus)
        if wanted.gpus:
            capacity = min(capacity, int(resources.get("GPU", 0.0) / wanted.gpus))
        here = found["NodeID"] == self.here
        return Node(
            id=found["NodeID"],
            address=found["NodeManagerAddress"],
            host=found["NodeManagerHostname"],
            cpus=cpus,
            measures=bool(resources.get(wanted.resource)) if wanted.resource else here,
            capacity=capacity if worker.has_data else 0,
        )

    def _poll_workers(self, *, seconds: float) -> None:
        """Takes the answers to pings; waits that many seconds for all of them."""
        if not self.pings:
            return
        answered, _ = ray.wait(list(self.pings), num_returns=len(self.pings), timeout=seconds)
        for reference in answered:
            node = self.pings.pop(reference)
            self.workers[node["NodeID"]] = self._worker_info(reference, node["NodeManagerAddress"])

    def _worker_info(self, reference: Any, address: str) -> WorkerInfo | None:
        """Reads the answer of a node; None, with one line in the log, where it cannot be used."""
        try:
            worker: WorkerInfo = ray.get(reference)
        except RayError as error:
            cause = getattr(error, "cause", None) or error
            self.log(f"ray: node {address} is left out: {error_line(cause)}")
            return None
        if worker.version != versions()["detkit"]:
            self.log(f"ray: node {address} is left out: it has detkit {worker.version}")
            return None
        if not worker.has_data:
            self.log(
                f"ray: node {address} trains nothing: it has no folder {self.data}"
                " (the data must be at the same path on every node)"
            )
        return worker

    def _wait_for_nodes(self) -> None:
        """Waits a moment for a node; raises BackendError after `ray.wait_minutes` without one."""
        lacking = [task for task in self.waiting if not nodes_for(task, self._nodes())]
        if not lacking:
            self.idle_since = None
            return
        what = {"measure": "time candidates", "score": "score candidates"}[lacking[0].kind]
        if self.idle_since is None:
            self.idle_since = time.monotonic()
            self.log(f"ray: no node to {what}; waiting for one")
        if time.monotonic() - self.idle_since > self.config.ray.wait_minutes * 60:
            raise BackendError(
                f"no node of the Ray cluster to {what}", hint=self._remedy(lacking[0])
            )
        time.sleep(POLL_SECONDS)

    def _remedy(self, task: Task) -> str:
        name = self.config.ray.resource
        if task.kind == "measure" and name:
            return f"""ray start --address HOST:PORT --resources '{{"{name}": 1}}' on the device"""
        gpus = f" and {self.config.ray.gpus:g} GPUs" if self.config.ray.gpus else ""
        return f"a node with {self.config.ray.cpus} CPUs{gpus} free, detkit and the data"

    # --- tasks -----------------------------------------------------------------------------------

    def _launch(self) -> None:
        for task, node in list(schedule(self.waiting, list(self.running.values()), self._nodes())):
            self.waiting.remove(task)
            self.running[self._start(task, node)] = (task, node)
            self.idle_since = None

    def _start(self, task: Task, node: Node) -> Any:
        """Starts a task on a node; a measurement takes the whole node, whoever else wants it."""
        wanted = self.config.ray
        if task.kind == "measure":
            whole = {wanted.resource: 1} if wanted.resource else {}
            remote = _remote(measure, node.id, num_cpus=node.cpus, resources=whole)
            return remote.remote(self.setup, task.spec)
        remote = _remote(score, node.id, num_cpus=wanted.cpus, num_gpus=wanted.gpus)
        return remote.remote(self.config, self._shared_weights, task.spec, task.cost)

    @functools.cached_property
    def _shared_weights(self) -> Any:
        """Puts the shared weights into the cluster once, as a reference for all tasks."""
        return ray.put(serialize_weights(self.sharing)) if self.sharing else None

    def _outcome(self, reference: Any) -> Outcome:
        task, node = self.running.pop(reference)
        try:
            result: TaskResult = ray.get(reference)
        except RayTaskError as error:
            cause = error.cause or error
            if isinstance(cause, USER_ERRORS):
                raise _on_node(node, cause) from error
            return Outcome(task=task, figures={}, failure=f"{node.address}: {error_line(cause)}")
        except RayError as error:  # the worker died, or its node
            if isinstance(error, NodeDiedError | TaskUnschedulableError):
                self.workers[node.id] = None  # before the cluster has noticed it
            failure = f"{node.address}: {type(error).__name__}"
            return Outcome(task=task, figures={}, failure=failure, lost=True)
        self._keep(task, node, result)
        return Outcome(task=task, figures=result.figures, failure=result.failure)

    def _keep(self, task: Task, node: Node, result: TaskResult) -> None:
        if result.checkpoint:
            name = f"runs/{task.spec.digest}/best.safetensors"
            claim_in_study(self.out, name)
            write_bytes(self.out / name, result.checkpoint)
        if result.machine:
            self.machine = self.machine or result.machine
            if result.machine["id"] != self.machine["id"]:
                raise MeasurementError(
                    f"node {node.address} is another machine than the one that measured before",
                    hint="give each kind of device a resource of its own: --set ray.resource=NAME",
                )


def connect(address: str, restore: contextlib.ExitStack) -> None:
    """Joins the cluster; `restore` undoes what Ray changes in this process.

    Ray prints what it has to say of dying workers to stdout, which is for data, and takes SIGTERM.

    Raises:
        UsageError: no HOST:PORT.
        BackendError: no cluster answers.
    """
    if address != "auto":
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    restore.enter_context(contextlib.redirect_stdout(sys.stderr))
    try:
        with _same_handler(signal.SIGTERM):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        restore.close()
        raise BackendError(f"no Ray cluster: {error_line(error)}", hint=START_HINT) from error


def _check_reachable(address: str) -> None:
    """Raises unless the address answers soon; Ray itself would try for two minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and "://" not in address):
        raise UsageError(f"--ray {address}: HOST:PORT of a running cluster, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise BackendError(f"no Ray cluster at {address}: {error}", hint=START_HINT) from error


@contextlib.contextmanager
def _same_handler(number: signal.Signals) -> Iterator[None]:
    """Puts the handler of a signal back; only the main thread can, or can lose it."""
    handler = signal.getsignal(number)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


def _remote(function: Callable[..., Any], node: str, **options: Any) -> Any:
    """Binds `function` to one node, tried once: retries are the driver's."""
    only_there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(max_retries=0, scheduling_strategy=only_there, **options)


def _on_node(node: Node, cause: Exception) -> DetkitError:
    """Makes an error of the user's say which node it is on."""
    kind = type(cause) if isinstance(cause, DetkitError) else DetkitError
    return kind(f"node {node.address}: {cause}", hint=getattr(cause, "hint", ""))
