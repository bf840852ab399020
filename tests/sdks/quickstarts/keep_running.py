"""Runs the README's Python quick start, whose text defines ``main`` and stops there.

The file itself is executed unchanged; this only does what its reader has to add.
"""

from __future__ import annotations

import asyncio
import runpy
import sys


async def stay(names: dict[str, object]) -> None:
    await names["main"]()  # type: ignore[operator]
    await asyncio.Event().wait()


asyncio.run(stay(runpy.run_path(sys.argv[1])))
