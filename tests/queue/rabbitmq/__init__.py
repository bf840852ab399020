"""The queue adapter on RabbitMQ: what the contract does not say."""
