"""Erasures in the archive: each goes through it once it is done with the jobs in the table."""

from datetime import datetime

from chalicelib.domain.archive import Cleaning, Damaged
from chalicelib.domain.errors import StoreError
from chalicelib.domain.operation import Action, Operation, OperationId, OperationStore, Status
from chalicelib.domain.ports import Clock, Journal
from chalicelib.service.archived import Archived, Person, Who

PAGE = 50
DONE, UNDER_WAY = "erasures", "erasure"  # the last erasure that is over; where in the archive the next one is


class Erasures:
    """What the cleanup does about erasures, beside retention."""

    def __init__(
        self,
        *,
        operations: OperationStore,
        archived: Archived,
        cleaning: Cleaning,
        clock: Clock,
        journal: Journal,
    ) -> None:
        self._operations = operations
        self._archived = archived
        self._cleaning = cleaning
        self._clock = clock
        self._journal = journal

    def run(self, *, until: datetime) -> int:
        """Carry out the erasures that wait, the earliest first, and say how many are over.

        One whose jobs are not done yet is waited for, and so are those behind it.
        """
        over = 0
        try:
            for operation in reversed(self._waiting(self._cleaning.place(DONE))):
                if operation.status is Status.RUNNING or self._clock.now() >= until:
                    break
                if operation.status is not Status.STOPPED and not self._carry_out(operation, until):
                    break
                self._cleaning.set_place(DONE, operation.id)
                over += 1
        except (StoreError, Damaged) as error:
            self._journal.alarm("archive_erasure_failed", error=type(error).__name__, why=str(error))
        return over

    def _waiting(self, done: str | None) -> list[Operation]:
        """Return the erasures that came after one, the latest first."""
        found: list[Operation] = []
        below: OperationId | None = None
        while True:
            page, below = self._operations.page(below=below, limit=PAGE)
            newer = [each for each in page if done is None or each.id > done]
            found += [each for each in newer if each.action is Action.ERASE and each.acts]
            if below is None or len(newer) < len(page):
                return found

    def _carry_out(self, operation: Operation, until: datetime) -> bool:
        """Go on with one erasure; say whether it is over."""
        asked = operation.asked
        person = Person(asked.get("userId"), asked.get("venueId"), asked.get("address"), operation.id)
        name, _, at = (self._cleaning.place(UNDER_WAY) or "").partition(" ")
        who = Who(operation.starter.sub, f"{operation.reason} ({operation.id})")
        after = (at or None) if name == operation.id else None
        erased = self._archived.erase(person, who, after=after, until=until)
        if erased.left_at is not None:
            self._cleaning.set_place(UNDER_WAY, f"{operation.id} {erased.left_at}")
            return False
        self._cleaning.set_place(UNDER_WAY, None)
        return True
