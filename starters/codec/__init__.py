"""The codec endpoint: decrypts payloads for those who may read them, as Temporal's UI and CLI ask for it."""
