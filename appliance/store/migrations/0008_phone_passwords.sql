-- What a phone's own page and menus ask for, set by its configuration.
CREATE TABLE phone_passwords (
    mac   TEXT NOT NULL PRIMARY KEY REFERENCES phones (mac) ON DELETE CASCADE,
    admin BLOB NOT NULL,                -- sealed
    user  BLOB NOT NULL                 -- sealed
) STRICT, WITHOUT ROWID;
