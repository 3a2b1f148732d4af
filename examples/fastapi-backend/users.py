"""The users that this backend registered, with their secrets, in SQLite.

A secret is as good as the user's password at SnapTrade. Keep the file to yourself, or encrypt what is in it.
"""

import contextlib
import sqlite3
import time


class Users:
    def __init__(self, path):
        self._path = path
        with self._database() as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS users"
                " (user_id TEXT PRIMARY KEY, secret TEXT NOT NULL, registered_at REAL NOT NULL)"
            )

    @contextlib.contextmanager
    def _database(self):
        """One connection for one transaction: those of SQLite belong to their threads."""
        with contextlib.closing(sqlite3.connect(self._path)) as database, database:
            yield database

    def add(self, user_id, secret):
        """SnapTrade shows a secret once. A user of that id from before is gone, or it would not have been made."""
        with self._database() as database:
            database.execute("REPLACE INTO users VALUES (?, ?, ?)", (user_id, secret, time.time()))

    def forget(self, user_id, registered_before):
        """Does nothing for a user that was registered again since: that one is not meant. So it can be said twice."""
        with self._database() as database:
            database.execute("DELETE FROM users WHERE user_id = ? AND registered_at < ?", (user_id, registered_before))

    def secret(self, user_id):
        with self._database() as database:
            row = database.execute("SELECT secret FROM users WHERE user_id = ?", (user_id,)).fetchone()
        return row and row[0]

    def all(self):
        """Everybody, without secrets, oldest first."""
        with self._database() as database:
            rows = database.execute("SELECT user_id, registered_at FROM users ORDER BY registered_at").fetchall()
        return [{"user_id": user_id, "registered_at": registered_at} for user_id, registered_at in rows]
