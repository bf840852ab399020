"""The quick start: one function, called over HTTP.

curl -X POST http://localhost:3111/add -H 'content-type: application/json' -d '{"a": 5, "b": 3}'
"""

import asyncio

from iii import III

iii = III("ws://localhost:49134")


async def add(data):
    return {"sum": data["a"] + data["b"]}


iii.register_function("math.add", add)


async def main():
    await iii.connect()

    iii.register_trigger(
        type="http", function_id="math.add", config={"api_path": "add", "http_method": "POST"}
    )

    # Keep running
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
