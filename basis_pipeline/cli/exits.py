"""Exit codes of `basis`: what a script may rely on."""

from __future__ import annotations

ERROR = 1
"""It did not work; one message on standard error says what is wrong and what to do. `doctor` prints a line for each
part instead. 0 is success."""
USAGE = 2
"""The command line itself is wrong."""
FINDINGS = 3
"""It ran to its end and found something: `verify` a problem, `materialize` or `rebuild` days it could not complete,
`reconcile` an account it could not read or a difference that nothing explains, `watch --drift` a difference,
`alerts test` a channel that did not take the message."""
INTERRUPTED = 130
"""Stopped by Ctrl-C (128 + SIGINT)."""
READER_GONE = 141
"""Whoever read the output stopped reading, e.g. `| head` (128 + SIGPIPE)."""
