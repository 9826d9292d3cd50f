"""What the workflows have done for them: the contract that each cloud fulfils, and its implementations."""
