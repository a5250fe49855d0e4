"""Every table and view of the warehouse, declared once: the analysts' contract.

Parquet schemas, DuckDB views, the column descriptions in the Dagster UI and the checks all come from here. Light on
purpose (pyarrow is imported only when a schema is asked for), so that a declaration costs nothing to look at.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

from basis_pipeline.domain.errors import UnknownNameError

if TYPE_CHECKING:
    import pyarrow as pa


class ColumnType(Enum):
    """What a column may be; the value is the DuckDB type.

    TIMESTAMP is UTC without zone: DuckDB would show a TIMESTAMPTZ in the reader's own zone.
    """

    TIMESTAMP = "TIMESTAMP"
    AMOUNT = "DECIMAL(38,18)"
    RATE = "DECIMAL(38,27)"
    TEXT = "VARCHAR"
    COUNT = "BIGINT"
    BOOLEAN = "BOOLEAN"

    @property
    def places(self) -> int | None:
        """Places after the point of a decimal type; None for the others."""
        return {ColumnType.AMOUNT: 18, ColumnType.RATE: 27}.get(self)


@dataclass(frozen=True)
class Column:
    """One column; the description is a single line and names the unit."""

    name: str
    type: ColumnType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A table stored as one file per day. The first column is its time; ``sort_by`` orders the rows of a file."""

    name: str
    description: str
    columns: tuple[Column, ...]
    sort_by: tuple[str, ...]

    @property
    def time_column(self) -> str:
        return self.columns[0].name


@dataclass(frozen=True)
class View:
    """A query over tables that readers use like a table; totals are exact because DuckDB sums decimals as decimals."""

    name: str
    description: str
    sql: str
    columns: tuple[Column, ...]

    @property
    def time_column(self) -> str | None:
        return next((column.name for column in self.columns if column.type is ColumnType.TIMESTAMP), None)

    @property
    def sort_by(self) -> tuple[str, ...]:
        """The columns a row is known by: its time and its names."""
        return tuple(c.name for c in self.columns if c.type in (ColumnType.TIMESTAMP, ColumnType.TEXT))


def _timestamp(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, ColumnType.TIMESTAMP, description, nullable)


def _text(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, ColumnType.TEXT, description, nullable)


def _amount(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, ColumnType.AMOUNT, description, nullable)


def _rate(name: str, description: str) -> Column:
    return Column(name, ColumnType.RATE, description)


def _count(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, ColumnType.COUNT, description, nullable)


_AS_OF = _timestamp("as_of", "The hour (UTC) the row describes: everything known up to and including it.")
_PORTFOLIO = _text("portfolio", "Name of the portfolio.")

BALANCE_CHANGES = Table(
    "balance_changes",
    "Every leg of every ledger entry, by the time it happened. Entries without legs (heartbeats) have no row.",
    (
        _timestamp("timestamp", "When it happened at the venue (UTC)."),
        _timestamp("recorded_at", "When the ledger learned of it (UTC); later than timestamp for late entries."),
        _PORTFOLIO,
        _count("sequence", "Number of the entry in its portfolio's ledger, from 1 without gaps."),
        _text("entry_id", "Id of the entry, unique within its portfolio."),
        _text("trigger", "Why balances changed, e.g. GAS_FEE_PAID."),
        _count("leg", "Place of the leg in its entry; legs apply in this order."),
        _text("venue", "Where the balance or position is held."),
        _text("token", "Token that changed; null for a leg on a perpetual.", nullable=True),
        _text("instrument", "Perpetual that changed; null for a leg on a token.", nullable=True),
        _text("action", "OPEN, ADJUST or CLOSE of a perpetual; null for a token.", nullable=True),
        _amount("delta", "Change of the balance in token units (scaled units for Aave tokens).", nullable=True),
        _amount("balance", "Balance after the leg in token units (scaled units for Aave tokens).", nullable=True),
        _amount("size", "Size of the perpetual after the leg in base units, negative when short.", nullable=True),
        _amount("entry_price", "Average entry price after the leg, quote currency per base unit.", nullable=True),
        _amount("notional_usd", "Notional in USD as the venue reported it; never used to value.", nullable=True),
        _text("reason", "The leg's own reason, as given.", nullable=True),
    ),
    ("timestamp", "portfolio", "sequence", "leg"),
)

WALLET_BALANCES = Table(
    "wallet_balances",
    "Tokens held in each portfolio's wallet at each hour. Zero only where a holding has just ended.",
    (
        _AS_OF,
        _PORTFOLIO,
        _text("token", "Canonical token."),
        _amount("balance", "Token units; scaled units for Aave tokens (multiply by the index for the claim)."),
    ),
    ("as_of", "portfolio", "token"),
)

CEX_BALANCES = Table(
    "cex_balances",
    "Balances on exchanges and in transit between venues at each hour. Zero only where a holding has just ended.",
    (
        _AS_OF,
        _PORTFOLIO,
        _text("venue", "Exchange, or in_transit for what was sent and has not arrived."),
        _text("token", "Canonical token."),
        _amount("balance", "Token units; negative is borrowed."),
    ),
    ("as_of", "portfolio", "venue", "token"),
)

PERP_POSITIONS = Table(
    "perp_positions",
    "Open perpetual futures positions at each hour. Size zero only where a position has just been closed.",
    (
        _AS_OF,
        _PORTFOLIO,
        _text("venue", "Exchange."),
        _text("instrument", "Contract, e.g. ETHUSDT-PERP."),
        _amount("size", "Base units, negative when short."),
        _amount("entry_price", "Average entry price, quote currency per base unit."),
        _timestamp("entry_timestamp", "When the position was opened (UTC)."),
        _amount("notional_usd", "Notional in USD as the venue reported it; never used to value.", nullable=True),
    ),
    ("as_of", "portfolio", "venue", "instrument"),
)

PRICES = Table(
    "prices",
    "What every series with a usable observation said at each hour, in USD: prices of tokens and marks of instruments.",
    (
        _AS_OF,
        _text("symbol", "Canonical token or instrument."),
        _text("kind", "spot, perp_mark, oracle, dex or modelled."),
        _text("venue", "Venue or source that the price is of, e.g. bybit, aave_oracle or modelled.", nullable=True),
        _amount("price_usd", "USD per unit."),
        _text("source", "The series or endpoint that answered."),
        _timestamp("observed_at", "When the price was known at its source (UTC)."),
    ),
    ("as_of", "symbol", "kind", "venue"),
)

CONVERSION_RATES = Table(
    "conversion_rates",
    "Aave indices and LST redemption rates at each hour, with their source.",
    (
        _AS_OF,
        _text("name", "As in aave:WETH:liquidity, aave:WETH:debt or lst:weETH."),
        _rate("rate", "Underlying units per unit; an index is normalized, about 1."),
        _text("source", "The series or endpoint that answered."),
        _timestamp("observed_at", "When the rate was known at its source (UTC)."),
    ),
    ("as_of", "name"),
)

EQUITY_POSITIONS = Table(
    "equity_positions",
    "Every line of equity: one row per asset, debt, perpetual, pending transfer and locked amount at each hour.",
    (
        _AS_OF,
        _PORTFOLIO,
        _text("account", "Where the line is booked: wallet, an exchange or in_transit."),
        _text("venue", "Where the line economically sits, e.g. aave for an aToken in the wallet."),
        _text("token", "Canonical token, or the instrument of a perpetual."),
        _text("underlying", "Token whose price values the line."),
        _text("side", "asset, debt, perp, in_transit or locked."),
        _amount("amount", "Token units, positive for assets and debts; signed base units for a perpetual."),
        _rate("rate", "Underlying units per token unit (index x LST rate), 1 where there is none."),
        _amount("price_usd", "USD per unit of the underlying."),
        _amount("value_usd", "USD, negative for a debt; a perpetual's is its unrealised PnL."),
        _amount("value", "Share-class currency, negative for a debt; a perpetual's is its unrealised PnL."),
    ),
    ("as_of", "portfolio", "side", "venue", "account", "token"),
)

EQUITY_SNAPSHOTS = Table(
    "equity_snapshots",
    "Equity of each portfolio at each hour, in its share-class currency.",
    (
        _AS_OF,
        _PORTFOLIO,
        _text("share_class", "Currency of every amount in the row: USDT or ETH."),
        _amount("total_equity", "assets - debts, share-class currency."),
        _amount("assets", "Sum of assets, share-class currency, positive."),
        _amount("debts", "Sum of debts, share-class currency, positive."),
        _amount("unrealized_pnl", "Unrealised PnL of perpetuals, share-class currency; outside total_equity."),
        _amount("in_transit", "Value under way between venues, share-class currency; outside total_equity."),
        _amount("locked", "Value waiting in withdrawal queues, share-class currency; outside total_equity."),
        _amount("nav", "total_equity + unrealized_pnl + in_transit + locked, share-class currency."),
        _count("ledger_sequence", "Highest ledger sequence among the entries up to as_of."),
    ),
    ("as_of", "portfolio"),
)

_HOUR = _timestamp("hour", "The hour (UTC) in which the accounts were read; of several runs the last one counts.")
_ACCOUNT = _text("account", "Name of the account, as under accounts in basis.yaml.")
_ACCOUNT_VENUE = _text("venue", "Where the account is: wallet or an exchange.")

VENUE_OBSERVATIONS = Table(
    "venue_observations",
    "What each account held by its venue in each hour (live). A row without key for one that holds nothing or failed.",
    (
        _HOUR,
        _PORTFOLIO,
        _ACCOUNT,
        _ACCOUNT_VENUE,
        _text(
            "key",
            "Token, instrument, instrument/entry_price or UNMAPPED: and the name as the venue has it.",
            nullable=True,
        ),
        _amount(
            "amount",
            "Token units (scaled for Aave tokens), base units or a price; null beyond 20 digits.",
            nullable=True,
        ),
        _text("status", "AVAILABLE, or UNAVAILABLE where nothing could be learned."),
        _count("block_number", "Block that a chain reading is pinned to; null for exchanges.", nullable=True),
        _text("block_hash", "Hash of that block.", nullable=True),
        _timestamp("venue_time", "The venue's own time of the answer (UTC), where it tells one.", nullable=True),
        _timestamp("observed_at", "When the answer arrived (UTC)."),
    ),
    ("hour", "portfolio", "account", "key"),
)

RECONCILIATION = Table(
    "reconciliation",
    "Ledger against venue in each hour (live): every key of either, with exactly one outcome.",
    (
        _HOUR,
        _PORTFOLIO,
        _ACCOUNT,
        _ACCOUNT_VENUE,
        _text("key", "Token, instrument, instrument/entry_price or UNMAPPED: and the name as the venue has it."),
        _amount("tracked", "What the ledger said as of the reading, in the unit of the key."),
        _amount("actual", "What the venue said; null where it was not learned.", nullable=True),
        _amount("difference", "actual - tracked; null where actual is.", nullable=True),
        _amount("tolerance", "Largest difference allowed; null where nothing was compared.", nullable=True),
        _text("outcome", "MATCHED, WITHIN_TOLERANCE, IN_FLIGHT, DRIFT, UNEXPECTED, MISSING or UNAVAILABLE."),
        Column("adjusted", ColumnType.BOOLEAN, "Whether the ledger was brought to the venue in this run."),
        _timestamp("observed_at", "When the venue's answer arrived (UTC)."),
    ),
    ("hour", "portfolio", "account", "key"),
)

ACCOUNT_HEALTH = Table(
    "account_health",
    "How near to liquidation each account was in each hour (live); null where a figure has no meaning.",
    (
        _timestamp("as_of", "The hour (UTC) in which the account was read; of several runs the last one counts."),
        _PORTFOLIO,
        _ACCOUNT_VENUE,
        _amount("ltv", "Debt over collateral, as a fraction of one.", nullable=True),
        _amount("health_factor", "Aave's health factor: liquidation below 1; null without debt.", nullable=True),
        _amount("margin_ratio", "Maintenance margin over margin balance, as a fraction of one.", nullable=True),
    ),
    ("as_of", "portfolio", "venue"),
)

ALL_TABLES = (
    BALANCE_CHANGES,
    WALLET_BALANCES,
    CEX_BALANCES,
    PERP_POSITIONS,
    PRICES,
    CONVERSION_RATES,
    EQUITY_POSITIONS,
    EQUITY_SNAPSHOTS,
    VENUE_OBSERVATIONS,
    RECONCILIATION,
    ACCOUNT_HEALTH,
)


def _equity_by(key: str, noun: str, column: Column) -> View:
    """Assets less debts grouped by one column of ``equity_positions``; the groups add up to ``total_equity``."""
    return View(
        f"equity_by_{noun}",
        f"Assets less debts of each portfolio at each hour by {noun}; adds up to total_equity.",
        f"SELECT as_of, portfolio, {key}, sum(value) AS value, sum(value_usd) AS value_usd FROM equity_positions "
        f"WHERE side IN ('asset', 'debt') GROUP BY as_of, portfolio, {key}",
        (
            _AS_OF,
            _PORTFOLIO,
            column,
            _amount("value", "Assets less debts, share-class currency."),
            _amount("value_usd", "Assets less debts, USD."),
        ),
    )


EQUITY_BY_VENUE = _equity_by("venue", "venue", _text("venue", "Where the value economically sits."))
EQUITY_BY_ASSET = _equity_by("token", "asset", _text("token", "Canonical token."))
EQUITY_BY_UNDERLYING = _equity_by("underlying", "underlying", _text("underlying", "Token whose price values it."))

EQUITY_LATEST = View(
    "equity_latest",
    "The newest equity snapshot of each portfolio.",
    "SELECT * FROM equity_snapshots QUALIFY row_number() OVER (PARTITION BY portfolio ORDER BY as_of DESC) = 1",
    EQUITY_SNAPSHOTS.columns,
)

RECONCILIATION_LATEST = View(
    "reconciliation_latest",
    "The newest reconciliation of each account.",
    "SELECT * FROM reconciliation QUALIFY hour = max(hour) OVER (PARTITION BY portfolio, account)",
    RECONCILIATION.columns,
)

CATALOGUE_INFO = View(
    "catalogue_info",
    "One row: which home, publication and contract this catalogue was built for.",
    "SELECT {home}::VARCHAR AS home, {generation}::BIGINT AS generation, {published_at}::TIMESTAMP AS published_at, "
    "{contract}::VARCHAR AS contract",
    (
        _text("home", "Absolute path of the home the listed files lie in."),
        _count("generation", "Number of the publication that the catalogue shows."),
        _timestamp("published_at", "When the catalogue was built (UTC)."),
        _text("contract", "Fingerprint of the declared tables and views."),
    ),
)
"""The braces are filled when a catalogue is built; the other views are the same in every catalogue."""

ALL_VIEWS = (
    EQUITY_BY_VENUE,
    EQUITY_BY_ASSET,
    EQUITY_BY_UNDERLYING,
    EQUITY_LATEST,
    RECONCILIATION_LATEST,
    CATALOGUE_INFO,
)

_TABLES = {table.name: table for table in ALL_TABLES}
_RELATIONS: dict[str, Table | View] = {**_TABLES, **{view.name: view for view in ALL_VIEWS}}


def table(name: str) -> Table:
    """The table of that name. UnknownNameError lists the ones there are."""
    try:
        return _TABLES[name]
    except KeyError:
        raise UnknownNameError(f"table: {name!r} does not exist; the tables are {', '.join(_TABLES)}") from None


def relation(name: str) -> Table | View:
    """The table or view of that name. UnknownNameError lists the ones there are."""
    try:
        return _RELATIONS[name]
    except KeyError:
        raise UnknownNameError(f"table: {name!r} does not exist; there are {', '.join(_RELATIONS)}") from None


@cache
def arrow_schema(declared: Table) -> pa.Schema:
    """The Parquet schema of a table: same names, order and nullability as declared."""
    import pyarrow as pa

    types = {
        ColumnType.TIMESTAMP: pa.timestamp("us"),
        ColumnType.AMOUNT: pa.decimal128(38, 18),
        ColumnType.RATE: pa.decimal128(38, 27),
        ColumnType.TEXT: pa.string(),
        ColumnType.COUNT: pa.int64(),
        ColumnType.BOOLEAN: pa.bool_(),
    }
    return pa.schema([pa.field(c.name, types[c.type], nullable=c.nullable) for c in declared.columns])


@cache
def contract_fingerprint() -> str:
    """16 hex digits that change with any declaration, so that a newer version republishes an older catalogue."""
    return hashlib.sha256(repr((ALL_TABLES, ALL_VIEWS)).encode()).hexdigest()[:16]
