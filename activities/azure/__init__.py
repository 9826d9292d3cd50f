"""The Azure implementation of the contracts; nothing outside this package imports Azure's SDKs in production."""
