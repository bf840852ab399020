"""Where messages are kept, besides the adapter that needs nothing installed."""
