"""Files that can be trusted are read exactly; all others are refused, with file and column named."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from basis_pipeline.domain.errors import InputError, MarketDataError
from basis_pipeline.domain.quotes import Quote, Rate
from basis_pipeline.market.history import MarketHistory
from basis_pipeline_tests.market.builders import (
    NO_RESERVES,
    PRICE_NAMES,
    RESERVE_NAMES,
    Build,
    Reserve,
    arrow,
    csv_bytes,
    hour,
    price,
    prices,
    write,
)

ROWS = [
    *prices("aave_oracle USDTUSD oracle", ["0.999703325833333333", "0.999700231666666667", "1"]),
    *prices("bybit ETHUSDT spot", ["2910.5", "2911.123456789012345678", "0.1"]),
    *prices("aave_oracle weETHETH oracle", ["1.04", "1.040000000000000001", "1.05"]),
]
RESERVES = [Reserve(hour(number), "WETH", "1.000000000000000001", "1.2", None) for number in range(3)]


def answers(history: MarketHistory) -> list[object]:
    market = history.window(hour(0), hour(2))
    found: list[object] = []
    for number in range(3):
        found += [*market.all_quotes(hour(number)), *market.all_rates(hour(number))]
    return found


def read(directory: Path) -> None:
    MarketHistory(directory).span()


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_csv_answers_exactly_what_parquet_answers(build: Build, tmp_path: Path, suffix: str) -> None:
    expected = answers(build(ROWS, RESERVES))
    (tmp_path / "prices.parquet").unlink()
    (tmp_path / "aave_reserve_hourly.parquet").unlink()
    assert answers(build(ROWS, RESERVES, suffix=suffix)) == expected
    assert len(expected) == 15


def test_the_two_files_may_have_different_formats(tmp_path: Path) -> None:
    write(tmp_path, "prices", PRICE_NAMES, ROWS, ".csv.gz")
    write(tmp_path, "aave_reserve_hourly", RESERVE_NAMES, RESERVES, ".parquet")
    assert MarketHistory(tmp_path).span() == (hour(0), hour(2))


def test_csv_keeps_all_27_places_of_an_index(build: Build) -> None:
    index = "1.045678901234567890123456789"
    market = build(ROWS, [Reserve(hour(0), "WETH", index, index + "4")], suffix=".csv").window(hour(0), hour(1))
    assert isinstance(liquidity := market.rate("aave:WETH:liquidity", hour(0)), Rate)
    assert isinstance(debt := market.rate("aave:WETH:debt", hour(0)), Rate)
    assert (str(liquidity.rate), str(debt.rate)) == (index, index)


def test_times_in_other_zones_mean_the_same_instant(build: Build, tmp_path: Path) -> None:
    build(ROWS, suffix=".csv")
    (tmp_path / "prices.csv").write_text(
        "timestamp,venue,symbol,kind,close\n2024-05-12T03:00:00+02:00,x,USDTUSD,oracle,0.9\n"
        "2024-05-12 02:00:00Z,x,USDTUSD,oracle,0.8\n"
    )
    market = MarketHistory(tmp_path).window(hour(0), hour(3))
    assert isinstance(first := market.price("USDT", hour(1)), Quote)
    assert (first.price, first.observed_at) == (Decimal("0.9"), hour(1))
    assert isinstance(second := market.price("USDT", hour(2)), Quote)
    assert second.price == Decimal("0.8")


def test_parquet_may_hold_prices_as_text_integers_and_categories(build: Build, tmp_path: Path) -> None:
    build(ROWS)
    table = arrow(PRICE_NAMES, [price(0, "kraken ETHUSD spot", "3000")])
    for close in (pa.array(["3000"]), pa.array([3000], pa.int64()), pa.array([Decimal(3000)], pa.decimal256(60, 20))):
        changed = table.set_column(4, "close", close).set_column(1, "venue", table["venue"].dictionary_encode())
        pq.write_table(changed, tmp_path / "prices.parquet")
        market = MarketHistory(tmp_path).window(hour(0), hour(1))
        assert isinstance(found := market.price("ETH", hour(0)), Quote)
        assert found.price_usd == 3000


def test_a_missing_directory_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match=r"nowhere: there is no such directory"):
        read(tmp_path / "nowhere")
    with pytest.raises(MarketDataError, match=r"there is no prices\.parquet, prices\.csv or prices\.csv\.gz"):
        read(tmp_path)
    write(tmp_path, "prices", PRICE_NAMES, ROWS, ".parquet")
    with pytest.raises(MarketDataError, match=r"there is no aave_reserve_hourly\.parquet"):
        read(tmp_path)


def test_the_same_data_twice_is_refused(build: Build, tmp_path: Path) -> None:
    build(ROWS)
    write(tmp_path, "prices", PRICE_NAMES, ROWS, ".csv")
    with pytest.raises(MarketDataError, match=r"prices\.parquet and prices\.csv both hold prices"):
        read(tmp_path)


@pytest.mark.parametrize("stem", ["prices", "aave_reserve_hourly"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
def test_a_half_copied_file_is_refused_wherever_it_was_cut(
    build: Build, tmp_path: Path, stem: str, suffix: str
) -> None:
    build(ROWS, RESERVES, suffix=suffix)
    path = tmp_path / (stem + suffix)
    content = path.read_bytes()
    last_line_kept = len(content.rstrip()) if suffix == ".csv" else len(content) - 1
    for size in (0, 3, len(content) // 3, len(content) // 2, last_line_kept):
        path.write_bytes(content[:size])
        with pytest.raises(MarketDataError, match=stem):
            read(tmp_path)


def test_something_else_under_the_name_of_a_file_is_refused(build: Build, tmp_path: Path) -> None:
    build(ROWS)
    (tmp_path / "prices.parquet").write_text("<html>502 Bad Gateway</html>\n")
    with pytest.raises(MarketDataError, match=r"prices\.parquet: cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("column", ["timestamp", "venue", "symbol", "kind", "close"])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_missing_column_is_named(build: Build, tmp_path: Path, column: str, suffix: str) -> None:
    build(ROWS, suffix=suffix)
    keep = [place for place, name in enumerate(PRICE_NAMES) if name != column]
    names = tuple(PRICE_NAMES[place] for place in keep)
    write(tmp_path, "prices", names, [tuple(row[place] for place in keep) for row in ROWS], suffix)
    with pytest.raises(MarketDataError, match=rf"prices\{suffix}: column {column} is missing"):
        read(tmp_path)


def test_a_column_that_is_there_twice_is_named(build: Build, tmp_path: Path) -> None:
    build(ROWS, suffix=".csv")
    (tmp_path / "prices.csv").write_text("timestamp,venue,symbol,kind,close,close\n2024-05-12T01:00Z,x,AUSD,spot,1,2\n")
    with pytest.raises(MarketDataError, match="column close is missing or there twice"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "named"),
    [
        ("close", pa.array([1.5]), "column close: type double does not hold exact numbers"),
        ("close", pa.array(["1e400"]), "column close"),
        ("close", pa.array([None], pa.string()), "hold no values"),
        ("timestamp", pa.array([hour(0)], pa.timestamp("us")), "column timestamp: the times have no zone"),
        ("timestamp", pa.array([1], pa.timestamp("ns", "UTC")), "column timestamp: .*no finer than a microsecond"),
        ("timestamp", pa.array([1]), "column timestamp: type int64 is not a time"),
        ("timestamp", pa.array([None], pa.timestamp("us", "UTC")), "column timestamp: 1 rows have no value"),
        ("venue", pa.array([None], pa.string()), "column venue: 1 rows have no value"),
        ("venue", pa.array([""]), "column venue: some rows have no value"),
        ("symbol", pa.array([7]), "column symbol: type int64 is not text"),
    ],
)
def test_a_wrong_type_or_a_missing_key_is_named(
    build: Build, tmp_path: Path, column: str, values: pa.Array, named: str
) -> None:
    build(ROWS, [Reserve(hour(0), "WETH", "1", "1")])
    table = arrow(PRICE_NAMES, [price(0, "kraken ETHUSD spot", "3000")])
    pq.write_table(table.set_column(PRICE_NAMES.index(column), column, values), tmp_path / "prices.parquet")
    if "no values" in named:
        null = arrow(RESERVE_NAMES, NO_RESERVES).slice(0, 0)
        pq.write_table(null, tmp_path / "aave_reserve_hourly.parquet")
    with pytest.raises(MarketDataError, match=named):
        read(tmp_path)


def test_a_float_index_is_refused_by_name(build: Build, tmp_path: Path) -> None:
    build(ROWS)
    table = arrow(RESERVE_NAMES, NO_RESERVES).set_column(2, "liquidity_index", pa.array([1.0]))
    pq.write_table(table, tmp_path / "aave_reserve_hourly.parquet")
    with pytest.raises(MarketDataError, match=r"aave_reserve_hourly\.parquet, column liquidity_index: type double"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("2024-05-12T01:00:00,x,AUSD,spot,1", r"column timestamp: row 2 has '2024-05-12T01:00:00'"),
        ("yesterday,x,AUSD,spot,1", r"column timestamp: row 2 has 'yesterday'"),
        (",x,AUSD,spot,1", r"column timestamp: 1 rows have no value"),
        ("2024-05-12T01:00:00Z,,AUSD,spot,1", r"column venue: 1 rows have no value"),
        ("2024-05-12T01:00:00Z,x,AUSD,spot,NaN", r"column close: row 2 has 'NaN'"),
        ("2024-05-12T01:00:00Z,x,AUSD,spot,inf", r"column close: row 2 has 'inf'"),
        ('2024-05-12T01:00:00Z,x,AUSD,spot,"1,5"', r"column close: row 2 has '1,5'"),
        ("2024-05-12T01:00:00Z,x,AUSD,spot,0." + "1" * 39, r"column close: a number has more than 38 places"),
        ("2024-05-12T01:00:00Z,x,AUSD,spot", r"cannot be read"),
        ("2024-05-12T01:00:00Z,x,AUSD,spot,1,2", r"cannot be read"),
        ("2024-05-12T01:00:00Z,\xff,AUSD,spot,1", r"cannot be read"),
    ],
)
def test_a_bad_line_of_csv_is_refused_with_row_and_value(build: Build, tmp_path: Path, line: str, named: str) -> None:
    build(ROWS, suffix=".csv")
    good = "timestamp,venue,symbol,kind,close\n2024-05-12T00:00:00Z,x,AUSD,spot,1\n"
    (tmp_path / "prices.csv").write_bytes((good + line + "\n").encode("latin-1"))
    with pytest.raises(MarketDataError, match=rf"prices\.csv.*{named}"):
        read(tmp_path)


def test_csv_from_a_spreadsheet_with_byte_order_mark_and_carriage_returns_is_read(build: Build, tmp_path: Path) -> None:
    build(ROWS, RESERVES, suffix=".csv")
    expected = answers(MarketHistory(tmp_path))
    for stem, names, rows in (("prices", PRICE_NAMES, ROWS), ("aave_reserve_hourly", RESERVE_NAMES, RESERVES)):
        content = csv_bytes(names, rows).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        (tmp_path / f"{stem}.csv").write_bytes(b"\xef\xbb\xbf" + content)
    assert answers(MarketHistory(tmp_path)) == expected


def test_other_columns_are_ignored_whatever_they_hold(build: Build, tmp_path: Path) -> None:
    build(ROWS)
    table = arrow(RESERVE_NAMES, NO_RESERVES).append_column("liquidity_rate", pa.array([float("nan")]))
    pq.write_table(table, tmp_path / "aave_reserve_hourly.parquet")
    read(tmp_path)


def test_the_name_under_which_reserve_columns_appear_is_not_for_prices(build: Build) -> None:
    rows = [*ROWS, price(0, "aave_reserve WETH liquidity_index", "1")]
    with pytest.raises(MarketDataError, match="aave_reserve:WETH:liquidity_index is reserved"):
        build(rows, RESERVES).span()


def test_a_replaced_file_is_read_again_and_a_window_keeps_what_it_started_with(build: Build, tmp_path: Path) -> None:
    history = build(ROWS)
    before, fingerprint = history.window(hour(0), hour(5)), history.fingerprint()
    more = [*ROWS, *prices("bybit ETHUSDT spot", ["1"] * 6)[3:]]
    write(tmp_path, "prices", PRICE_NAMES, more, ".parquet")
    assert history.fingerprint() != fingerprint
    assert history.span() == (hour(0), hour(5))
    assert isinstance(found := before.price("ETH", hour(4)), Quote)
    assert found.observed_at == hour(2)


def test_a_compressed_csv_may_consist_of_several_parts(build: Build, tmp_path: Path) -> None:
    build(ROWS, suffix=".csv.gz")
    content = csv_bytes(PRICE_NAMES, ROWS)
    half = content.index(b"\n") + 1
    (tmp_path / "prices.csv.gz").write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
    assert MarketHistory(tmp_path).span() == (hour(0), hour(2))


def test_a_window_needs_two_utc_instants_in_order(build: Build) -> None:
    history = build(ROWS)
    for first, last in ((hour(1), hour(0)), (hour(0).replace(tzinfo=None), hour(1))):
        with pytest.raises(InputError, match="window"):
            history.window(first, last)
