"""What the checks say about bad series, and that they are silent about good ones."""

from __future__ import annotations

from basis_pipeline.market.checks import Finding, Severity, check_history
from basis_pipeline.market.history import MarketHistory
from basis_pipeline_tests.market.builders import Build, Reserve, hour, price, prices

ETH = "bybit ETHUSDT spot"
GOOD = prices(ETH, ["3000"] * 24)
RESERVES = [Reserve(hour(number), "WETH", f"1.{number:02}", f"1.{number:02}") for number in range(24)]


def only(history: MarketHistory) -> Finding:
    (found,) = check_history(history)
    return found


def test_good_data_has_no_findings(build: Build) -> None:
    assert check_history(build(GOOD, RESERVES)) == []


def test_a_repeated_row_is_a_harmless_duplicate(build: Build) -> None:
    found = only(build([*GOOD, price(3, ETH, "3000")], RESERVES))
    assert (found.severity, found.kind, found.count, found.first) == (Severity.WARNING, "duplicate", 1, hour(3))
    assert (found.file, found.series) == ("prices.parquet", "bybit:ETHUSDT:spot")


def test_two_values_for_one_time_are_an_error(build: Build) -> None:
    found = only(build([*GOOD, price(3, ETH, "3000.000000000000000001")], RESERVES))
    assert (found.severity, found.kind, found.first) == (Severity.ERROR, "conflicting_duplicate", hour(3))


def test_holes_are_counted_in_missing_rows_and_named(build: Build) -> None:
    rows = [row for row in GOOD if row.at not in {hour(5), hour(10), hour(11)}]
    found = only(build(rows, RESERVES))
    assert (found.severity, found.kind, found.count) == (Severity.WARNING, "gap", 3)
    assert (found.first, found.last) == (hour(4), hour(12))
    assert "2024-05-12T04:00:00Z to 2024-05-12T06:00:00Z, 2024-05-12T09:00:00Z to 2024-05-12T12:00:00Z" in found.message


def test_a_series_is_measured_by_its_own_spacing(build: Build) -> None:
    daily = [price(24 * number, "x EURUSD oracle", "1.1") for number in range(5)]
    hourly = prices(ETH, ["3000"] * 97)
    indices = [Reserve(hour(number), "WETH", "1", "1") for number in range(97)]
    assert check_history(build([*daily, *hourly], indices)) == []
    assert only(build([*daily[:2], *daily[3:], *hourly], indices)).count == 1


def test_many_holes_are_one_finding_that_names_the_first_few(build: Build) -> None:
    rows = [row for number, row in enumerate(prices(ETH, ["3000"] * 100)) if number % 10]
    found = only(build([*rows, price(0, ETH, "3000"), price(100, ETH, "1")], [Reserve(hour(0), "WETH", "1", "1")]))
    assert (found.count, found.message.count(" to "), found.message[-10:]) == (9, 5, "and 4 more")


def test_zero_and_negative_values_are_errors(build: Build) -> None:
    rows = [
        row._replace(close="0" if row.at == hour(2) else "-1") if row.at in {hour(2), hour(7)} else row for row in GOOD
    ]
    found = only(build(rows, RESERVES))
    assert (found.severity, found.kind, found.count, found.first, found.last) == (
        Severity.ERROR,
        "non_positive",
        2,
        hour(2),
        hour(7),
    )


def test_a_falling_index_is_an_error_and_a_flat_one_is_not(build: Build) -> None:
    flat = [row._replace(debt="1.1") for row in RESERVES]
    assert check_history(build(GOOD, flat)) == []
    falling = [row._replace(debt="1.09") if row.at == hour(9) else row for row in flat]
    found = only(build(GOOD, falling))
    assert (found.severity, found.kind, found.first) == (Severity.ERROR, "falling_index", hour(9))
    assert (found.file, found.series) == ("aave_reserve_hourly.parquet", "aave_reserve:WETH:variable_borrow_index")


def test_a_falling_staking_rate_is_only_mentioned(build: Build) -> None:
    found = only(build([*GOOD, *prices("aave_oracle weETHETH oracle", ["1.04"] * 23 + ["1.03"])], RESERVES))
    assert (found.severity, found.kind, found.first) == (Severity.INFO, "falling_rate", hour(23))


def test_rows_without_value_are_mentioned(build: Build) -> None:
    rows = [row._replace(close=None) if row.at == hour(3) else row for row in GOOD]
    kinds = {found.kind: found.count for found in check_history(build(rows, RESERVES))}
    assert kinds == {"no_value": 1, "gap": 1}


def test_a_series_that_covers_only_a_part_is_mentioned(build: Build) -> None:
    late = prices("x EIGENUSDT spot", ["3"] * 20)[4:]
    found = check_history(build([*GOOD, *late], RESERVES))
    assert [(one.kind, one.severity, one.count) for one in found] == [
        ("ends_early", Severity.INFO, 4),
        ("starts_late", Severity.INFO, 4),
    ]


def test_computed_values_are_told_from_observed_ones(build: Build) -> None:
    rows = [row._replace(method="filled" if row.at >= hour(22) else "raw") for row in GOOD]
    found = only(build(rows, RESERVES))
    assert (found.kind, found.count, found.first) == ("computed", 2, hour(22))
    assert found.message.endswith("2 of 24 values are computed, not observed: filled")


def test_a_symbol_without_known_quote_currency_is_mentioned(build: Build) -> None:
    assert only(build([*GOOD, *prices("x DXY spot", ["104"] * 24)], RESERVES)).kind == "unknown_symbol"


def test_only_the_asked_range_is_checked(build: Build) -> None:
    history = build([*GOOD, price(3, ETH, "3000")], RESERVES)
    assert check_history(history, hour(4), hour(23)) == []
    assert len(check_history(history, hour(0), hour(4))) == 1
    assert check_history(history, hour(50), hour(60)) == []
