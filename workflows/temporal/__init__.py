"""How this project uses Temporal: addresses, data conversion, telemetry. Client, workers and replayer share it."""
