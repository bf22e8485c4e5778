"""The migrations in order; each names its predecessor as `down_revision`."""
