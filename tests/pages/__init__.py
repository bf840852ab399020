"""The console's pages in a real browser, against a real engine: ``python -m tests.pages``."""
