"""Rows: tables, statements, executors for SQLite and PostgreSQL, migrations. Decides nothing."""
