"""The shapes of stops, queues and limits: what is sent is what the use cases validate."""

from chalicelib.domain.controls import Scope
from chalicelib.http.operations import MOMENT, TEXT, Shape, Shapes, listed, nullable, record, ref
from chalicelib.service.control import NAMED, PAUSE, RESUME, STOP

CHOICES = [{"required": [name]} for name in NAMED]
STANDING: Shape = record(
    {
        "scope": {"type": "string", "enum": [scope.value for scope in Scope]},
        "value": {**nullable(TEXT), "description": "The tier, provider, venue or type; null for all."},
        "reason": TEXT,
        "owner": {**TEXT, "description": "Who stopped it last."},
        "since": MOMENT,
        "until": nullable(MOMENT),
    }
)
STATE: Shapes = {
    "queue": TEXT,
    "state": {"type": "string", "enum": ["open", "paused"]},
    "stops": listed(ref("Stop")),
}
SCHEMAS: Shapes = {
    "Pause": {**PAUSE, "examples": [{"reason": "The bank is down", "until": "2099-03-01T12:00:00Z"}]},
    "EmergencyStop": {**STOP, "oneOf": CHOICES, "examples": [{"provider": "stripe", "reason": "Chargebacks"}]},
    "EndStop": {**RESUME, "oneOf": CHOICES, "examples": [{"provider": "stripe", "reason": "Mended"}]},
    "Stop": STANDING,
    "Stops": record({"stops": listed(ref("Stop"))}),
    "QueueState": record(STATE),
}
