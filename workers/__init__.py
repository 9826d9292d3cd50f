"""The processes that do the work, and the one place where everything is wired together."""
