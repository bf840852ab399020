"""Who may connect to a worker port, and what a connection may do there."""
