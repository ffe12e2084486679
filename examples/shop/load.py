"""Customers: what they ask of the gateway follows from a seed, when follows from a rate.

python -m examples.shop.load --rate 8    # until it is ended
"""

import argparse
import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from examples.shop._catalogue import PRODUCTS, SCARCE
from examples.shop._peers import address

SHOPPERS = 12
AGENTS = ("shop-ios/7.2", "shop-android/7.1", "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0")


@dataclass(frozen=True)
class Request:
    """One request to the gateway."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    json: dict[str, Any] | None = None


def visits(seed: int, first_order: int = 1) -> Iterator[list[Request]]:
    """Visits without end: someone looks at products, mostly checks out, and often looks at the order."""
    rng = random.Random(f"{seed}/load")
    for number in count(first_order):
        user = f"u{rng.randrange(600)}" if rng.random() < 0.99 else "u-unknown"
        who = {"x-user-id": user, "user-agent": rng.choice(AGENTS)}
        yield [*looks(rng, who), *purchase(rng, who, f"o{number}")]


def looks(rng: random.Random, who: dict[str, str]) -> list[Request]:
    skus = rng.choices([*PRODUCTS, "unobtainium"], [6] * len(PRODUCTS) + [1], k=rng.choice((0, 0, 1, 1, 2)))
    return [Request("GET", f"/products/{sku}", who) for sku in skus]


def purchase(rng: random.Random, who: dict[str, str], order_id: str) -> list[Request]:
    weights = [3 if sku == SCARCE else 1 for sku in PRODUCTS]
    skus = set(rng.choices(list(PRODUCTS), weights, k=rng.choice((1, 2, 2, 3, 3, 4))))
    items = [{"sku": sku, "quantity": rng.choice((1, 1, 1, 2))} for sku in sorted(skus)]
    if rng.random() < 0.01:
        items[0]["quantity"] = 0  # refused: a cart holds at least one of each
    cart = {
        "items": items,
        "payment_method": rng.choices(("card", "wallet", "invoice"), (6, 3, 1))[0],
        "coupon": "WINTER" if rng.random() < 0.2 else None,
    }
    checkout = Request("POST", "/checkout", {**who, "idempotency-key": order_id}, cart)
    repeated = [checkout] if rng.random() < 0.03 else []
    after = [Request("GET", f"/orders/{order_id}", who)] if rng.random() < 0.5 else []
    return [checkout, *repeated, *after]


@dataclass
class Pace:
    """Start times at random with a mean rate; whoever is late does not make up for it in a burst."""

    rate: float
    rng: random.Random
    next: float = 0.0

    async def turn(self) -> None:
        now = time.monotonic()
        begin = max(self.next, now)
        self.next = begin + self.rng.expovariate(self.rate)
        await asyncio.sleep(begin - now)


async def drive(  # noqa: PLR0913  (what load there is to be)
    url: str, *, seed: int, seconds: float, rate: float, answered: Callable[[str], None], first_order: int = 1
) -> Counter[str]:
    """Put load on the gateway for a time.

    Args:
        url: the gateway's.
        seed: the visits follow from it.
        seconds: how long requests begin; those in flight are waited for.
        rate: requests a second, as far as SHOPPERS at a time can make them.
        answered: called with each status, or the name of the error where there was no answer.
        first_order: the number of the first; a shop answers an order that it has had as it did before.

    Returns:
        How many of each there were.
    """
    queue, pace = visits(seed, first_order), Pace(rate, random.Random(f"{seed}/pace"))
    seen: Counter[str] = Counter()
    until = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client, asyncio.TaskGroup() as shoppers:

        async def shop() -> None:
            for visit in queue:
                for request in visit:
                    await pace.turn()
                    if time.monotonic() > until:
                        return
                    outcome = await ask(client, request)
                    seen[outcome] += 1
                    answered(outcome)

        for _ in range(SHOPPERS):
            shoppers.create_task(shop())
    return seen


async def ask(client: httpx.AsyncClient, request: Request) -> str:
    try:
        answer = await client.request(request.method, request.path, headers=request.headers, json=request.json)
    except httpx.TransportError as error:
        return type(error).__name__
    return str(answer.status_code)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.shop.load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", default=address("gateway"), help="the gateway's (SHOP_GATEWAY_URL)")
    parser.add_argument("--rate", type=float, default=8, help="requests a second (8)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="how long (until it is ended)")
    parser.add_argument("--seed", type=int, default=7, help="who they are and what they buy follows from it (7)")
    given = parser.parse_args()
    work = drive(
        given.url,
        seed=given.seed,
        seconds=given.seconds,
        rate=given.rate,
        answered=lambda _: None,
        first_order=int(time.time()) * 1000,  # each run on a shop that stays has numbers of its own
    )
    seen = asyncio.run(work)
    print(", ".join(f"{times} x {outcome}" for outcome, times in seen.most_common()))


if __name__ == "__main__":
    main()
