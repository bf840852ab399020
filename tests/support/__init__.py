"""What tests of several packages share: a real engine, a raw client, probe numbers."""
