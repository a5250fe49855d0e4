"""What `basis doctor` looks at: first the home itself, then, when it is live, everything that it connects to."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from basis_pipeline.cli.output import counted
from basis_pipeline.domain.errors import BasisError, ConfigError, MarketDataError, PublishingError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.observations import Finding, Verdict
from basis_pipeline.home import Home, open_home
from basis_pipeline.settings import config_path, load_settings

_FREE_BYTES_MIN = 1_000_000_000
_MARKET_AGE_MAX = timedelta(hours=2)


def examine(path: Path) -> list[Finding]:
    """Every finding. Nothing is raised for what is wrong with a home: that is what is found."""
    try:
        settings = load_settings(path)
    except BasisError as error:
        return [Finding("configuration", Verdict.FAILED, str(error))]
    accounts = f", {counted(len(settings.accounts), 'account')}" if settings.accounts else ""
    found = [Finding("configuration", Verdict.OK, f"{config_path(path)}: {settings.mode} mode{accounts}")]
    try:
        with open_home(path) as home:
            found += [*_examine_home(home), *(_examine_live(home) if home.live else ())]
    except BasisError as error:
        found.append(Finding("ledger", Verdict.FAILED, str(error)))
    return found


def _examine_home(home: Home) -> Iterator[Finding]:
    yield from _guarded("ledger", home, _ledger)
    yield from _guarded("market data", home, _recorded if home.live else _files)
    yield from _guarded("prices", home, _routes)
    yield from _guarded("warehouse", home, _warehouse)
    if home.settings.alerts.channels:
        from basis_pipeline.alerts.delivery import examine_channels

        yield from examine_channels(home)


def _guarded(subject: str, home: Home, look: Callable[[Home], Finding | None]) -> Iterator[Finding]:
    try:
        if (found := look(home)) is not None:
            yield found
    except (BasisError, OSError) as error:
        yield Finding(subject, Verdict.FAILED, str(error))


def _ledger(home: Home) -> Finding:
    heads = home.ledger.snapshot().heads()
    kind = home.ledger.engine.dialect.name
    if not heads:
        return Finding(
            "ledger", Verdict.WARNING, f"{kind}, no portfolio yet", "add one under `portfolios:` in basis.yaml"
        )
    entries = sum(head.sequence for head in heads.values())
    return Finding("ledger", Verdict.OK, f"{kind}, {counted(len(heads), 'portfolio')}, {entries:,} entries")


def _files(home: Home) -> Finding:
    first, last = home.history.span()
    return Finding("market data", Verdict.OK, f"{home.history.directory}: {iso(first)} to {iso(last)}")


def _recorded(home: Home) -> Finding:
    from basis_pipeline.ledger.market_observations import bounds

    known = bounds(home.ledger.engine)
    if known is None:
        return Finding(
            "market data", Verdict.WARNING, "nothing was recorded yet", "start the schedules: `basis ui` runs them"
        )
    age = home.clock() - known.newest
    if age > _MARKET_AGE_MAX:
        return Finding(
            "market data",
            Verdict.WARNING,
            f"the newest observation is of {iso(known.newest)}",
            "look at the runs of hourly_projection in `basis ui`: the schedules may be off",
        )
    return Finding("market data", Verdict.OK, f"recorded from {iso(known.began)} to {iso(known.newest)}")


def _routes(home: Home) -> Finding | None:
    """Whether everything that is held has a price and a rate, at the newest moment that the market knows."""
    from basis_pipeline.domain.valuation import Sheet, describe_book

    try:
        at = home.market.span()[1]
    except (MarketDataError, ConfigError) as error:
        if home.live and isinstance(error, ConfigError):
            raise
        return None  # told as market data
    snapshot, held, gaps = home.ledger.snapshot(), 0, set()
    sheet = Sheet(home.market.window(at, at), home.registry, [at])
    for name, state in snapshot.portfolios.items():
        if state.start > at:
            continue
        holdings = describe_book(snapshot.book_at(name, at).book, home.registry)
        lines, missing = sheet.lines(holdings, state.share_class, 0)
        held += len(lines)
        gaps |= {f"{gap.name} (tried {gap.tried})" for gap in missing}
    if gaps:
        return Finding(
            "prices",
            Verdict.FAILED,
            f"at {iso(at)} there is none of {'; '.join(sorted(gaps))}",
            "configure a route under `prices:` in basis.yaml, or complete the market data",
        )
    return Finding("prices", Verdict.OK, f"{counted(held, 'holding')} can be valued at {iso(at)}")


def _warehouse(home: Home) -> Finding:
    from basis_pipeline.ledger.publications import current_files, generation
    from basis_pipeline.warehouse.catalogue import catalogue_is_current

    free = shutil.disk_usage(home.path).free
    if free < _FREE_BYTES_MIN:
        return Finding("warehouse", Verdict.WARNING, f"{free:,} bytes are free on its disk", "make room")
    files = len(current_files(home.ledger.engine).files)
    if files and not catalogue_is_current(home.path, generation(home.ledger.engine)):
        return Finding(
            "warehouse",
            Verdict.WARNING,
            "basis.duckdb does not show what is published",
            "run any command that reads, such as `basis equity`: it mends that",
        )
    return Finding("warehouse", Verdict.OK, f"{counted(files, 'file')} published")


def _examine_live(home: Home) -> Iterator[Finding]:
    from basis_pipeline.live import check_connections

    if not home.settings.accounts:
        yield Finding(
            "accounts", Verdict.WARNING, "none are configured", "add wallets and exchange accounts under `accounts:`"
        )
    try:
        yield from asyncio.run(check_connections(home))
    except BasisError as error:
        yield Finding("connections", Verdict.FAILED, str(error))
    yield _redis(home)


def _redis(home: Home) -> Finding:
    from basis_pipeline.live import redis_url
    from basis_pipeline.monitors.publisher import check_connection

    try:
        url = redis_url(home)
        if url is None:
            return Finding(
                "redis",
                Verdict.WARNING,
                "no URL is configured, so that no position monitor can start",
                "set BASIS_REDIS_URL, or redis_url_file in basis.yaml",
            )
        check_connection(url)
    except (ConfigError, PublishingError) as error:
        return Finding("redis", Verdict.FAILED, str(error))
    return Finding("redis", Verdict.OK, "answers")
