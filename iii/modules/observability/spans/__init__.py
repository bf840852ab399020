"""Spans: kept, searched, told of."""
