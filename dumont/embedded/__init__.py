"""Runs everything Dumont needs on one machine out of wheels: PostgreSQL, Valkey, web, beat and the workers.
No Django is imported here; the project is started as processes and told where things are through its environment."""
