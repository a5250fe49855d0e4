"""The only room that imports Dagster: a thin ring around the steps.

Belongs here: assets, partitions, checks, jobs, sensors, resources, and running them (in this process or behind the UI).
Does not belong here: computing anything. Every asset body takes its days from the context, calls one step and reports.

    build.py       the code location, assembled in one place
    assets.py      the assets by step
    check_steps.py what the asset checks have in common
    checks.py      asset checks over published rows
    days.py        partitions and the days of a run
    sensors.py     what is looked at every few seconds; decided in recalculation.py (days that entries touch),
                   equity_changes.py and alerting.py (who is told), outcomes.py (runs and checks), asking.py (all)
    metadata.py    what the UI shows of a table, a day and a run
    failures.py    our errors as Dagster failures
    resources.py   the home as a resource
    instance.py    the Dagster instance that lives in a home
    leases.py      which runs are alive
    runs.py        one run in this process
    ui.py          `dagster dev` on a home
"""
