"""Asset checks: what must hold for the published rows of the run's days, or of all days when a check runs alone.

Blocking are the structural truths without which a wrong number would go on downstream. What the market data lacks does
not block: a bad observation is never used, and the equity step itself refuses what it cannot value, portfolio by
portfolio, so that one gap does not cost every portfolio its equity.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import dagster as dg
import duckdb

from basis_pipeline.domain.instants import DAY, HOUR, day_start, first_hour_at_or_after
from basis_pipeline.home import Home
from basis_pipeline.ledger.verification import verify, verify_between
from basis_pipeline.market.checks import Severity, check_history
from basis_pipeline.market.store import market_files
from basis_pipeline.orchestration.check_steps import SHOWN_MAX, Check, Verdict, check_step
from basis_pipeline.orchestration.days import days_of_run
from basis_pipeline.orchestration.metadata import Metadata, markdown_table
from basis_pipeline.steps import balance_changes, equity, positions, reconciliation
from basis_pipeline.steps.market import CONVERSION_RATES, PRICES
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.proofs import PROOFS, Proof, contradictions
from basis_pipeline.steps.publishing import current_day_files
from basis_pipeline.warehouse.catalogue import connect_memory
from basis_pipeline.warehouse.dayfiles import DayFile


@dataclass(frozen=True)
class Published:
    """What these checks look at: the current day files of the days in question, as tables, and where they came from.

    ``everything`` when these are all days there are, because the check runs alone.
    """

    home: Home
    ports: Ports
    days: DayRange
    everything: bool
    files: list[DayFile]
    connection: duckdb.DuckDBPyConnection

    @property
    def scope(self) -> Metadata:
        return {"days": f"{self.days.first} to {self.days.last}"}

    def published_days(self, table: str) -> list[date]:
        return sorted(file.day for file in self.files if file.table == table)


@dataclass(frozen=True)
class PublishedCheck(Check[Published]):
    """A check of what was published."""

    of_files: bool = False
    """Whether it looks at market files, which only a backtest has."""


def check_steps(*, live: bool) -> list[dg.AssetChecksDefinition]:
    """The checks of the daily assets, one Dagster step for assets that belong together."""
    return [
        check_step(name, [each for each in CHECKS if each.asset in assets and not (live and each.of_files)], _look)
        for name, assets in (
            ("check_ledger", (balance_changes.TABLE,)),
            ("check_positions", positions.TABLES),
            ("check_market", (PRICES, CONVERSION_RATES)),
            ("check_equity", equity.TABLES),
        )
    ]


@contextmanager
def _look(home: Home, ports: Ports, tags: Mapping[str, str]) -> Iterator[Published]:
    of_run = days_of_run(tags)
    files, days = _in_question(ports, of_run)
    with connect_memory(ports.home, files) as connection:
        yield Published(home, ports, days, of_run is None, files, connection)


def _in_question(ports: Ports, days: DayRange | None) -> tuple[list[DayFile], DayRange]:
    files = current_day_files(ports, days)
    if days is None:
        published = [file.day for file in files] or [ports.clock().date()]
        days = DayRange(min(published), max(published))
    return files, days


def _nothing_found(table: str, sql: str, evidence: Published, *, warning: bool = False) -> Verdict:
    """Passes when the query finds nothing; shows the first of what it finds."""
    found = contradictions(evidence.connection, sql)
    rows = sum(file.rows for file in evidence.files if file.table == table)
    counted: Metadata = {"rows checked": rows, "findings": found.count}
    if not found.count:
        return Verdict(True, f"True of all {rows:,} rows.", counted)
    counted["first findings"] = markdown_table(found.columns, found.first)
    return Verdict(False, f"{found.count:,} findings in {rows:,} rows: {found}", counted, warning)


def _proof(proof: Proof) -> PublishedCheck:
    return PublishedCheck(proof.table, proof.name, proof.statement, partial(_nothing_found, proof.table, proof.sql))


def _chain_intact(evidence: Published) -> Verdict:
    engine = evidence.ports.ledger.engine
    if evidence.everything:
        verified = verify(engine)
        sound = f"All {verified.entries} entries continue each other and are as they were recorded."
    else:
        first, end = day_start(evidence.days.first), day_start(evidence.days.last) + DAY
        verified = verify_between(engine, first, end)
        sound = (
            f"{verified.entries} entries, those of these days and their neighbours, are as they were recorded and "
            "continue each other; `basis verify` reads the whole ledger."
        )
    entries: Metadata = {"entries read": verified.entries}
    if not verified.problems:
        return Verdict(True, sound, entries)
    shown = markdown_table(("portfolio", "sequence", "entry", "problem"), verified.problems[:SHOWN_MAX])
    named = "; ".join(str(problem) for problem in verified.problems[:3])
    return Verdict(False, f"{len(verified.problems)} problems: {named}", {**entries, "problems": shown})


def _fresh(table: str, name: str, evidence: Published) -> Verdict:
    limit = evidence.home.routing.look_back
    sql = (
        f"SELECT as_of, {name}, source, observed_at FROM {table} "
        f"WHERE as_of - observed_at > INTERVAL {limit // timedelta(seconds=1)} SECOND"
    )
    verdict = _nothing_found(table, sql, evidence)
    return replace(verdict, metadata={**verdict.metadata, "oldest allowed (hours)": limit / HOUR})


def _complete(table: str, keys: str, evidence: Published) -> Verdict:
    sql = f"""
        SELECT {keys}, min(as_of) AS first, max(as_of) AS last, count(*) AS hours,
            date_diff('hour', min(as_of), max(as_of)) + 1 - count(*) AS missing_hours
        FROM {table} WHERE as_of = date_trunc('hour', as_of)
        GROUP BY {keys} HAVING missing_hours > 0 ORDER BY missing_hours DESC
    """
    return _nothing_found(table, sql, evidence, warning=True)


def _findings(price_file: bool, evidence: Published) -> Verdict:
    prices, reserves = market_files(evidence.home.history.directory)
    file = (prices if price_file else reserves).name
    first, end = day_start(evidence.days.first), day_start(evidence.days.last) + DAY
    found = [f for f in check_history(evidence.home.history, first - HOUR, end) if f.file == file]
    wrong = [f for f in found if f.severity is not Severity.INFO]
    shown = {"findings": markdown_table(("severity", "finding"), [(f.severity, f.message) for f in found[:SHOWN_MAX]])}
    if not wrong:
        return Verdict(True, f"{file}: nothing is missing or contradictory.", shown if found else {})
    warning = all(f.severity is Severity.WARNING for f in wrong)
    named = "; ".join(f.message for f in wrong[:3])
    return Verdict(False, f"{file}: {len(wrong)} findings: {named}", shown, warning)


def _every_holding_valued(evidence: Published) -> Verdict:
    sql = """
        WITH held AS (
            SELECT as_of, portfolio, 'wallet' AS account, token FROM wallet_balances WHERE balance <> 0
            UNION ALL SELECT as_of, portfolio, venue, token FROM cex_balances WHERE balance <> 0
            UNION ALL SELECT as_of, portfolio, venue, instrument FROM perp_positions WHERE size <> 0
        ),
        valued AS (SELECT DISTINCT as_of, portfolio, account, token, true AS has_line FROM equity_positions)
        SELECT as_of, portfolio, account, token, has_line IS NULL AS not_valued
        FROM held FULL JOIN valued USING (as_of, portfolio, account, token)
        SEMI JOIN equity_snapshots USING (as_of, portfolio)
        WHERE has_line IS NULL OR held.token IS NULL
    """
    return _nothing_found(equity.POSITIONS, sql, evidence)


def _every_hour_present(evidence: Published) -> Verdict:
    found = evidence.connection.execute(
        "SELECT portfolio, as_of::DATE AS day, count(*) FROM equity_snapshots "
        "WHERE as_of = date_trunc('hour', as_of) GROUP BY portfolio, day"
    ).fetchall()
    counted = {(portfolio, day): count for portfolio, day, count in found}
    missing = []
    for day, hours in _hours(evidence).items():
        for name, state in evidence.ports.ledger.snapshot().portfolios.items():
            opening = first_hour_at_or_after(state.start.astimezone(UTC))
            expected = sum(hour >= opening for hour in hours)
            if counted.get((name, day), 0) != expected:
                missing.append((name, day, counted.get((name, day), 0), expected))
    rows: Metadata = {"rows": sum(counted.values())}
    if not missing:
        known = " at which recorded prices are known" if evidence.home.live else ""
        return Verdict(True, f"Each portfolio has a row for every hour since its start{known}.", rows)
    rows["missing"] = markdown_table(("portfolio", "day", "rows", "expected"), missing[:SHOWN_MAX])
    name, day, count, expected = missing[0]
    incomplete = "1 portfolio-day is" if len(missing) == 1 else f"{len(missing)} portfolio-days are"
    summary = f"{incomplete} incomplete, first {name} on {day}: {count} of {expected} rows"
    return Verdict(False, summary, rows)


def _hours(evidence: Published) -> dict[date, list[datetime]]:
    """The full hours of each published day at which the market can be asked.

    When live, those of the newest day end where its rows do: the market goes on after it was published.
    """
    days = evidence.published_days(equity.SNAPSHOTS)
    if not days:
        return {}
    askable = evidence.home.market.days(days[0], days[-1])
    hours = {day: [at for at in askable[day].instants if at == first_hour_at_or_after(at)] for day in days}
    if evidence.home.live:
        [(newest,)] = evidence.connection.execute("SELECT max(as_of) FROM equity_snapshots").fetchall()
        until = day_start(days[-1]) if newest is None else newest.replace(tzinfo=UTC)
        hours[days[-1]] = [hour for hour in hours[days[-1]] if hour <= until]
    return hours


CHECKS = (
    PublishedCheck(
        balance_changes.TABLE,
        "ledger_chain_intact",
        "The entries of these days are as they were recorded and continue their neighbours, and none is missing; "
        "`basis verify` reads the whole ledger.",
        _chain_intact,
    ),
    *(_proof(proof) for proof in PROOFS if proof.table not in reconciliation.TABLES),
    PublishedCheck(
        PRICES,
        "fresh",
        "No price is older at its hour than the settings allow (`prices.max_age`).",
        partial(_fresh, PRICES, "symbol"),
    ),
    PublishedCheck(
        CONVERSION_RATES,
        "fresh",
        "No rate is older at its hour than the settings allow (`prices.max_age`).",
        partial(_fresh, CONVERSION_RATES, "name"),
    ),
    PublishedCheck(
        PRICES,
        "complete",
        "No series has holes. A held token that cannot be priced stops its portfolio's equity; a hole here only warns.",
        partial(_complete, PRICES, "symbol, kind, venue"),
        blocking=False,
    ),
    PublishedCheck(
        CONVERSION_RATES,
        "complete",
        "No rate has holes. A holding that needs a missing one stops its portfolio's equity; a hole here only warns.",
        partial(_complete, CONVERSION_RATES, "name"),
        blocking=False,
    ),
    PublishedCheck(
        PRICES,
        "source_clean",
        "The price file has no gaps, repeats, contradictions or values that cannot be.",
        partial(_findings, True),
        blocking=False,
        of_files=True,
    ),
    PublishedCheck(
        CONVERSION_RATES,
        "source_clean",
        "The reserve file has no gaps, repeats, contradictions or falling indices.",
        partial(_findings, False),
        blocking=False,
        of_files=True,
    ),
    PublishedCheck(
        equity.POSITIONS,
        "every_holding_valued",
        "Each balance and each open position has its line, and no line stands for something that is not held.",
        _every_holding_valued,
    ),
    PublishedCheck(
        equity.SNAPSHOTS,
        "every_hour_present",
        "Each portfolio has one row for every hour of every published day since its start.",
        _every_hour_present,
    ),
)


def not_proven(assets: Collection[str]) -> list[dg.AssetCheckKey]:
    """The checks of these assets besides the proofs, which every step makes on its files before it publishes them."""
    proven = {(proof.table, proof.name) for proof in PROOFS}
    return [check.key for check in CHECKS if check.asset in assets and (check.asset, check.name) not in proven]
