"""What administrators and operators did, wherever in the fleet: kept append-only, chained, signed every day."""
