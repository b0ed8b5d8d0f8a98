package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The errors that callers tell apart.
var (
	ErrClosed   = errors.New("the database is closed")
	ErrFull     = errors.New("the disk is full; make room in the state directory")
	ErrReadOnly = errors.New("the database can't be written; check that the state directory is writable and its disk not mounted read-only")
	ErrCorrupt  = errors.New("the database is damaged")
	ErrKey      = errors.New("the key does not fit the database")
	ErrNewer    = errors.New("the database was written by a newer version")
	ErrForeign  = errors.New("this is the database of another program")
	ErrLocked   = errors.New("another patchbay works with this database")
	ErrNoRow    = errors.New("no such row")
)

// explain wraps an error of SQLite with what was tried and, where there is
// one, with the sentinel that it means.
func explain(tried string, err error) error {
	if err == nil {
		return nil
	}
	se, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", tried, err)
	}
	// The low byte is the class of the error, the rest its kind.
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%s: %w: %w", tried, ErrFull, err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return fmt.Errorf("%s: %w: %w", tried, ErrReadOnly, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%s: %w: %w", tried, ErrCorrupt, err)
	}
	return fmt.Errorf("%s: %w", tried, err)
}
