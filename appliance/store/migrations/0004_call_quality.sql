-- What else was measured on the legs of a call: {"a": ..., "b": ...}, each a
-- sipedge.LegQuality.
ALTER TABLE calls ADD COLUMN quality TEXT NOT NULL DEFAULT '{}';

-- What a phone said of a call (RFC 6035), which may come before the call is
-- written, and for a call that was written long ago.
CREATE TABLE call_reports (
    call  TEXT NOT NULL,
    mac   TEXT NOT NULL CHECK (length(mac) = 17),
    slot  INTEGER NOT NULL,
    time  INTEGER NOT NULL,
    heard TEXT NOT NULL,                -- JSON, a sipedge.Heard
    PRIMARY KEY (call, mac, slot)
) STRICT;
