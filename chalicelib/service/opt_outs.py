"""Opting out: a phone that says STOP gets no more texts of ours until it says START."""

from chalicelib.domain.opting import Wish
from chalicelib.domain.ports import Chance, Clock, Entry, Journal
from chalicelib.domain.standing import Address, phone_number
from chalicelib.domain.suppression import Cause, Suppression, Suppressions
from chalicelib.service.writing import insist


class OptOuts:
    """The use case behind what a phone texts us. Twilio tells it once, so what fails is tried again at once."""

    def __init__(self, suppressions: Suppressions, *, clock: Clock, chance: Chance, journal: Journal) -> None:
        self._suppressions = suppressions
        self._clock = clock
        self._chance = chance
        self._journal = journal

    def hear(self, phone: str, wish: Wish) -> None:
        """Do as a phone wants; one that is no number in E.164 gets no texts anyway.

        Raises StoreRefused or StoreUnsure: then nobody can tell.
        """
        try:
            address = phone_number(phone)
        except ValueError:
            return
        (self._stop if wish is Wish.STOP else self._start)(address)

    def _stop(self, address: Address) -> None:
        suppression = Suppression(address, Cause.OPTED_OUT, self._clock.now(), detail=Wish.STOP)
        if insist(lambda: self._suppressions.add(suppression)):
            self._journal.note("opted_out", suppression=address.id)

    def _start(self, address: Address) -> None:
        """Lift what a STOP has suppressed; what an operator or a vendor has, stays."""
        entry_id = self._chance.entry_id()

        def lift() -> bool:
            standing = self._suppressions.load(address)
            if standing is None or standing.cause is not Cause.OPTED_OUT:
                return False
            return self._suppressions.lift(standing, self._entry(entry_id, standing))

        if insist(lift):
            self._journal.note("opted_in", suppression=address.id)

    def _entry(self, entry_id: str, standing: Suppression) -> Entry:
        return Entry(
            id=entry_id,
            at=self._clock.now(),
            actor="twilio",
            action="lift_suppression",
            subject=f"suppression/{standing.address.id}",
            venue_id=None,
            reason="The phone said START.",
            before=standing.cause,
            after=None,
        )
