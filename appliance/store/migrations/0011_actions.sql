-- What phones are being asked to do, until it was seen or has failed: fetch
-- their configuration again, or start anew.
CREATE TABLE actions (
    mac     TEXT    NOT NULL PRIMARY KEY REFERENCES phones (mac) ON DELETE CASCADE,
    slot    INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
