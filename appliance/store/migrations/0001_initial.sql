-- Times are microseconds since 1970 in UTC, 0 for "never". Addresses are text
-- in their usual form, MAC addresses with colons in lower case. Passwords are
-- sealed; a sealed value is bound to table and key of its row.

CREATE TABLE settings (
    key    TEXT NOT NULL PRIMARY KEY,
    value  TEXT,                        -- plain, or
    sealed BLOB,                        -- secret
    CHECK ((value IS NULL) <> (sealed IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    ip        TEXT NOT NULL PRIMARY KEY,
    mac       TEXT NOT NULL CHECK (length(mac) = 17),
    client_id BLOB NOT NULL,
    hostname  TEXT NOT NULL,
    vendor    TEXT NOT NULL,
    state     INTEGER NOT NULL CHECK (state IN (2, 3)),  -- an offer is never stored
    granted   INTEGER NOT NULL,
    expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE phones (
    mac        TEXT NOT NULL PRIMARY KEY CHECK (length(mac) = 17),
    vendor     TEXT NOT NULL,
    model      TEXT NOT NULL,
    firmware   TEXT NOT NULL,
    language   TEXT NOT NULL,
    slots      INTEGER NOT NULL,        -- chosen by an administrator, 0: by the catalogue
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    enrolled   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lines (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,  -- an id is never used again
    aor           TEXT NOT NULL,
    display_name  TEXT NOT NULL,
    number        TEXT NOT NULL,
    extension     TEXT NOT NULL,
    auth_user     TEXT NOT NULL,
    auth_password BLOB,                 -- sealed, NULL: none
    site          INTEGER NOT NULL CHECK (site IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX lines_number ON lines (number) WHERE number <> '';
CREATE UNIQUE INDEX lines_extension ON lines (extension) WHERE extension <> '';
CREATE UNIQUE INDEX lines_site ON lines (site) WHERE site = 1;

-- One SIP identity of a phone: everything that registers, is signed in or
-- rings belongs to {mac, slot}, never to a bare MAC address.
CREATE TABLE accounts (
    mac      TEXT NOT NULL REFERENCES phones (mac) ON DELETE CASCADE,
    slot     INTEGER NOT NULL CHECK (slot BETWEEN 1 AND 255),
    username TEXT NOT NULL UNIQUE,
    password BLOB NOT NULL,             -- sealed
    line_id  INTEGER REFERENCES lines (id) ON DELETE SET NULL,
    PRIMARY KEY (mac, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX accounts_line ON accounts (line_id) WHERE line_id IS NOT NULL;

-- Addresses that an administrator vouched for, one for each phone at most.
CREATE TABLE bound_addresses (
    ip       TEXT NOT NULL PRIMARY KEY,
    mac      TEXT NOT NULL UNIQUE CHECK (length(mac) = 17),
    evidence TEXT NOT NULL,
    since    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Written behind, so a row may name an account that is gone by now.
CREATE TABLE bindings (
    mac        TEXT NOT NULL CHECK (length(mac) = 17),
    slot       INTEGER NOT NULL CHECK (slot BETWEEN 1 AND 255),
    contact    TEXT NOT NULL,
    transport  TEXT NOT NULL,
    source     TEXT NOT NULL,
    local      TEXT NOT NULL,
    call_id    TEXT NOT NULL,
    cseq       INTEGER NOT NULL,
    instance   TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    expires    INTEGER NOT NULL,
    PRIMARY KEY (mac, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE calls (
    id          TEXT NOT NULL UNIQUE,
    start       INTEGER NOT NULL,
    answered    INTEGER NOT NULL,
    ended       INTEGER NOT NULL,
    from_mac    TEXT NOT NULL,          -- empty: the gateway's side
    from_slot   INTEGER NOT NULL,
    from_number TEXT NOT NULL,
    from_name   TEXT NOT NULL,
    to_mac      TEXT NOT NULL,
    to_slot     INTEGER NOT NULL,
    to_number   TEXT NOT NULL,
    to_name     TEXT NOT NULL,
    dialled     TEXT NOT NULL,
    via         TEXT NOT NULL,
    status      INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    emergency   INTEGER NOT NULL CHECK (emergency IN (0, 1)),
    a_received  INTEGER NOT NULL,
    a_lost      INTEGER NOT NULL,
    a_jitter    INTEGER NOT NULL,       -- nanoseconds
    a_mos       REAL NOT NULL,
    b_received  INTEGER NOT NULL,
    b_lost      INTEGER NOT NULL,
    b_jitter    INTEGER NOT NULL,
    b_mos       REAL NOT NULL
) STRICT;
CREATE INDEX calls_start ON calls (start);
CREATE INDEX calls_from ON calls (from_mac, start) WHERE from_mac <> '';
CREATE INDEX calls_to ON calls (to_mac, start) WHERE to_mac <> '';

-- One step of one phone. The id is given when the step is seen, so it says
-- the order even if the clock was set in between.
CREATE TABLE story (
    id    INTEGER PRIMARY KEY,
    mac   TEXT NOT NULL CHECK (length(mac) = 17),
    time  INTEGER NOT NULL,
    proto TEXT NOT NULL,
    dir   INTEGER NOT NULL,
    code  TEXT NOT NULL,
    args  TEXT NOT NULL                 -- JSON
) STRICT;
CREATE INDEX story_mac ON story (mac, id);
