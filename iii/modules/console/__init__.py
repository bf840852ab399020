"""The console: pages, and the interface they read, on a port of their own (docs/console.md)."""
