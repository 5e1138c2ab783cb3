"""The shapes of schedules: what is sent is what `service/schedule_intake.py` validates."""

from chalicelib.domain.schedule import Missed
from chalicelib.http.operations import COUNT, MOMENT, TEXT, Shape, Shapes, listed, nullable, record, ref
from chalicelib.service.schedule_intake import CHANGE, SCHEDULE, WHY

EXAMPLE = {
    "name": "Doors open tomorrow",
    "cronExpression": "0 9 * * *",
    "timeZone": "Europe/Berlin",
    "job": {
        "type": "email.send",
        "data": {
            "to": "staff@venue.example",
            "template": "order_confirmation",
            "data": {"orderId": "order-1", "eventName": "Night", "total": "45.00 EUR"},
        },
        "venueId": "venue-1",
    },
    "active": True,
    "missed": "once",
}
JOB = {"type": TEXT, "options": {"type": "object"}, "venueId": TEXT}
CALLBACKS: dict[str, Shape] = {"callbackUrl": TEXT, "callbackEndpointId": TEXT}
LAST_RUN: Shape = record({"at": MOMENT, "jobId": nullable(TEXT)}, {"error": TEXT})
ROW: dict[str, Shape] = {
    "id": TEXT,
    "name": TEXT,
    "cronExpression": TEXT,
    "timeZone": TEXT,
    "job": record(JOB, CALLBACKS),
    "active": {"type": "boolean"},
    "missed": {"type": "string", "enum": [missed.value for missed in Missed]},
    "version": {**COUNT, "description": "Rises with every change that a caller makes."},
    "createdAt": MOMENT,
    "createdBy": TEXT,
    "updatedAt": MOMENT,
    "updatedBy": TEXT,
    "nextRun": nullable(MOMENT),
    "lastRun": nullable(ref("LastRun")),
}
WHOLE: dict[str, Shape] = {
    **ROW,
    "job": record({**JOB, "data": {"type": "object"}}, CALLBACKS),
    "nextRuns": {**listed(MOMENT), "description": "The next five; none if it is not active."},
}
SCHEMAS: Shapes = {
    "NewSchedule": {**SCHEDULE, "examples": [EXAMPLE]},
    "ChangedSchedule": {**CHANGE, "examples": [{**EXAMPLE, "version": 1}]},
    "Why": WHY,
    "LastRun": LAST_RUN,
    "Schedule": record(WHOLE),
    "ScheduleRow": record(ROW),
    "Schedules": record({"schedules": listed(ref("ScheduleRow")), "cursor": nullable(TEXT)}),
    "DeletedSchedule": record({"id": TEXT, "deleted": {"const": True}}),
}
