"""The suppressed addresses as an administrator sees and lifts them; each lift is one write with its entry."""

from collections.abc import Mapping
from typing import Any

from chalicelib.domain.errors import InvalidRequest, NotFound, Problem, StoreRefused, StoreUnsure
from chalicelib.domain.ports import Chance, Clock, Journal
from chalicelib.domain.standing import Address, Channel, mail_address, phone_number, read_address
from chalicelib.domain.suppression import Place, Suppression, Suppressions, lifted
from chalicelib.service.intake import Schema
from chalicelib.service.principal import Principal, only_admin
from chalicelib.service.problems import refuse
from chalicelib.service.read import moment
from chalicelib.service.schedule_intake import REASON
from chalicelib.service.writing import TRIES

FILTERS: Mapping[str, Mapping[str, Any]] = {
    "channel": {"enum": [channel.value for channel in Channel]},
    "address": {
        "type": "string",
        "minLength": 1,
        "maxLength": 254,
        "description": "a mail address, a phone number in E.164, or the id of a suppression",
    },
}
LIFT: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["reason"],
    "properties": {"reason": REASON},
}
NO_SUCH = "There is no such suppression."
DOING = "see or lift suppressions"


class LookAfterSuppressions:
    """The use cases behind /v1/suppressions."""

    def __init__(self, suppressions: Suppressions, *, clock: Clock, chance: Chance, journal: Journal) -> None:
        self._suppressions = suppressions
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._asked, self._lift = Schema({"type": "object", "properties": FILTERS}), Schema(LIFT)

    def page(
        self, asked: Mapping[str, str], principal: Principal, *, after: Place | None, limit: int
    ) -> tuple[list[Suppression], Place | None]:
        """Return a page, the latest first, and the place to go on after; with an address that one alone.

        Without a channel it is mail's. Raises Forbidden, InvalidRequest or StoreRefused.
        """
        only_admin(principal, DOING)
        refuse(self._asked.problems({name: asked[name] for name in FILTERS if name in asked}))
        if "address" in asked:
            found = self._suppressions.load(_read(asked["address"], "address"))
            wanted = found is not None and asked.get("channel") in (None, found.address.channel)
            return [found] if found is not None and wanted else [], None
        channel = Channel(asked.get("channel", Channel.EMAIL))
        rows = self._suppressions.page(channel, after=after, limit=limit + 1)
        if len(rows) <= limit:
            return rows, None
        last = rows[limit - 1]
        return rows[:limit], Place(last.since, last.address)

    def lift(self, suppression_id: str, body: Mapping[str, Any], principal: Principal) -> Suppression:
        """Let things be sent to an address again, and return what was lifted.

        Raises Forbidden, InvalidRequest, NotFound, StoreRefused or StoreUnsure.
        """
        only_admin(principal, DOING)
        refuse(self._lift.problems(body))
        address, entry_id = _address_of(suppression_id), self._chance.entry_id()
        lost: Suppression | None = None  # what we lifted, if the reply was lost
        for _ in range(TRIES):
            standing = self._suppressions.load(address)
            if standing is None and lost is not None:
                return lost
            if standing is None:
                raise NotFound(NO_SUCH)
            now, reason = self._clock.now(), body["reason"]
            entry = lifted(standing, entry_id=entry_id, at=now, actor=principal.sub, reason=reason)
            try:
                if self._suppressions.lift(standing, entry):
                    self._journal.note("lift_suppression", suppression=address.id, actor=principal.sub)
                    return standing
            except StoreUnsure:
                lost = standing
        raise StoreUnsure if lost is not None else StoreRefused


def _address_of(suppression_id: str) -> Address:
    try:
        return read_address(suppression_id)
    except ValueError:
        raise NotFound(NO_SUCH) from None


def _read(text: str, field: str) -> Address:
    """Return the address that an operator names in whichever way."""
    if "@" in text:
        return mail_address(text)
    for read in (read_address, phone_number):
        try:
            return read(text)
        except ValueError:
            continue
    raise InvalidRequest([Problem(field, f"Send this: {FILTERS['address']['description']}.")])


def row(suppression: Suppression) -> dict[str, Any]:
    """Return a suppression as operators see it; nobody can tell the address from it."""
    return {
        "id": suppression.address.id,
        "channel": suppression.address.channel,
        "cause": suppression.cause,
        "since": moment(suppression.since),
        "detail": suppression.detail,
        "jobId": suppression.job_id,
    }
