-- What provisioning keeps beside the inventory: one note for each kind and
-- key, sealed, since overrides may hold passwords.
CREATE TABLE provisioning (
    kind   TEXT NOT NULL,
    key    TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
