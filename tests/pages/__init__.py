"""The console's pages in a real browser, against a real engine: ``make test-pages``.

``run.mjs`` holds the checks of ``checks.mjs``; ``shop.mjs`` starts an engine with
``engine.yaml`` and the worker of ``worker.py``.
"""
