"""The native local stack (Kafka, PostgreSQL, Valkey) and the process supervisor."""
