"""What is written to logs: for which request or task, in which form, and never a secret. Needs nothing of the rest."""
