"""import, record, reverse, export."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from basis_pipeline_tests.cli.builders import (
    ETH_ARRIVES,
    JOURNAL,
    USDT_IS_LENT,
    Basis,
    change,
    funding,
    run_process,
    update,
    write_config,
    write_journal,
)


def balances(basis: Basis, *arguments: str) -> dict[tuple[str, str], str]:
    return {(row["venue"], row["name"]): row["amount"] for row in basis.rows("positions", *arguments)}


AFTER_JOURNAL = {
    ("okx", "USDT"): "49999.5",
    ("wallet", "ETH"): "2",
    ("wallet", "USDT"): "948900",
    ("wallet", "aUSDT"): "1000",
}


def test_importing_twice_changes_nothing(empty_books: Basis, journal: Path) -> None:
    assert empty_books("import", journal).stdout == f"{journal}: 3 new, 0 there already\n"
    assert empty_books("import", journal).stdout == f"{journal}: 0 new, 3 there already\n"
    assert balances(empty_books) == AFTER_JOURNAL


def test_several_files_are_counted_each(empty_books: Basis, tmp_path: Path) -> None:
    packed = write_journal(tmp_path / "a.jsonl.gz", JOURNAL)
    more = write_journal(tmp_path / "b.jsonl", funding(2500))
    done = empty_books("import", packed, more, "--portfolio", "lending")
    assert done.stdout.splitlines() == [f"{packed}: 3 new, 0 there already", f"{more}: 2,500 new, 0 there already"]
    assert balances(empty_books)["okx", "USDT"] == "50024.5"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_standard_input_is_read_as_it_comes(empty_books: Basis, journal: Path, pack: object) -> None:
    assert callable(pack)
    done = run_process("--home", empty_books.home, "import", "-", stdin=_pipe(pack(journal.read_bytes())))
    assert (done.returncode, done.stdout, done.stderr) == (0, "standard input: 3 new, 0 there already\n", "")


def _pipe(content: bytes) -> int:
    import os

    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(content)
    return reading


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "is not valid JSON"),
        (json.dumps(update("x", 12, "GAS_FEE_PAID", change("wallet", "ETHH", "-1"))), "did you mean ETH?"),
        (json.dumps(update("x", 12, "GAS_FEE_PAID", change("wallet", "ETH", "-3"))), "cannot go below zero"),
        (json.dumps({**ETH_ARRIVES, "trigger": "NONSENSE"}), "is not a trigger"),
        (json.dumps({**USDT_IS_LENT, "timestamp": "2024-05-12T10:16:00Z"}), "with other content"),
    ],
)
def test_a_bad_line_stops_the_import_with_its_file_and_number(
    empty_books: Basis, tmp_path: Path, line: str, message: str
) -> None:
    bad = tmp_path / "bad.jsonl"
    good = [json.dumps(one) for one in JOURNAL]
    bad.write_text("\n".join([*good, line, json.dumps(funding(1)[0])]))
    done = empty_books("import", bad, code=1)
    assert f"error: {bad}:4: " in done.stderr
    assert message in done.stderr
    assert f"{bad}: 3 new, 0 there already before the error" in done.stderr
    assert balances(empty_books) == AFTER_JOURNAL


def test_a_damaged_gzip_says_how_far_it_got(empty_books: Basis, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl.gz"
    whole = gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in funding(2)))
    cut.write_bytes(whole[:-12])
    done = empty_books("import", cut, code=1)
    assert "the file is damaged or incomplete" in done.stderr


def test_a_missing_file_is_one_line_without_a_trace(empty_books: Basis, tmp_path: Path) -> None:
    done = empty_books("import", tmp_path / "none.jsonl", code=1)
    assert done.stderr == f"error: {tmp_path / 'none.jsonl'}: cannot be read (No such file or directory)\n"


def test_with_several_portfolios_one_must_be_named(empty_books: Basis, journal: Path) -> None:
    write_config(empty_books.home, ["lending", "staking"])
    done = empty_books("import", journal, code=1)
    assert "say which one with --portfolio" in done.stderr
    assert "lending, staking" in done.stderr
    assert "is not in the ledger; it holds lending, staking" in empty_books("import", journal, "-p", "x", code=1).stderr
    empty_books("import", journal, "-p", "lending")


def test_record_tells_the_id_and_time_it_chose_and_what_is_left(books: Basis) -> None:
    done = books("record", "gas_fee_paid", "wallet:ETH=-0.0035")
    assert done.stderr.startswith("manual-")
    assert done.stderr.endswith(" is now entry 5 of lending, at 2024-05-12T11:00:00Z\n")
    assert done.stdout.splitlines()[2].split() == [
        "lending",
        "2024-05-12T11:00:00Z",
        "wallet",
        "token",
        "ETH",
        "1.9965",
    ]


def test_record_with_an_id_of_ones_own_may_be_repeated(books: Basis) -> None:
    command = ("record", "GAS_FEE_PAID", "wallet:ETH=-1", "--id", "gas-1", "--at", "2024-05-12T12:00:00Z")
    books(*command)
    assert "gas-1 is already entry 5" in books(*command).stderr
    assert balances(books)["wallet", "ETH"] == "1"


def test_record_keeps_the_whole_update_or_nothing(books: Basis) -> None:
    legs = ("wallet:USDT=-948901", "okx:USDT=948901")
    done = books("record", "VENUE_TRANSFER", *legs, code=1)
    assert "wallet USDT would be -1" in done.stderr
    assert balances(books) == AFTER_JOURNAL


def test_a_perpetual_is_opened_and_closed_by_hand(books: Basis) -> None:
    books("record", "PERP_OPENED", "okx:ETHUSDT-PERP=OPEN,size=-1.5,entry_price=3000", "okx:USDT=-1.2:FEE")
    [perp] = [row for row in books.rows("positions") if row["kind"] == "perp"]
    assert (perp["name"], perp["amount"], perp["entry_price"]) == ("ETHUSDT-PERP", "-1.5", "3000")
    closed = books.rows("record", "PERP_CLOSED", "okx:ETHUSDT-PERP=CLOSE")
    assert [(row["kind"], row["amount"]) for row in closed] == [("perp", "0")]


def test_a_heartbeat_needs_no_legs(books: Basis) -> None:
    done = books("record", "HOURLY_RECONCILIATION")
    assert (done.stdout, "is now entry 5" in done.stderr) == ("", True)


def test_reverse_takes_an_entry_back_and_twice_is_once(books: Basis) -> None:
    done = books("reverse", "lend-1")
    assert "reversal:lend-1 is now entry 5 of lending, at 2024-05-12T10:15:00Z" in done.stderr
    assert "reversal:lend-1 is already entry 5" in books("reverse", "lend-1").stderr
    assert balances(books) == {("okx", "USDT"): "49999.5", ("wallet", "ETH"): "2", ("wallet", "USDT"): "950000"}


def test_reversing_an_unknown_entry_says_where_ids_are(books: Basis) -> None:
    assert "see the column entry_id of balance_changes" in books("reverse", "nonsense", code=1).stderr


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_an_export_is_imported_into_the_same_books(books: Basis, tmp_path: Path, name: str) -> None:
    books("record", "PERP_OPENED", "okx:ETHUSDT-PERP=OPEN,size=-1.5,entry_price=3000", "okx:USDT=-1.2:FEE")
    books("reverse", "lend-1")
    out = tmp_path / name
    assert books("export", "-o", out).stderr == f"{out}: 5 updates\n"
    assert books("import", out).stdout == f"{out}: 0 new, 5 there already\n"
    other = Basis(tmp_path / "other")
    write_config(other.home)
    other("import", out)
    assert balances(other) == balances(books)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_an_export_of_late_entries_is_imported_into_the_same_books(books: Basis, tmp_path: Path) -> None:
    late = update("late", 8, "WITHDRAWAL", change("wallet", "USDT", "-400000"))
    checked = update("checked", 12, "WITHDRAWAL", change("wallet", "USDT", "-900", new_balance="948000"))
    books("import", write_journal(tmp_path / "more.jsonl", [checked, late]))
    out = tmp_path / "out.jsonl"
    books("export", "-o", out)
    other = Basis(tmp_path / "other")
    write_config(other.home)
    other("import", out)
    assert balances(other) == balances(books)


def test_an_export_of_some_days_holds_exactly_theirs(books: Basis, tmp_path: Path) -> None:
    edge = [update(f"at-{at}", at, "DEPOSIT", change("wallet", "ETH", "1")) for at in (23.9999, 24, 47.9999)]
    books("import", write_journal(tmp_path / "edge.jsonl", edge))

    def ids(*arguments: str) -> list[str]:
        return [json.loads(line)["id"] for line in books("export", *arguments).stdout.splitlines()]

    assert ids("--from", "2024-05-13") == ["at-24", "at-47.9999"]
    assert ids("--to", "2024-05-12") == ["desk-0042", "lend-1", "move-1", "at-23.9999"]
    assert ids("--from", "2024-05-13", "--to", "2024-05-13", "-p", "lending") == ["at-24", "at-47.9999"]
