"""A script without an app; it ends in the way that its argument says."""

import asyncio
import logging
import os
import sys
import threading

import obskit

ending = sys.argv[1]
obs = obskit.init(service_name="job")

for number in range(20):
    with obskit.operation("step", fields={"number": number}):
        obskit.get_logger().info("stepping", number=number)
logging.getLogger("job").warning("the last words")


async def main() -> None:
    async with obskit.operation("asynchronous"):
        sys.exit(4)


match ending:
    case "close":
        obs.close()
    case "exception":
        with obskit.operation("failing"):
            msg = "no more work"
            raise RuntimeError(msg)
    case "sys.exit":
        sys.exit(3)
    case "sys.exit in asyncio":
        asyncio.run(main())
    case "a thread that goes on":
        threading.Thread(target=lambda: obskit.operation("late").__enter__().finish()).start()
    case "a context manager":
        with obs, obskit.operation("managed"):
            pass
    case "os._exit after flush":
        obs.flush()
        os._exit(5)
