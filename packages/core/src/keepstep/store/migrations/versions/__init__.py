"""The revisions of keepstep's own tables, each frozen once released. Loaded by Alembic, never imported otherwise."""
