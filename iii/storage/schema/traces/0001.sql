-- Spans, one row each.  ``received_us`` is when it came in first and, being unique, the order
-- in which they came: the oldest go first, whatever the clocks of workers say.
CREATE TABLE spans (
    received_us INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent TEXT,
    start_ns INTEGER NOT NULL,
    -- 0: it is under way
    end_ns INTEGER NOT NULL,
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    -- a call of the engine's own functions
    internal INTEGER NOT NULL,
    -- names and values, as MessagePack
    attributes BLOB NOT NULL,
    -- everything else as MessagePack (``rows.Rest``)
    rest BLOB NOT NULL,
    -- it has no parent, or one that isn't here
    root INTEGER NOT NULL
);

CREATE UNIQUE INDEX spans_by_id ON spans (trace_id, span_id);

CREATE INDEX spans_roots ON spans (start_ns, end_ns, internal) WHERE root = 1;

-- Whose parent may still come.
CREATE INDEX spans_orphans ON spans (trace_id, parent) WHERE root = 1 AND parent IS NOT NULL;

CREATE INDEX spans_pending ON spans (received_us) WHERE end_ns = 0;

-- What has to survive a restart beside spans: ``dropped``.
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
