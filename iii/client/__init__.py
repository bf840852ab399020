"""The Python client: ``from iii import III``.

One asyncio client on the caller's loop.  ``client`` is the public class,
``connection`` keeps one socket open through every loss, ``outbox`` is the one
FIFO everything leaves through, ``calls`` waits for answers, ``handlers`` gives
them, ``channels`` moves bytes beside the worker socket.

Nothing in here imports Twisted, and importing ``iii`` imports nothing of this
package until a name is used (see ``iii/__init__.py``).
"""
