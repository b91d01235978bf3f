"""The example's command line; run it from the folder above `examples`.

    python -m examples.approval order  sqlite:///orders.db o-1 desk 2     create the order and run the app until it ends
    python -m examples.approval decide sqlite:///orders.db o-1 yes maria  send the decision, from another terminal
    python -m examples.approval why    sqlite:///orders.db o-1            what the order waits for

`order` may be stopped at any time, also with `kill -9`; the same command again continues where it was.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from examples.approval.app import make_app, make_client
from examples.approval.workflows import Approval, Order


async def order(database: str, order_id: str, item: str, quantity: str) -> None:
    """Create the order unless it is there, advance it to its end, print the receipt."""
    async with make_app(database).running() as app:
        params = Order(item=item, quantity=int(quantity))
        instance = await app.workflows.approval.create(id=order_id, params=params, if_exists="return")
        receipt = await instance.result()
        print(receipt.model_dump_json())


async def decide(database: str, order_id: str, answer: str, by: str) -> None:
    """Send the manager's decision; a process that runs `order` receives it."""
    async with make_client(database).running() as app:
        instance = await app.workflows.approval.get(order_id)
        await instance.send_event(Approval(approved=answer == "yes", by=by))


async def why(database: str, order_id: str) -> None:
    """Print what the order does or waits for."""
    async with make_client(database).running() as app:
        instance = await app.workflows.approval.get(order_id)
        print(await instance.why())


COMMANDS = {"order": order, "decide": decide, "why": why}

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, format="%(created).3f %(process)d %(name)s: %(message)s")
    logging.getLogger("approval").setLevel(logging.INFO)
    command, *arguments = sys.argv[1:]
    asyncio.run(COMMANDS[command](*arguments))
