"""The audit trail, read from Temporal's histories: nothing writes it, so nothing can forget to."""
