"""Journals in: what is good is in the ledger, what is bad is named by file and line, and running again is harmless."""

from __future__ import annotations

import gzip
import io
import json
from decimal import Decimal

import pytest

from basis_pipeline.domain.errors import DuplicateIdError, InputError, UnknownNameError
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.ledger.verification import verify
from basis_pipeline.steps.importing import BATCH, ImportFailed, export_journal, import_journal, open_journal
from basis_pipeline_tests.builders import START, deposit, payload, perp, token, wallet

GOOD = [payload("DEPOSIT", wallet("USDT", "10"), minute=n, entry_id=f"good-{n}") for n in range(1, 4)]
AFTER = payload("DEPOSIT", wallet("USDT", "20"), minute=9, entry_id="after")
REPAIRED = payload("DEPOSIT", wallet("USDT", "5"), minute=5, entry_id="bad")


def line(document) -> bytes:
    return json.dumps(document).encode()


def bad(*legs, trigger="DEPOSIT", **more) -> bytes:
    return line(payload(trigger, *legs, minute=5, entry_id="bad", **more))


def without(name) -> bytes:
    return line({key: value for key, value in REPAIRED.items() if key != name})


def raw(delta: str) -> bytes:
    return bad(wallet("USDT", "@")).replace(b'"@"', delta.encode())


BAD_LINES = {
    "malformed JSON": (b'{"id": "bad", ', "is not valid JSON"),
    "cut in the middle": (line(REPAIRED)[:40], "is not valid JSON"),
    "not an object": (b'["bad"]', "is not a JSON object but list"),
    "a bare word": (b"nonsense", "is not valid JSON"),
    "not UTF-8": (line(REPAIRED).replace(b"DEPOSIT", b"DEP\xffSIT", 1), "is not UTF-8 text"),
    "a line of two megabytes": (bad(wallet("USDT", "1", reason="x" * 2_000_000)), "more than the limit of 1000000"),
    "a key given twice": (line(REPAIRED)[:-1] + b', "id": "other"}', "id: is given twice"),
    "an unknown field": (bad(wallet("USDT", "1"), comment="x"), "comment: unknown field"),
    "unknown token": (bad(wallet("DOGE", "1")), r"token_changes\[0\].token: 'DOGE'"),
    "unknown venue": (bad(token("kraken", "USDT", "1")), r"token_changes\[0\].venue: 'kraken'"),
    "unknown trigger": (bad(wallet("USDT", "1"), trigger="WINDFALL"), "trigger: 'WINDFALL'"),
    "unknown instrument": (bad(perp("OPEN", "1", on="ETH"), trigger="PERP_OPENED"), "instrument: 'ETH'"),
    "unknown action": (bad(perp("FLIP", "1"), trigger="PERP_ADJUSTED"), "action: 'FLIP'"),
    "a bare NaN": (raw("NaN"), "NaN is not a number"),
    "a bare infinity": (raw("-Infinity"), "-Infinity is not a number"),
    "NaN as text": (bad(wallet("USDT", "NaN")), r"token_changes\[0\].delta: .*NaN"),
    "infinity as text": (bad(wallet("USDT", "1e999999")), r"token_changes\[0\].delta: "),
    "a number too large for a float": (raw("1e400"), r"token_changes\[0\].delta: "),
    "an amount that is a truth value": (raw("true"), r"token_changes\[0\].delta: "),
    "too many decimals": (bad(wallet("USDT", "0.0000001")), "more decimal places than USDT has"),
    "an overdrawn wallet": (
        bad(wallet("USDT", "-1031"), trigger="WITHDRAWAL"),
        "wallet USDT would be -1, and a wallet",
    ),
    "a wrong new_balance": (bad(wallet("USDT", "5", new_balance="1034")), "would be 1035, not 1034"),
    "CLOSE of nothing": (bad(perp("CLOSE"), trigger="PERP_CLOSED"), "CLOSE of binance ETHUSDT-PERP, which is not open"),
    "the wrong shape": (bad(wallet("USDT", "-5")), "DEPOSIT"),
    "no id": (without("id"), "id: is missing"),
    "an empty id": (line({**REPAIRED, "id": " "}), "id: is empty"),
    "no timestamp": (without("timestamp"), "timestamp: is missing"),
    "a timestamp without zone": (line({**REPAIRED, "timestamp": "2024-05-12T02:00:00"}), "timestamp: "),
    "before the portfolio's start": (
        line({**REPAIRED, "timestamp": "2024-05-12T00:59:59Z"}),
        "is before the portfolio",
    ),
    "no trigger": (without("trigger"), "trigger: is missing"),
    "same id, other content": (line({**REPAIRED, "id": "good-1"}), "'good-1' is entry 2 of book already, with other"),
    "brackets without end": (b"[" * 100_000, "is not JSON that can be read"),
    "brackets in more levels than anybody needs": (b"[" * 101 + b"]" * 101, "brackets in more than 100 levels"),
    "brackets that nothing closes": (b'{"a":' * 101, "brackets in more than 100 levels"),
    "an integer of thousands of digits": (raw("1" * 10_000), "is not JSON that can be read"),
    "UTF-16": (line(REPAIRED).decode().encode("utf-16"), "is not UTF-8 text"),
}


def import_lines(ledger, *lines, source="journal.jsonl"):
    return import_journal(ledger, "book", [each + b"\n" for each in lines], source)


def ids(ledger, portfolio="book"):
    return [entry.update.id for entry in ledger.snapshot().entries(portfolio, None, None)][1:]


def test_brackets_in_text_and_beside_each_other_are_no_levels(ledger):
    legs = [wallet("USDT", "1", reason='[[{"' * 60)] * 150
    assert import_lines(ledger, line({**REPAIRED, "trigger": "HOURLY_RECONCILIATION", "token_changes": legs})).new == 1


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_and_everything_before_it_is_in(ledger, name):
    content, message = BAD_LINES[name]
    good = [line(each) for each in GOOD]
    with pytest.raises(ImportFailed, match=f"^journal.jsonl:4: .*{message}") as caught:
        import_lines(ledger, *good, content, line(AFTER))
    assert len(str(caught.value)) < 1000
    assert isinstance(caught.value, InputError)
    assert (caught.value.imported.new, caught.value.imported.duplicates) == (3, 0)
    assert ids(ledger) == ["good-1", "good-2", "good-3"]
    assert verify(ledger.engine).problems == ()

    imported = import_lines(ledger, *good, line(REPAIRED), line(AFTER))
    assert (imported.new, imported.duplicates) == (2, 3)
    assert ids(ledger) == ["good-1", "good-2", "good-3", "bad", "after"]
    assert verify(ledger.engine).problems == ()


def test_the_error_of_the_ledger_stays_visible_as_the_cause(ledger):
    import_lines(ledger, line(GOOD[0]))
    with pytest.raises(ImportFailed) as caught:
        import_lines(ledger, line({**GOOD[0], "timestamp": GOOD[1]["timestamp"]}))
    assert isinstance(caught.value.__cause__, DuplicateIdError)


def test_a_bad_line_in_a_later_batch_keeps_the_batches_before_and_the_part_before_it(ledger):
    many = [line(payload("DEPOSIT", wallet("USDT", "1"), minute=n, entry_id=f"n-{n}")) for n in range(BATCH + 7)]
    with pytest.raises(ImportFailed, match=f"^journal.jsonl:{BATCH + 6}: ") as caught:
        import_lines(ledger, *many[: BATCH + 5], bad(wallet("USDT", "-999999"), trigger="WITHDRAWAL"), *many[-2:])
    assert caught.value.imported.new == BATCH + 5
    assert len(ids(ledger)) == BATCH + 5
    assert import_lines(ledger, *many).new == 2


def test_the_same_line_twice_in_one_file_counts_once(ledger):
    imported = import_lines(ledger, line(GOOD[0]), line(GOOD[0]), line(GOOD[1]))
    assert (imported.new, imported.duplicates) == (2, 1)


@pytest.mark.parametrize("number", ["0.1", "1e-6", "123456789.123456", "1000000000000.000001", "1E+2", "3"])
def test_json_numbers_are_read_exactly(ledger, number):
    import_lines(ledger, raw(number))
    [entry] = [e for e in ledger.snapshot().entries("book", None, None) if e.update.id == "bad"]
    assert entry.update.token_changes[0].delta == Decimal(number)


def test_windows_line_ends_blank_lines_and_a_missing_last_line_end_are_fine(ledger):
    content = b"\r\n".join([line(GOOD[0]), b"", b"   ", line(GOOD[1])])
    assert import_journal(ledger, "book", io.BytesIO(content), "journal").new == 2


def test_a_byte_order_mark_is_accepted(ledger):
    content = b"\xef\xbb\xbf" + line(GOOD[0]) + b"\n" + line(GOOD[1])
    assert import_journal(ledger, "book", io.BytesIO(content), "journal").new == 2


def test_blank_lines_count_in_the_number_of_a_bad_line(ledger):
    with pytest.raises(ImportFailed, match=r"^journal:4: "):
        import_journal(ledger, "book", io.BytesIO(b"\n\n" + line(GOOD[0]) + b"\nx\n"), "journal")


def test_an_empty_file_imports_nothing(ledger, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    with open_journal(tmp_path / "empty.jsonl") as lines:
        imported = import_journal(ledger, "book", lines, "empty")
    assert (imported.new, imported.duplicates) == (0, 0)


@pytest.mark.parametrize(("name", "message"), [("nowhere.jsonl", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_opened_is_named(tmp_path, name, message):
    path = tmp_path / name
    with pytest.raises(InputError, match=message) as caught, open_journal(path):
        pass
    assert str(path) in str(caught.value)


def many_good_lines(count):
    return [line(payload("DEPOSIT", wallet("USDT", "1"), minute=n, entry_id=f"n-{n}")) + b"\n" for n in range(count)]


def test_a_packed_journal_is_recognized_by_its_content(ledger, tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(gzip.compress(b"".join(many_good_lines(5))))
    with open_journal(path) as lines:
        assert import_journal(ledger, "book", lines, str(path)).new == 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage behind"])
def test_a_damaged_packed_journal_is_named_and_what_was_whole_is_in(ledger, tmp_path, damage):
    path = tmp_path / "journal.jsonl.gz"
    whole = gzip.compress(b"".join(many_good_lines(4000)))
    middle = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :],
            "garbage behind": whole + b"garbage",
        }[damage]
    )
    with pytest.raises(InputError, match=r"journal\.jsonl\.gz") as caught, open_journal(path) as lines:
        import_journal(ledger, "book", lines, str(path))
    assert "Traceback" not in str(caught.value)
    found = ids(ledger)
    assert found == [f"n-{n}" for n in range(len(found))]
    assert verify(ledger.engine).problems == ()
    path.write_bytes(whole)
    with open_journal(path) as lines:
        imported = import_journal(ledger, "book", lines, str(path))
    assert (imported.duplicates, imported.new) == (len(found), 4000 - len(found))


def test_an_unknown_portfolio_is_refused_before_anything_is_written(ledger):
    with pytest.raises(UnknownNameError, match="'nobody' is not in the ledger"):
        import_journal(ledger, "nobody", [line(GOOD[0])], "journal")


def test_progress_counts_what_is_in_the_ledger(ledger):
    seen = []
    lines = many_good_lines(BATCH + 1)
    import_journal(ledger, "book", lines, "journal", seen.append)
    assert seen == [BATCH, BATCH + 1]


def test_late_lines_in_a_file_that_is_not_in_order_end_in_the_same_book(ledger):
    forward = [line(each) for each in GOOD]
    import_lines(ledger, *reversed(forward))
    at = ledger.snapshot().state("book").last_timestamp
    assert ledger.snapshot().book_at("book", at).book.balances == {("wallet", "USDT"): Decimal(1030)}
    assert verify(ledger.engine).problems == ()


def test_an_exported_journal_imports_as_nothing_but_duplicates(ledger):
    import_lines(ledger, *(line(each) for each in GOOD))
    opened = payload("PERP_OPENED", perp("OPEN", "-2", fill_price="2920"), token("binance", "USDT", "-1"), minute=20)
    import_lines(ledger, line(opened))
    ledger.append("book", deposit("ETH", "0.5", minute=2))
    ledger.reverse("book", "good-2")
    exported = [text.encode() for text in export_journal(ledger.snapshot(), "book")]
    imported = import_lines(ledger, *exported)
    assert (imported.new, imported.duplicates) == (0, 6)


def test_an_exported_journal_is_a_whole_copy_of_the_book(ledger, tmp_path):
    import_lines(ledger, *(line(each) for each in GOOD), line(AFTER))
    ledger.reverse("book", "good-2")
    exported = [text.encode() for text in export_journal(ledger.snapshot(), "book")]
    with Ledger(sqlite_url(tmp_path / "copy.db")) as copy:
        copy.register(Terms("book", "USDT", Decimal(1000), START))
        assert import_lines(copy, *exported).new == 5
        at = ledger.snapshot().state("book").last_timestamp
        assert copy.snapshot().book_at("book", at).book.balances == {("wallet", "USDT"): Decimal(1040)}
