"""The operations in a dictionary; the contract suite holds it to what the real store does."""

import threading
from datetime import datetime

from chalicelib.domain.operation import Operation, OperationId
from chalicelib.domain.ports import Entry


class MemoryOperationStore:
    """One lock around each call; audit entries go to the list that is given."""

    def __init__(self, audit: list[Entry] | None = None) -> None:
        self.operations: dict[OperationId, Operation] = {}
        self.audit = [] if audit is None else audit
        self._lock = threading.RLock()

    def add(self, operation: Operation, entry: Entry) -> bool:
        with self._lock:
            if operation.id in self.operations:
                return False
            self.operations[operation.id] = operation
            self.audit.append(entry)
            return True

    def load(self, operation_id: OperationId) -> Operation | None:
        with self._lock:
            return self.operations.get(operation_id)

    def swap(self, before: Operation, after: Operation, entry: Entry | None = None) -> bool:
        with self._lock:
            standing = self.operations.get(before.id)
            if standing is None or standing.revision != before.revision:
                return False
            self.operations[before.id] = after
            self.audit += [] if entry is None else [entry]
            return True

    def page(self, *, below: OperationId | None, limit: int) -> tuple[list[Operation], OperationId | None]:
        with self._lock:
            ids = sorted((each for each in self.operations if below is None or each < below), reverse=True)
            found = [self.operations[each] for each in ids[:limit]]
        return found, found[-1].id if len(ids) > limit else None

    def due(self, *, until: datetime, limit: int) -> list[OperationId]:
        with self._lock:
            waiting = sorted(
                (each.wakes_at, each.id)
                for each in self.operations.values()
                if each.wakes_at is not None and each.wakes_at <= until
            )
        return [operation_id for _, operation_id in waiting[:limit]]
