"""The worker port: messages, connections and their roles."""
