"""Alerts as they are kept: what stands, what a channel is to be told, and that it is told once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from basis_pipeline.domain.alerts import Alert, AlertKind, Route, Severity
from basis_pipeline.domain.errors import InputError
from basis_pipeline.ledger import alerts
from basis_pipeline.ledger.alerts import LEASE, Reason
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline_tests.builders import at
from basis_pipeline_tests.ledger.builders import FUND

AGAIN = timedelta(hours=4)
CHAT = Route("chat")
WARNING, ERROR, INFO = Severity.WARNING, Severity.ERROR, Severity.INFO


def alert(
    kind: AlertKind = AlertKind.DRIFT, subject: str = "fund/okx", severity: Severity = WARNING, text: str = "1 ETH"
) -> Alert:
    return Alert(kind, severity, subject, f"{kind} of {subject}", text)


def raised(ledger: Ledger, minute: float, *given: Alert) -> list[alerts.StoredAlert]:
    return alerts.raise_alerts(ledger.engine, given or [alert()], at(minute))


def due(ledger: Ledger, minute: float, *routes: Route) -> list[tuple[str, str, Reason]]:
    """Channel, text and reason of what is due."""
    found = alerts.due(ledger.engine, routes or (CHAT,), at(minute), AGAIN)
    return [(n.channel, n.alert.alert.text, n.reason) for n in found]


def tell(ledger: Ledger, minute: float, *routes: Route) -> list[Reason]:
    """What is due is sent, and noted."""
    reasons = []
    for route in routes or (CHAT,):
        token = alerts.claim(ledger.engine, route.channel, at(minute))
        assert token is not None
        for notice in alerts.due(ledger.engine, [route], at(minute), AGAIN):
            assert alerts.note_sent(ledger.engine, route.channel, [notice], at(minute), token)
            reasons.append(notice.reason)
        alerts.release(ledger.engine, route.channel, token)
    return reasons


def fail(ledger: Ledger, minute: float, which: int = 0) -> None:
    notice = alerts.due(ledger.engine, [CHAT], at(minute), AGAIN)[which]
    token = alerts.claim(ledger.engine, "chat", at(minute))
    assert token is not None
    alerts.note_failed(ledger.engine, notice, at(minute), "refused")
    alerts.release(ledger.engine, "chat", token)


def listed(ledger: Ledger, *, closed: bool = False) -> list[tuple[int, str, str, int]]:
    found = alerts.alerts_listed(ledger.engine, closed=closed)
    return [(a.number, a.alert.text, a.state, a.times) for a in found]


def test_the_same_again_is_the_same_alert_with_the_newest_words(ledger: Ledger) -> None:
    first = raised(ledger, 0)[0]
    again = raised(ledger, 5, alert(text="2 ETH"), alert(text="3 ETH"))[-1]
    assert listed(ledger) == [(first.number, "3 ETH", "open", 3)]
    assert (again.raised_at, again.last_raised_at, again.news) == (at(0), at(5), 1)


def test_another_subject_or_kind_is_another_alert(ledger: Ledger) -> None:
    raised(ledger, 0, alert(), alert(subject="fund/binance"), alert(AlertKind.UNAVAILABLE_VENUE))
    assert [times for *_, times in listed(ledger)] == [1, 1, 1]


def test_it_is_told_once_and_again_after_a_while_as_long_as_it_stands(ledger: Ledger) -> None:
    raised(ledger, 0)
    assert tell(ledger, 1) == [Reason.RAISED]
    raised(ledger, 2)
    assert [tell(ledger, minute) for minute in (2, 240.9, 241, 242)] == [[], [], [Reason.STILL], []]


def test_a_channel_added_later_is_told_what_stands(ledger: Ledger) -> None:
    raised(ledger, 0)
    tell(ledger, 1)
    assert due(ledger, 2, CHAT, Route("mail")) == [("mail", "1 ETH", Reason.RAISED)]


def test_getting_worse_is_told_at_once_and_only_when_it_is_worse_than_ever(ledger: Ledger) -> None:
    raised(ledger, 0)
    tell(ledger, 0)
    told = []
    for minute, severity in enumerate((ERROR, WARNING, ERROR, INFO, WARNING), start=1):
        raised(ledger, minute, alert(severity=severity))
        told.append(tell(ledger, minute))
    assert told == [[Reason.WORSE], [], [], [], []]


def test_worse_while_it_is_being_sent_is_told_too(ledger: Ledger) -> None:
    raised(ledger, 0)
    notice = alerts.due(ledger.engine, [CHAT], at(0), AGAIN)[0]
    token = alerts.claim(ledger.engine, "chat", at(0))
    assert token is not None
    raised(ledger, 1, alert(severity=ERROR, text="worse"))
    alerts.note_sent(ledger.engine, "chat", [notice], at(1), token)
    assert due(ledger, 1) == [("chat", "worse", Reason.WORSE)]


def test_an_acknowledged_alert_is_quiet_until_it_gets_worse(ledger: Ledger) -> None:
    number = raised(ledger, 0)[0].number
    tell(ledger, 0)
    assert alerts.acknowledge(ledger.engine, [number], at(1))[0].state == "acknowledged"
    raised(ledger, 500)
    assert (tell(ledger, 500), listed(ledger)[0][2]) == ([], "acknowledged")
    raised(ledger, 501, alert(severity=ERROR))
    assert (tell(ledger, 501), listed(ledger)[0][2]) == ([Reason.WORSE], "open")


def test_what_was_acknowledged_after_it_got_better_is_told_when_it_is_bad_again(ledger: Ledger) -> None:
    number = raised(ledger, 0, alert(severity=ERROR))[0].number
    tell(ledger, 0)
    raised(ledger, 1, alert(severity=WARNING))
    alerts.acknowledge(ledger.engine, [number], at(2))
    raised(ledger, 3, alert(severity=ERROR))
    assert tell(ledger, 3) == [Reason.WORSE]


def test_acknowledging_twice_keeps_the_first_time(ledger: Ledger) -> None:
    number = raised(ledger, 0)[0].number
    alerts.acknowledge(ledger.engine, [number], at(1))
    assert alerts.acknowledge(ledger.engine, [number], at(2))[0].acknowledged_at == at(1)


def test_what_is_resolved_is_told_once_to_those_who_knew_of_it(ledger: Ledger) -> None:
    raised(ledger, 0)
    tell(ledger, 0)
    mail = Route("mail")
    assert alerts.resolve(ledger.engine, AlertKind.DRIFT, ["fund/binance"], at(1)) == []
    assert alerts.resolve(ledger.engine, AlertKind.DRIFT, [], at(1)) == []
    closed = alerts.resolve(ledger.engine, AlertKind.DRIFT, ["fund/okx", "fund/binance"], at(1))
    assert [(a.resolved_at, a.state) for a in closed] == [(at(1), "resolved")]
    assert alerts.resolve(ledger.engine, AlertKind.DRIFT, ["fund/okx"], at(2)) == []
    assert due(ledger, 2, CHAT, mail) == [("chat", "1 ETH", Reason.RESOLVED)]
    assert tell(ledger, 2, CHAT, mail) == [Reason.RESOLVED]
    assert tell(ledger, 3, CHAT, mail) == []
    assert (listed(ledger), len(listed(ledger, closed=True))) == ([], 1)


def test_an_acknowledged_alert_that_is_resolved_is_told(ledger: Ledger) -> None:
    number = raised(ledger, 0)[0].number
    tell(ledger, 0)
    alerts.acknowledge(ledger.engine, [number], at(1))
    alerts.resolve(ledger.engine, AlertKind.DRIFT, ["fund/okx"], at(2))
    assert tell(ledger, 2) == [Reason.RESOLVED]


def test_what_came_and_went_before_anybody_was_told_is_not_told(ledger: Ledger) -> None:
    raised(ledger, 0)
    alerts.resolve(ledger.engine, AlertKind.DRIFT, ["fund/okx"], at(1))
    assert due(ledger, 2) == []


def test_that_something_is_resolved_is_no_news_after_a_week(ledger: Ledger) -> None:
    raised(ledger, 0)
    tell(ledger, 0)
    alerts.resolve(ledger.engine, AlertKind.DRIFT, ["fund/okx"], at(1))
    week = 7 * 24 * 60
    assert (len(due(ledger, week)), due(ledger, week + 2)) == (1, [])


def test_what_comes_back_is_a_new_alert(ledger: Ledger) -> None:
    first = raised(ledger, 0)[0]
    tell(ledger, 0)
    alerts.resolve(ledger.engine, AlertKind.DRIFT, ["fund/okx"], at(1))
    second = raised(ledger, 2)[0]
    assert second.number > first.number
    assert sorted(tell(ledger, 2)) == [Reason.RAISED, Reason.RESOLVED]


def test_each_event_is_an_alert_of_its_own_told_once_to_each_channel(ledger: Ledger) -> None:
    event = alert(AlertKind.EQUITY_CHANGE, FUND, INFO, "moved")
    raised(ledger, 0, event, event)
    mail = Route("mail")
    assert tell(ledger, 1, CHAT, mail) == [Reason.RAISED] * 4
    assert tell(ledger, 1000, CHAT, mail) == []
    assert listed(ledger) == []
    assert [(state, times) for *_, state, times in listed(ledger, closed=True)] == [("event", 1), ("event", 1)]


def test_a_channel_added_later_is_not_told_every_event_of_the_day(ledger: Ledger) -> None:
    for minute, text in ((0, "of long ago"), (61, "recent")):
        raised(ledger, minute, alert(AlertKind.EQUITY_CHANGE, text=text))
    tell(ledger, 61)
    assert alerts.claim(ledger.engine, "mail", at(120)) is not None
    assert due(ledger, 120, Route("mail")) == [("mail", "recent", Reason.RAISED)]


def test_an_event_that_could_not_be_told_for_a_day_is_no_news(ledger: Ledger) -> None:
    raised(ledger, 0, alert(AlertKind.EQUITY_CHANGE))
    fail(ledger, 0)
    assert (len(due(ledger, 24 * 60)), due(ledger, 24 * 60 + 1)) == (1, [])


def test_a_channel_takes_only_what_is_bad_enough_and_of_its_kinds(ledger: Ledger) -> None:
    pager = Route("pager", ERROR)
    checks = Route("checks", INFO, [AlertKind.FAILED_CHECK])
    raised(ledger, 0, alert(text="a"), alert(AlertKind.FAILED_CHECK, text="b"))
    assert due(ledger, 0, pager, checks) == [("checks", "b", Reason.RAISED)]
    raised(ledger, 1, alert(text="a", severity=ERROR))
    assert due(ledger, 1, pager) == [("pager", "a", Reason.RAISED)]


def test_the_worst_is_told_first(ledger: Ledger) -> None:
    raised(ledger, 0, alert(subject="a", text="a"), alert(subject="b", text="b", severity=ERROR))
    assert [text for _, text, _ in due(ledger, 0)] == ["b", "a"]


@pytest.mark.parametrize("numbers", [[77], [1, 77]])
def test_what_does_not_exist_cannot_be_acknowledged_and_nothing_is(ledger: Ledger, numbers: Sequence[int]) -> None:
    raised(ledger, 0)
    with pytest.raises(InputError, match="number: there is no alert 77; basis alerts lists"):
        alerts.acknowledge(ledger.engine, numbers, at(1))
    assert listed(ledger)[0][2] == "open"


def test_what_does_not_stand_cannot_be_acknowledged(ledger: Ledger) -> None:
    event, drift = (a.number for a in raised(ledger, 0, alert(AlertKind.EQUITY_CHANGE), alert()))
    alerts.resolve(ledger.engine, AlertKind.DRIFT, ["fund/okx"], at(1))
    for number, why in ((event, "is an event that is over"), (drift, "is resolved")):
        with pytest.raises(InputError, match=f"alert {number} {why}; only what stands"):
            alerts.acknowledge(ledger.engine, [number], at(1))


def test_only_one_may_send_to_a_channel_at_a_time(ledger: Ledger) -> None:
    token = alerts.claim(ledger.engine, "chat", at(0))
    assert token is not None
    assert alerts.claim(ledger.engine, "chat", at(0)) is None
    assert alerts.ready(ledger.engine, ["chat", "mail"], at(0)) == {"mail"}
    alerts.release(ledger.engine, "chat", "of somebody else")
    assert alerts.claim(ledger.engine, "chat", at(0)) is None
    alerts.release(ledger.engine, "chat", token)
    assert alerts.claim(ledger.engine, "chat", at(0)) is not None


def test_raised_and_claimed_from_everywhere_at_once_it_is_one_alert_and_one_claim(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda minute: raised(ledger, minute), range(40)))
        claims = list(pool.map(lambda _: alerts.claim(ledger.engine, "chat", at(40)), range(8)))
    assert [times for *_, times in listed(ledger, closed=True)] == [40]
    assert sum(claim is not None for claim in claims) == 1


def test_a_claim_runs_out_and_what_was_not_noted_is_sent_again(ledger: Ledger) -> None:
    raised(ledger, 0)
    died = alerts.claim(ledger.engine, "chat", at(0))
    assert died is not None
    notice = alerts.due(ledger.engine, [CHAT], at(0), AGAIN)[0]
    assert alerts.claim(ledger.engine, "chat", at(0) + LEASE - timedelta(microseconds=1)) is None
    taken = alerts.claim(ledger.engine, "chat", at(0) + LEASE)
    assert taken is not None
    assert [reason for *_, reason in due(ledger, 1)] == [Reason.RAISED]
    assert not alerts.note_sent(ledger.engine, "chat", [notice], at(1), died)
    alerts.release(ledger.engine, "chat", died)
    assert alerts.claim(ledger.engine, "chat", at(1)) is None


def test_a_sign_of_life_keeps_the_claim(ledger: Ledger) -> None:
    raised(ledger, 0)
    token = alerts.claim(ledger.engine, "chat", at(0))
    assert token is not None
    notice = alerts.due(ledger.engine, [CHAT], at(0), AGAIN)[0]
    assert alerts.note_sent(ledger.engine, "chat", [notice], at(0.9), token)
    assert alerts.claim(ledger.engine, "chat", at(1.1)) is None


def test_a_channel_that_fails_is_left_alone_longer_and_longer(ledger: Ledger) -> None:
    raised(ledger, 0)
    minute, waits = 0.0, []
    for _ in range(10):
        fail(ledger, minute)
        state = alerts.channel_states(ledger.engine)[0]
        assert state.retry_at is not None
        waits.append(state.retry_at - at(minute))
        assert alerts.ready(ledger.engine, ["chat"], state.retry_at - timedelta(seconds=1)) == set()
        minute += waits[-1] / timedelta(minutes=1)
    assert waits[:4] == [timedelta(seconds=s) for s in (30, 60, 120, 240)]
    assert waits[-2:] == [timedelta(hours=1)] * 2
    state = alerts.channel_states(ledger.engine)[0]
    assert (state.failures, state.failing_since, state.sent_at, state.error) == (10, at(0), None, "refused")
    assert tell(ledger, minute) == [Reason.RAISED]
    state = alerts.channel_states(ledger.engine)[0]
    assert state == ("chat", at(minute), None, 0, None, None)


def test_a_clock_that_was_wrong_for_a_while_silences_no_channel(ledger: Ledger) -> None:
    year = 365 * 24 * 60
    raised(ledger, year)
    tell(ledger, year)
    assert due(ledger, 0) == [("chat", "1 ETH", Reason.STILL)]
    assert alerts.claim(ledger.engine, "chat", at(year)) is not None
    alerts.note_tried(ledger.engine, "mail", at(year), "no such host")
    assert alerts.ready(ledger.engine, ["chat", "mail"], at(0)) == {"chat", "mail"}
    assert alerts.claim(ledger.engine, "chat", at(0)) is not None


def test_what_a_channel_refuses_does_not_hold_up_the_rest(ledger: Ledger) -> None:
    raised(ledger, 0, alert(subject="a", text="refused", severity=ERROR), alert(subject="b", text="fine"))
    fail(ledger, 0)
    assert [text for _, text, _ in due(ledger, 1)] == ["fine", "refused"]


def test_a_channel_that_was_tried_out_well_need_not_wait(ledger: Ledger) -> None:
    raised(ledger, 0)
    fail(ledger, 0)
    assert alerts.ready(ledger.engine, ["chat"], at(0)) == set()
    alerts.note_tried(ledger.engine, "chat", at(0), None)
    assert alerts.ready(ledger.engine, ["chat"], at(0)) == {"chat"}
    alerts.note_tried(ledger.engine, "mail", at(0), "no such host")
    assert [(s.channel, s.failures, s.error) for s in alerts.channel_states(ledger.engine)] == [
        ("chat", 0, None),
        ("mail", 1, "no such host"),
    ]


def noted(ledger: Ledger, value: str, moment: datetime, replacing: alerts.NotifiedEquity | None) -> bool:
    moved = alert(AlertKind.EQUITY_CHANGE, FUND, INFO, value)
    return alerts.note_notified(
        ledger.engine, FUND, "USDT", Decimal(value), moment, moment, alert=moved, replacing=replacing
    )


def test_of_two_who_tell_of_the_same_change_of_equity_one_does(ledger: Ledger) -> None:
    assert alerts.last_notified(ledger.engine, FUND) is None
    assert noted(ledger, "1000.000000000000000001", at(0), None)
    assert not noted(ledger, "1000", at(1), None)
    first = alerts.last_notified(ledger.engine, FUND)
    assert first == (FUND, "total_equity", "USDT", Decimal("1000.000000000000000001"), at(0), at(0))
    assert noted(ledger, "1002", at(2), first)
    assert not noted(ledger, "1003", at(2), first)
    assert alerts.last_notified(ledger.engine, FUND) == (FUND, "total_equity", "USDT", Decimal(1002), at(2), at(2))
    assert [text for _, text, _ in due(ledger, 2)] == ["1000.000000000000000001", "1002"]


def test_each_measure_of_equity_is_told_by_itself_and_may_be_noted_without_a_word(ledger: Ledger) -> None:
    assert alerts.note_notified(ledger.engine, FUND, "USDT", Decimal(5), at(0), at(0), measure="nav")
    assert alerts.last_notified(ledger.engine, FUND) is None
    nav = alerts.last_notified(ledger.engine, FUND, "nav")
    assert nav is not None
    assert nav.value == 5
    assert due(ledger, 0) == []
