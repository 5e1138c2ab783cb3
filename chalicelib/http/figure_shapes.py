"""The shapes of what is recounted, which several routes tell."""

from chalicelib.domain.job import State
from chalicelib.http.operations import COUNT, MOMENT, TEXT, Shape, listed, nullable, record
from chalicelib.service.figures import RECOUNTED

_SAYS = {State.FAILED: {"description": "Dead letters; what was refused is none."}}
STANDING: Shape = record({state.value: {**nullable(COUNT), **_SAYS.get(state, {})} for state in RECOUNTED})
MONEY_WAITING: Shape = {
    **nullable(listed(record({"currency": TEXT, "amount": COUNT}))),
    "description": (
        "What open jobs of the money queue are about, in minor units, for administrators; null before it was "
        "counted. Of payloads above 1 KB it is not known."
    ),
}
COUNTED_AT: Shape = {
    **nullable(MOMENT),
    "description": "From when these counts are; consumers have moved them since.",
}
