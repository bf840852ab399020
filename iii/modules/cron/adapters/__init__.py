"""Where ticks are claimed and last runs remembered."""
