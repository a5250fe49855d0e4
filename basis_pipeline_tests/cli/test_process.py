"""What only a process of its own shows: exit codes, pipes, signals, and how long help takes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline_tests.cli.builders import ROOT, Basis, environment, funding, run_process, write_journal

HELP_LIMIT_S = 0.5


def start(*arguments: str | Path, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "basis_pipeline", *map(str, arguments)]
    return subprocess.Popen(command, env=environment(), **options)  # type: ignore[call-overload,no-any-return]


def fastest(*arguments: str) -> float:
    """Seconds of processor time of a process, the best of some: other tests run beside it."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment(), cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(times)


@pytest.mark.parametrize(
    "arguments",
    [("-c", "import basis_pipeline"), ("-m", "basis_pipeline", "--help"), ("-m", "basis_pipeline", "record", "--help")],
    ids=["import", "help", "help of a command"],
)
def test_start_up_is_quick(arguments: tuple[str, ...], record_property: pytest.RecordProperty) -> None:
    took = fastest(*arguments)
    record_property("seconds", took)
    sys.stdout.write(f"{' '.join(arguments)}: {took:.3f} s\n")
    assert took < HELP_LIMIT_S


def test_exit_codes_are_the_documented_ones(books: Basis, tmp_path: Path) -> None:
    home = ("--home", books.home)
    assert run_process(*home, "positions").returncode == 0
    assert run_process(*home, "reverse", "nonsense").returncode == 1
    assert run_process(*home, "nonsense").returncode == 2
    assert run_process(*home, "equity", "--at", "noon").returncode == 2
    books("rebuild")
    next(iter(books.home.glob("warehouse/prices/2024*.parquet"))).unlink()
    assert run_process(*home, "verify").returncode == 3


def test_an_error_is_one_message_on_standard_error(books: Basis) -> None:
    done = run_process("--home", books.home, "reverse", "nonsense")
    assert done.stdout == ""
    assert done.stderr == "error: 'nonsense' is not an entry of lending; see the column entry_id of balance_changes\n"


@pytest.mark.parametrize("command", [("sql", "SELECT unnest(range(300000))", "-f", "csv"), ("export",)])
def test_a_reader_that_stops_reading_ends_it_quietly(books: Basis, tmp_path: Path, command: tuple[str, ...]) -> None:
    if command == ("export",):
        books("import", write_journal(tmp_path / "many.jsonl", funding(3000)))
    process = start("--home", books.home, *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        complaint = process.stderr.read()
    assert (process.wait(), complaint) == (141, b"")


def test_ctrl_c_during_an_import_keeps_what_was_accepted(books: Basis) -> None:
    reading, writing = os.pipe()
    process = start(
        "--home", books.home, "import", "-", stdin=reading, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        pipe.writelines(f"{json.dumps(payment)}\n".encode() for payment in funding(2100))
        pipe.flush()
        while _funded(books) == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate()
    assert process.returncode == 130
    assert complaint.startswith(b"interrupted; ")
    assert _funded(books) == 2000
    books("verify")


def _funded(books: Basis) -> int:
    """How many payments of 0.01 USDT have arrived on OKX."""
    [amount] = [row["amount"] for row in books.rows("positions") if row["venue"] == "okx"]
    return int((Decimal(amount) - Decimal("49999.5")) * 100)


def test_nothing_is_coloured_and_no_bar_is_drawn_without_a_terminal(books: Basis) -> None:
    done = run_process("--home", books.home, "rebuild")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_a_terminal_gets_a_bar_that_leaves_no_trace_in_the_result(books: Basis) -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = start("--home", books.home, "rebuild", stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 4096):
            drawn += chunk
    except OSError:
        pass  # Linux ends a terminal nobody writes to with EIO
    finally:
        os.close(ours)
    result, _ = process.communicate()
    assert process.returncode == 0
    assert b"equity" in drawn
    assert b"2/2" in drawn
    assert b"\x1b" not in result
