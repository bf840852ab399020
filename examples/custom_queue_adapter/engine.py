"""An engine whose queues are directories: python examples/custom_queue_adapter/engine.py"""

from __future__ import annotations

from spool_queue import SpoolAdapter

from iii import Engine

engine = (
    Engine.builder()
    .register_adapter("iii-queue", "my::Spool", SpoolAdapter)
    .add_module(
        "modules::queue::QueueModule",
        {"adapter": {"class": "my::Spool", "config": {"directory": "./data/spool"}}},
    )
    .build()
)

if __name__ == "__main__":
    engine.serve()
