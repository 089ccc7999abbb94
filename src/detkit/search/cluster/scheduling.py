"""Which node of a cluster takes which task: latency is measured where nothing else of ours runs.

Scores are computed on nodes that do not measure. Where there is no other node, they are computed on
the measuring ones, which then take turns: no score begins while a measurement waits, and none is
under way while one runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detkit.search.cluster.executor import Task


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the cluster. `capacity` is how many scores it can compute at once."""

    id: str
    address: str
    host: str
    cpus: float
    measures: bool
    capacity: int


def schedule(
    waiting: Sequence[Task], running: Sequence[tuple[Task, Node]], nodes: Sequence[Node]
) -> Iterator[tuple[Task, Node]]:
    """Yields the tasks that can begin now, each with its node; measurements first."""
    taken = list(running)
    queue = sorted(waiting, key=lambda task: (task.kind != "measure", task.number))
    for task in queue:
        fit = [node for node in nodes_for(task, nodes) if _is_free(task, node, taken, queue)]
        if fit:
            node = min(fit, key=lambda node: _count(node, taken) / max(node.capacity, 1))
            taken.append((task, node))
            yield task, node


def nodes_for(task: Task, nodes: Sequence[Node]) -> list[Node]:
    """Lists the nodes that may take a task of this kind, busy or not."""
    if task.kind == "measure":
        return [node for node in nodes if node.measures]
    able = [node for node in nodes if node.capacity]
    return [node for node in able if not node.measures] or able


def total_capacity(nodes: Sequence[Node]) -> int:
    """Counts the candidates that all nodes together can work on."""
    shared = all(node.measures for node in nodes if node.capacity)
    return sum(node.capacity if shared or not node.measures else 1 for node in nodes)


def shared_hosts(nodes: Sequence[Node]) -> list[str]:
    """Names of machines that measure and that also are another node."""
    measuring = {node.host for node in nodes if node.measures}
    return sorted(host for host in measuring if sum(node.host == host for node in nodes) > 1)


def _is_free(
    task: Task, node: Node, taken: Sequence[tuple[Task, Node]], queue: Sequence[Task]
) -> bool:
    here = [other for other, where in taken if where.id == node.id]
    if task.kind == "measure":
        return not here
    begun = {other.number for other, _ in taken}
    must_wait = any(t.kind == "measure" and t.number not in begun for t in queue)
    measuring = any(other.kind == "measure" for other in here)
    return len(here) < node.capacity and not (node.measures and (must_wait or measuring))


def _count(node: Node, taken: Sequence[tuple[Task, Node]]) -> int:
    return sum(where.id == node.id for _, where in taken)
