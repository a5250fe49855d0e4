"""The block that was the newest at a past moment, found by the blocks' own times with few requests."""

from __future__ import annotations

from datetime import datetime, timedelta

from basis_pipeline.domain.observations import Block
from basis_pipeline.venues.ethereum.nodes import Node

SLOT = timedelta(seconds=12)
"""Mainnet's distance of blocks, where none is missed. Only the first guesses rest on it, never the answer."""
_GUESSES_BY_SLOT = 5


class BlockSearch:
    """Searches one node backwards from a block; what it has seen makes the next search shorter."""

    def __init__(self, node: Node, newest: Block) -> None:
        self._node = node
        self._seen = [newest]

    async def last_at(self, moment: datetime) -> Block | None:
        """The last block with a time up to the moment, which must not be after the newest block's.

        None when the chain is younger. ``NodeError`` when the node cannot tell.
        """
        earlier = max((block for block in self._seen if block.time <= moment), default=None)
        later = min((block for block in self._seen if block.time > moment), default=None)
        guesses = 0
        while later is not None and later.number - (-1 if earlier is None else earlier.number) > 1:
            found = await self._block(_guess(earlier, later, moment, guesses))
            if found.time <= moment:
                earlier = found
            else:
                later = found
            guesses += 1
        return earlier

    async def _block(self, number: int) -> Block:
        found = await self._node.block(number)
        if found.number != number:
            raise self._node.error(f"gave block {found.number} when {number} was asked for")
        self._seen.append(found)
        return found


def _guess(earlier: Block | None, later: Block, moment: datetime, guesses: int) -> int:
    """A number between both: where slots say, ever further back until a block is early enough; else the middle."""
    if earlier is None:
        back = -((moment - later.time) // SLOT)
        return max(0, later.number - (max(1, back) << guesses))
    if guesses < _GUESSES_BY_SLOT:
        by_slot = earlier.number + max(1, (moment - earlier.time) // SLOT)
        return min(by_slot, later.number - 1)
    return (earlier.number + later.number) // 2
