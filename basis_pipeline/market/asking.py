"""Asking live interfaces in turn: each for what nobody before it could tell, and the reason where one could not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.quotes import Basket, Quoted, Unavailable
from basis_pipeline.market.answers import Known, Outcome, refused_for_its_time, told
from basis_pipeline.market.live_routes import Route, Step, by_interface

_URL = re.compile(r"\w+://\S+")
_TEXT_MAX = 300


class Subject(NamedTuple):
    """One kind of what is asked for.

    ``accept`` makes of a sound number what is kept of it, given name and currency, or says what is wrong with it;
    ``age_limit`` is by name. ``in_usd``: what is wanted is USD, whatever else an answer tells. ``worth``, where baskets
    may answer, is the price of one given its name, and until when that holds.
    """

    accept: Callable[[str, str, Known], Awaitable[Known | str]]
    age_limit: Callable[[str], timedelta]
    in_usd: bool
    worth: Callable[[str, Basket], Awaitable[tuple[Quoted, float] | str]] | None = None


class Asking(NamedTuple):
    """How long an answer may take, how long it answers again, and by which clocks."""

    timeout: timedelta
    ttl: timedelta
    monotonic: Callable[[], float]
    clock: Clock

    async def walk(self, routes: Mapping[str, Route], subject: Subject) -> dict[str, Outcome]:
        """The first accepted answer by each name's route; names whose routes go by the same interfaces go together."""
        walks = (self._together(group, subject) for group in by_interface(routes))
        return {name: outcome for part in await asyncio.gather(*walks) for name, outcome in part.items()}

    async def _together(self, group: Mapping[str, Route], subject: Subject) -> dict[str, Outcome]:
        known: dict[str, Outcome] = {}
        tried: dict[str, list[str]] = {name: [] for name in group}
        for steps in zip(*group.values(), strict=True):
            asked = {name: step for name, step in zip(group, steps, strict=True) if name not in known}
            if not asked:
                break
            started = self.monotonic()  # before the answer, however long it takes
            answer = await self._ask(steps[0], [step.question for step in asked.values()])
            for name, step in asked.items():
                judged = answer if isinstance(answer, str) else await self._judge(name, step, answer, started, subject)
                if isinstance(judged, str):
                    tried[name].append(f"{step.source}: {judged}")
                else:
                    known[name] = judged
        return {name: known.get(name) or Unavailable(name, tuple(tried[name])) for name in group}

    async def _ask(self, step: Step, questions: list[Hashable]) -> Mapping[Any, Any] | str:
        """The answer of an interface, or why there is none. It is someone else's code, so that anything may fail."""
        if step.interface is None:
            return "nobody who is asked live tells of it"

        seconds = self.timeout.total_seconds()

        async def answered() -> Any:
            # Its coroutine is made in here, so that a call that is cancelled before it begins leaves none behind.
            return await asyncio.wait_for(getattr(step.interface, step.method)(questions), seconds)

        answers: tuple[Any] = await asyncio.gather(answered(), return_exceptions=True)
        answer = answers[0]
        if isinstance(answer, TimeoutError):
            return f"no answer within {seconds:g} s"
        if isinstance(answer, BasisError):
            return str(answer)
        if isinstance(answer, BaseException):
            text = _URL.sub("(address left out)", str(answer))[:_TEXT_MAX]  # an address may hold a key
            return f"{type(answer).__name__}: {text}" if text else type(answer).__name__
        return answer if isinstance(answer, Mapping) else f"answered a {type(answer).__name__}, not prices by name"

    async def _judge(
        self, name: str, step: Step, answers: Mapping[Any, Any], started: float, subject: Subject
    ) -> Known | str:
        answer = answers.get(step.question)
        if answer is None:
            return f"does not know {step.question}"
        expires = started + self.ttl.total_seconds()
        if isinstance(answer, Basket) and subject.worth is not None:
            worth = await subject.worth(name, answer)
            if isinstance(worth, str):
                return worth
            answer, expires = worth[0], min(expires, worth[1])
        found = told(answer, in_usd=subject.in_usd)
        if isinstance(found, str):
            return found
        now = self.clock()
        if found.observed_at is not None:
            limit = subject.age_limit(name)
            refused = refused_for_its_time(found.observed_at, now, limit)
            if refused is not None:
                return refused
            expires = min(expires, started + (limit - (now - found.observed_at)).total_seconds())
        known = Known(found.number, step.source, found.observed_at, now, expires)
        return await subject.accept(name, found.currency or step.currency, known)
