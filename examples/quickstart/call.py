"""Calls the function of ``add.py``: from another process, in any language, it is the same.

python examples/quickstart/call.py 5 3
"""

import asyncio
import sys

from iii import III


async def main(a, b):
    iii = III()
    await iii.connect()
    try:
        print(await iii.invoke("math.add", {"a": a, "b": b}))
    finally:
        await iii.disconnect()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), float(sys.argv[2])))
