"""The lifecycles: one long-lived workflow is one real thing, and each reads like the business process that it is."""
