"""Small questions to the store, asked too often for whole records."""

from collections.abc import Collection

from sqlalchemy import select

from store.database import Database
from store.schema.tables import Run


def steps_done(database: Database, run_ids: Collection[int]) -> dict[int, int]:
    """How many steps each run has done, of those that there are. Raises StoreError."""
    with database.read() as connection:
        found = connection.execute(select(Run.id, Run.step).where(Run.id.in_(run_ids)))
        return {row.id: row.step for row in found}
