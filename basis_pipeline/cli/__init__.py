"""The command `basis`.

Belongs here: options, what is printed and where, progress, exit codes. Does not belong here: anything a Python caller
could not do as well; each command is a few calls into the rooms below. Nothing heavy is imported before a command runs.

    app.py       the commands put together, errors turned into exit codes
    options.py   options that several commands share
    exits.py     exit codes
    homes.py     opening a home, choosing a portfolio, reading what is published
    output.py    tables, CSV and JSON on standard output; messages on standard error
    progress.py  progress on standard error
    legs.py      the legs of `basis record`
    template.py  the file that `basis init` writes
    backup.py    the archive that `basis backup` writes
    doctor.py    what `basis doctor` looks at
    commands/    the commands themselves
"""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process."""
    from basis_pipeline.cli.app import app

    app(prog_name="basis")
