"""Google Cloud: the contract of activities/contracts.py, fulfilled with Google's own SDKs."""
