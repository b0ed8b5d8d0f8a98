-- Phones that called for help: for a while calls to these numbers ring there.
CREATE TABLE call_backs (
    number TEXT    NOT NULL PRIMARY KEY,
    mac    TEXT    NOT NULL CHECK (length(mac) = 17),
    slot   INTEGER NOT NULL,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- At which port of a switch a phone hangs, as the switch wrote into its DHCP
-- requests (option 82): where it is when it calls for help.
CREATE TABLE switch_ports (
    mac     TEXT NOT NULL PRIMARY KEY CHECK (length(mac) = 17),
    circuit TEXT NOT NULL
) STRICT, WITHOUT ROWID;
