"""The live objects that a strategy holds, and what they tell others.

    position_monitor.py  PositionMonitor: updates in, snapshots out
    intake.py            the specification's payloads made complete: id, time, trigger, floats
    state.py             what is held, in memory, caught up with the ledger
    publisher.py         Redis: the snapshot key and the channel of updates
    events.py            listening to that channel
    equity_calculator.py EquityCalculator: what is held, valued now
    equity_snapshot.py   what it comes to
    asking_venues.py     what venues hold, asked at the same time
    venue_interfaces.py  what it asks: the ledger's and a reading's holdings, venue by venue
    equity.py            calculators of a home, put together, and what drift is worth
    equity_monitor.py    EquityMonitor: who needs to know of equity is told when it changed
    equity_updates.py    what wakes it: the channel of updates
    ledger_updates.py    what wakes it where there is no Redis
    watching.py          one made as the settings of a home want it
    monitor_status.py    what it says of itself
    simulated_time.py    the clock of a backtest that runs it

Belongs here: what keeps state in memory between calls and what talks to Redis. Does not belong here: what an update
means (``domain``) and what is kept of it (``ledger``).
"""
