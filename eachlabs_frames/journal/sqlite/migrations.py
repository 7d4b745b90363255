"""The tables of the journal, as the steps that make them. A step is never changed once it is released."""

from __future__ import annotations

from typing import Final

MIGRATIONS: Final = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        pin TEXT NOT NULL,
        index_names TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        note TEXT
    );
    CREATE TABLE sheets (
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        first INTEGER NOT NULL,
        size INTEGER NOT NULL,
        digests BLOB NOT NULL,
        contents BLOB,
        labels BLOB NOT NULL,
        inputs BLOB NOT NULL,
        PRIMARY KEY (run, first)
    );
    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        process INTEGER NOT NULL,
        started_at INTEGER NOT NULL
    );
    CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        session INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        at INTEGER NOT NULL,
        rows BLOB NOT NULL,
        body BLOB
    );
    CREATE INDEX records_of_run ON records (run, id);
    """,
    # What tells whether records are missing (`integrity`), and whether a session is running (`sessions`).
    """
    CREATE TABLE journal (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        id BLOB NOT NULL,
        is_open INTEGER NOT NULL,
        floor INTEGER NOT NULL
    );
    INSERT INTO journal VALUES (1, randomblob(16), 0, 0);
    ALTER TABLE sessions ADD COLUMN ended_at INTEGER;
    ALTER TABLE sessions ADD COLUMN host TEXT;
    ALTER TABLE sessions ADD COLUMN boot TEXT;
    ALTER TABLE sessions ADD COLUMN began TEXT;
    """,
    # The uploads of each account, and which runs have sent their URLs.
    """
    CREATE TABLE files (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        digest TEXT NOT NULL,
        file_id TEXT NOT NULL,
        public_url TEXT NOT NULL,
        name TEXT NOT NULL,
        size INTEGER NOT NULL,
        content_type TEXT NOT NULL,
        presigned_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        uploaded_at INTEGER,
        deleted_at INTEGER,
        UNIQUE (account, file_id)
    );
    CREATE INDEX files_of_digest ON files (account, digest);
    CREATE TABLE file_uses (
        file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
        run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        PRIMARY KEY (file, run)
    ) WITHOUT ROWID;
    """,
    # What was last learned of each account's cap on concurrent executions.
    """
    CREATE TABLE caps (
        account TEXT PRIMARY KEY,
        level INTEGER NOT NULL,
        cap INTEGER,
        at REAL NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""Each brings a file from the version of its index to the next; `PRAGMA user_version` says how many were done."""
