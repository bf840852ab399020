-- Lanes: the internal queues.  What they are for is written in ``name``:
-- "<topic>", "<topic>::<function>", "__fn_queue::<name>".
CREATE TABLE lanes (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- what has to survive a restart, as JSON (``journal.LaneFacts``)
    facts BLOB NOT NULL
);

-- ``state``: 0 waiting, 1 delayed (``due_ms`` lies ahead), 2 dead.  Which messages run
-- is not written down: after a crash they wait again.
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    lane INTEGER NOT NULL,
    state INTEGER NOT NULL,
    -- 9 - priority, and the place within one priority: ``seq``, or less for one that is
    -- tried again
    urgency INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    -- delayed: when it becomes due; dead: when it died
    due_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    -- FIFO group or concurrency key as JSON
    key TEXT,
    created_ms INTEGER NOT NULL,
    -- the target, for messages of named queues
    function_id TEXT,
    -- everything else as JSON (``journal.Details``)
    details BLOB NOT NULL,
    data BLOB NOT NULL
);

CREATE INDEX messages_in_order ON messages (lane, state, urgency, rank);

CREATE INDEX messages_by_id ON messages (id);

CREATE INDEX messages_by_key ON messages (lane, key, urgency, rank)
    WHERE key IS NOT NULL AND state = 0;

CREATE INDEX messages_delayed ON messages (due_ms) WHERE state = 1;

CREATE INDEX messages_expiring ON messages (expires_ms) WHERE expires_ms IS NOT NULL AND state < 2;

CREATE INDEX messages_dead ON messages (lane, due_ms) WHERE state = 2;

-- A second enqueue with a known key stores nothing and gets the first one's receipt.
CREATE TABLE idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;

CREATE INDEX idempotency_expiring ON idempotency (expires_ms);
