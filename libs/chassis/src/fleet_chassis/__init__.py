"""What every service is built from: settings, database, logging, telemetry, health, problems, assertions."""
