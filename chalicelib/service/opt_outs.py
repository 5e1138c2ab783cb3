"""Opting out: a phone that says STOP gets no more texts of ours until it says START."""

from chalicelib.domain.opting import Wish
from chalicelib.domain.ports import Chance, Clock, Journal
from chalicelib.domain.standing import Address, phone_number
from chalicelib.domain.suppression import Cause, Suppression, Suppressions, lifted
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
            now, reason = self._clock.now(), "The phone said START."
            entry = lifted(standing, entry_id=entry_id, at=now, actor="twilio", reason=reason)
            return self._suppressions.lift(standing, entry)

        if insist(lift):
            self._journal.note("opted_in", suppression=address.id)
