"""The observability module, part by part."""
