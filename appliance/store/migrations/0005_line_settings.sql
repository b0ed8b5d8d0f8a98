-- What the user of a line wants to happen to calls: do not disturb and
-- forwarding. A line without a row wants nothing special.
CREATE TABLE line_settings (
    line_id      INTEGER NOT NULL PRIMARY KEY REFERENCES lines (id) ON DELETE CASCADE,
    dnd          INTEGER NOT NULL DEFAULT 0 CHECK (dnd IN (0, 1)),
    number       TEXT    NOT NULL DEFAULT '',
    always       INTEGER NOT NULL DEFAULT 0 CHECK (always IN (0, 1)),
    no_answer    INTEGER NOT NULL DEFAULT 0 CHECK (no_answer IN (0, 1)),
    simultaneous INTEGER NOT NULL DEFAULT 0 CHECK (simultaneous IN (0, 1)),
    after_s      INTEGER NOT NULL DEFAULT 0
) STRICT;
