-- Values of state, streams and KV.  ``position`` is the order in which keys were first
-- written; a key keeps it until it is deleted.
CREATE TABLE entries (
    position INTEGER PRIMARY KEY,
    first TEXT NOT NULL,
    second TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL
);

CREATE UNIQUE INDEX entries_by_key ON entries (first, second, key);

CREATE INDEX entries_in_order ON entries (first, second, position);
