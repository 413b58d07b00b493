"""Messages, topics and readers of the fleet: data only."""
