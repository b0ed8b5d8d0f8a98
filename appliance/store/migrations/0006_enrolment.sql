-- Enrolment, signing in and policy. Hashes of verification codes can't be
-- turned round without the pepper, which is sealed in settings.
ALTER TABLE accounts ADD COLUMN old_password BLOB;      -- sealed, NULL: the phone has the new one
ALTER TABLE accounts ADD COLUMN location TEXT NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN signed_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN signed_out INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN signed_in_by TEXT NOT NULL DEFAULT '';

ALTER TABLE lines ADD COLUMN user TEXT NOT NULL DEFAULT '';
ALTER TABLE lines ADD COLUMN pin TEXT NOT NULL DEFAULT '';      -- argon2id hash
ALTER TABLE lines ADD COLUMN source TEXT NOT NULL DEFAULT '';   -- key at the gateway's line API
ALTER TABLE lines ADD COLUMN policy TEXT NOT NULL DEFAULT '{}'; -- JSON
CREATE UNIQUE INDEX lines_source ON lines (source) WHERE source <> '';

CREATE TABLE codes (
    mac     TEXT NOT NULL PRIMARY KEY REFERENCES phones (mac) ON DELETE CASCADE,
    hash    BLOB NOT NULL,
    digits  INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    line_id INTEGER REFERENCES lines (id) ON DELETE SET NULL
) STRICT, WITHOUT ROWID;

-- Wrong codes, so that a restart gains no guesses. mac is empty once they no
-- longer count against the phone.
CREATE TABLE code_failures (
    id   INTEGER PRIMARY KEY,
    mac  TEXT NOT NULL,
    time INTEGER NOT NULL,
    risk REAL NOT NULL
) STRICT;
CREATE INDEX code_failures_mac ON code_failures (mac);

-- What identity providers gave for who is signed in.
CREATE TABLE grants (
    mac     TEXT NOT NULL,
    slot    INTEGER NOT NULL,
    subject TEXT NOT NULL,
    refresh BLOB,                        -- sealed, NULL: none
    since   INTEGER NOT NULL,
    PRIMARY KEY (mac, slot),
    FOREIGN KEY (mac, slot) REFERENCES accounts (mac, slot) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Who changed what.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    time   INTEGER NOT NULL,
    actor  TEXT NOT NULL,
    via    TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    fault  TEXT NOT NULL                 -- empty: it was done
) STRICT;
CREATE INDEX audit_target ON audit (target, id);
