-- Leases that other DHCP servers granted through our relay: they say whose an
-- address is. The same address may stand in leases too, from another time.
CREATE TABLE relayed_leases (
    ip        TEXT NOT NULL PRIMARY KEY,
    mac       TEXT NOT NULL CHECK (length(mac) = 17),
    client_id BLOB NOT NULL,
    hostname  TEXT NOT NULL,
    vendor    TEXT NOT NULL,
    server    TEXT NOT NULL,            -- option 54, '' if it sent none
    granted   INTEGER NOT NULL,
    expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
