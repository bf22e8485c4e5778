"""The script Alembic runs. `store.schema.upgrade` passes the connection, in a transaction that holds the lock."""

from alembic import context

from store.schema.tables import Base
from store.schema.upgrade import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
