"""What the adapters for database servers share: the verbs that are many statements each."""
