"""Amazon Web Services: the contract of activities/contracts.py, fulfilled with boto3."""
