"""The mirror image of an accepted update: how a mistake is taken back without changing history."""

from __future__ import annotations

import hashlib
from datetime import datetime

from basis_pipeline.domain.changes import (
    ID_LENGTH_MAX,
    Action,
    BalanceUpdate,
    DerivativeChange,
    DerivativeData,
    TokenChange,
)
from basis_pipeline.domain.errors import BookError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import ZERO, subtract
from basis_pipeline.domain.positions import Book, PerpPosition


def reversal_id(entry_id: str) -> str:
    """The id of the entry that reverses another: fixed, so that reversing twice is harmless."""
    own = f"reversal:{entry_id}"
    return own if len(own) <= ID_LENGTH_MAX else f"reversal:{hashlib.sha256(entry_id.encode()).hexdigest()}"


def mirror_image(update: BalanceUpdate, before: Book, after: Book, now: Book, timestamp: datetime) -> BalanceUpdate:
    """The update that undoes ``update`` at ``timestamp``.

    ``before`` and ``after`` are the books around the original, ``now`` the one at ``timestamp``: token legs change
    sign, positions go back to what they were before it. Raises ``BookError`` for an update that is itself a reversal,
    and where a position has changed since: going back would undo that change too.
    """
    if update.reverses is not None:
        raise BookError(f"{update.id}: is itself the reversal of {update.reverses}; record that update anew instead")
    reason = f"REVERSAL:{update.id}"
    tokens = tuple(
        TokenChange.model_construct(
            venue=c.venue, token=c.token, delta=subtract(ZERO, c.delta), new_balance=None, reason=reason
        )
        for c in reversed(update.token_changes)
    )
    keys = dict.fromkeys((c.venue, c.instrument) for c in update.derivative_changes)
    for venue, instrument in keys:
        if now.positions.get((venue, instrument)) != after.positions.get((venue, instrument)):
            raise BookError(
                f"{update.id}: {venue} {instrument} was changed again by {iso(timestamp)}; reverse the later changes "
                "first, or record a PERP_ADJUSTED with the right size"
            )
    perps = tuple(
        change
        for key in keys
        if (change := _back_to(key, before.positions.get(key), after.positions.get(key))) is not None
    )
    return BalanceUpdate.model_construct(
        id=reversal_id(update.id),
        timestamp=timestamp,
        trigger=update.trigger,
        token_changes=tokens,
        derivative_changes=perps,
        reverses=update.id,
    )


def check_mirror(update: BalanceUpdate, original: BalanceUpdate) -> None:
    """Refuse an update that claims to reverse another (in an imported journal, say) but is not its mirror image.

    Its fixed id keeps the original from being reversed twice. The sizes that positions go back to are not checked:
    they depend on the book at the time.
    """
    moved = sorted((c.venue, c.token, subtract(ZERO, c.delta)) for c in original.token_changes)
    undone = sorted((c.venue, c.token, c.delta) for c in update.token_changes)
    if (
        original.reverses is not None
        or update.id != reversal_id(original.id)
        or update.trigger is not original.trigger
        or moved != undone
        or [(c.venue, c.instrument, c.action) for c in update.derivative_changes] != _actions_back(original)
    ):
        raise BookError(f"reverses: {update.id} is not the mirror image of {original.id}; use `basis reverse`")


def _actions_back(original: BalanceUpdate) -> list[tuple[str, str, Action]]:
    """The derivative changes of the mirror image, as far as the original alone tells."""
    first: dict[tuple[str, str], Action] = {}
    last: dict[tuple[str, str], Action] = {}
    for change in original.derivative_changes:
        key = (change.venue, change.instrument)
        first.setdefault(key, change.action)
        last[key] = change.action
    actions = []
    for key, action in first.items():
        was_open, is_open = action is not Action.OPEN, last[key] is not Action.CLOSE
        if was_open or is_open:
            back = Action.CLOSE if not was_open else Action.ADJUST if is_open else Action.OPEN
            actions.append((*key, back))
    return actions


def _back_to(key: tuple[str, str], before: PerpPosition | None, after: PerpPosition | None) -> DerivativeChange | None:
    venue, instrument = key
    if before is None:
        if after is None:
            return None
        action, data = Action.CLOSE, DerivativeData()
    else:
        action = Action.OPEN if after is None else Action.ADJUST
        data = DerivativeData.model_construct(
            size=before.size,
            entry_price=before.entry_price,
            entry_timestamp=before.entry_timestamp,
            notional_usd=before.notional_usd,
        )
    return DerivativeChange.model_construct(venue=venue, instrument=instrument, action=action, data=data)
