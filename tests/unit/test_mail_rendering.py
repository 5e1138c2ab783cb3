"""What a mail says, whatever its data holds."""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.jobtype import Facts, Work
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Begun, Mail
from chalicelib.jobtypes.email_send import JOB_TYPE, SUBJECTS, render
from chalicelib.service.intake import Schema
from tests.factories import VENUE, a_job
from tests.fakes import START, ManualClock

TEMPLATES = sorted(SUBJECTS)
ALL_VALUES: dict[str, Any] = {
    "customerName": "Ada",
    "supportEmail": "help@example.com",
    "eventName": "Night of Lights",
    "eventDate": "1 May 2027, 20:00",
    "venueName": "The Hall",
    "orderId": "order-1",
    "orderUrl": "https://example.com/orders/1",
    "quantity": 2,
    "seats": "A1, A2",
    "total": "45.00 EUR",
    "amount": 4500,
    "currency": "EUR",
    "reason": "cancelled",
    "payoutId": "payout-1",
    "period": "April",
    "arrivalDate": "3 May 2027",
    "ticketId": "ticket-1",
    "ticketUrl": "https://example.com/tickets/1",
}
MAIL = {"to": "ada@example.com", "template": "order_confirmation", "data": {}}


def rendered(template: str, data: dict[str, Any], **fields: str) -> Mail:
    clock = ManualClock()
    return render(
        Work(
            job=a_job("job_1", type="email.send"),
            data={"to": "ada@example.com", "template": template, "data": data, **fields},
            leave=Leave.START,
            deadline=clock.now() + timedelta(minutes=1),
            clock=clock,
            timing=TIMING,
            begin=lambda _: Begun(a_job().id, 1),
        )
    )


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("absent", ["everything", *ALL_VALUES])
def test_template_reads_well_whatever_is_absent(template: str, absent: str) -> None:
    data = {name: value for name, value in ALL_VALUES.items() if absent not in ("everything", name)}
    mail = rendered(template, data)
    lines = mail.text.splitlines()
    assert not [line for line in lines if line.rstrip().endswith((":", " for"))]
    assert not [word for word in ("None", "Undefined", "  ", " ,", " .") if word in mail.text]
    assert '<td style="padding:4px 0"></td>' not in mail.html
    assert "\n\n\n" not in mail.text
    assert mail.subject


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("nothing", ["", "   ", True, False])
def test_value_that_says_nothing_is_left_out_as_if_absent(template: str, nothing: Any) -> None:
    assert rendered(template, dict.fromkeys(ALL_VALUES, nothing)) == rendered(template, {})


def test_zero_is_something_to_say() -> None:
    assert "Tickets: 0" in rendered("order_confirmation", {"quantity": 0}).text


@pytest.mark.parametrize("template", TEMPLATES)
def test_text_and_html_say_the_same(template: str) -> None:
    mail = rendered(template, ALL_VALUES)
    for value in ("Ada", "help@example.com"):
        assert value in mail.text
        assert value in mail.html
    facts = [line.partition(": ")[2] for line in mail.text.splitlines() if ": " in line]
    assert len(facts) >= 4
    assert not [fact for fact in facts if fact not in mail.html]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"]
)
def test_values_are_escaped_in_html_and_plain_in_text(template: str, hostile: str) -> None:
    mail = rendered(template, ALL_VALUES | {"customerName": hostile, "eventName": hostile, "orderId": hostile})
    assert f"Hello {hostile}," in mail.text
    assert "<script" not in mail.html
    assert "<img" not in mail.html
    assert "49" not in mail.html.split("<p", 1)[1].split("</p>", 1)[0]


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//evil", "https://x y", 'https://"x', 5]
)
def test_only_a_web_address_becomes_a_link(url: Any) -> None:
    for template, name in (("order_confirmation", "orderUrl"), ("ticket_delivery", "ticketUrl")):
        mail = rendered(template, {name: url})
        assert "href" not in mail.html
        assert str(url) not in mail.text


def test_link_is_shown_in_both() -> None:
    mail = rendered("ticket_delivery", {"ticketUrl": "https://example.com/t?a=1&b=2"})
    assert "https://example.com/t?a=1&b=2" in mail.text
    assert 'href="https://example.com/t?a=1&amp;b=2"' in mail.html


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("45.00 EUR", "", "45.00 EUR"),
        (4500, "EUR", "45.00 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (4500, "JPY", "4500 JPY"),
        (4500, "KWD", "4.500 KWD"),
        (4500, "", None),
        (4500, "XXX", None),
    ],
)
def test_amount_is_shown_as_people_read_it(amount: Any, currency: str, shown: str | None) -> None:
    text = rendered("refund_notice", {"amount": amount, "currency": currency}).text
    assert (f"Refund: {shown}" in text) if shown else ("Refund:" not in text)


def test_template_has_its_own_subject_and_the_caller_may_have_another() -> None:
    assert rendered("ticket_delivery", {"eventName": "Jazz & Co"}).subject == "Your tickets for Jazz & Co"
    assert rendered("ticket_delivery", {}).subject == "Your tickets"
    assert rendered("ticket_delivery", {}, subject="See you soon").subject == "See you soon"
    assert rendered("ticket_delivery", {}, subject="  ").subject == "Your tickets"


@pytest.mark.parametrize("breaks", ["\r\n", "\n", "\r", "\u2028", "\x0b", "\x85"])
def test_no_value_makes_a_second_header(breaks: str) -> None:
    hostile = f"Jazz{breaks}Bcc: everyone@example.com"
    for mail in (
        rendered("order_confirmation", {"eventName": hostile}),
        rendered("order_confirmation", {}, subject=hostile),
    ):
        assert len(mail.subject.splitlines()) == 1


def test_subject_is_never_longer_than_it_may_be() -> None:
    assert len(rendered("order_confirmation", {"eventName": "x" * 2000}).subject) == 200


# --- accepting


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": "+15551234567"}, "to"),
        ({"to": "ada"}, "to"),
        ({"to": "ada@example.com\nBcc: x@example.com"}, "to"),
        ({"to": "a@example.com, b@example.com"}, "to"),
        ({"to": "Ada <ada@example.com>"}, "to"),
        ({"to": f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.example.com.org"}, "to"),
        ({"to": ["ada@example.com"]}, "to"),
        ({"replyTo": "nobody"}, "replyTo"),
        ({"template": "newsletter"}, "template"),
        ({"template": "../base"}, "template"),
        ({"subject": "a\nb"}, "subject"),
        ({"subject": ""}, "subject"),
        ({"subject": "x" * 201}, "subject"),
        ({"data": []}, "data"),
        ({"data": {"items": ["a"]}}, "data.items"),
        ({"data": {"customer": {"name": "Ada"}}}, "data.customer"),
        ({"data": {"total": None}}, "data.total"),
        ({"data": {"note": "x" * 2001}}, "data.note"),
        ({"data": {f"value{n}": n for n in range(51)}}, "data"),
        ({"cc": "x@example.com"}, "cc"),
    ],
)
def test_mail_that_cannot_be_sent_is_refused_at_the_door(change: dict[str, Any], field: str) -> None:
    assert {problem.field for problem in Schema(JOB_TYPE.schema).problems(MAIL | change)} == {field}


@pytest.mark.parametrize("missing", ["to", "template", "data"])
def test_what_every_mail_needs_is_required(missing: str) -> None:
    mail = {name: value for name, value in MAIL.items() if name != missing}
    assert [problem.field for problem in Schema(JOB_TYPE.schema).problems(mail)] == [missing]


@pytest.mark.parametrize("mail", [MAIL, MAIL | {"data": ALL_VALUES}, dict(JOB_TYPE.example)])
def test_mail_that_can_be_sent_is_accepted(mail: dict[str, Any]) -> None:
    assert Schema(JOB_TYPE.schema).problems(mail) == []


def test_natural_key_lasts_a_day_and_tells_different_mails_apart() -> None:
    def key(mail: dict[str, Any], after: timedelta = timedelta(0)) -> tuple[object, ...]:
        return JOB_TYPE.natural_key(Facts(VENUE, None, mail, START + after))

    assert key(MAIL) == key(MAIL | {"subject": "the same mail"}, timedelta(hours=11))
    assert key(MAIL) != key(MAIL, timedelta(hours=12))  # START is noon
    for change in ({"to": "x@example.com"}, {"template": "refund_notice"}, {"data": {"orderId": "2"}}):
        assert key(MAIL) != key(MAIL | change)
