"""What modules keep: one durable file per store, or memory."""
