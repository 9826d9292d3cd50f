"""Who may do what: service accounts, tokens, roles, policies and their conditions."""
