-- Addresses that people reserved for devices at the page, the API or the
-- command line. Those of the configuration file are not here.
CREATE TABLE reservations (
    mac   TEXT NOT NULL PRIMARY KEY CHECK (length(mac) = 17),
    ip    TEXT NOT NULL UNIQUE,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
