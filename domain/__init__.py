"""The business, pure: models and the decisions as functions. Nothing here does I/O or knows a cloud's SDK."""
