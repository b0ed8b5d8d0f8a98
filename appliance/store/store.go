package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// readers is how many queries may run at once beside the writer.
const readers = 4

// busyTimeout is how long a connection waits for a lock of another. There is
// one writer, so only a checkpoint or a backup by hand can hold one.
const busyTimeout = 5 * time.Second

// DB is the database of the box. All methods may be called from many
// goroutines.
type DB struct {
	path string
	log  *slog.Logger
	seal *sealer
	lock *os.File
	main *sql.DB // one connection, which writer holds
	read *sql.DB // read-only
	*writer

	leases      *Leases
	bindings    *Bindings
	whereabouts *Whereabouts
	calls       *Calls
	story       *Story
	inventory   *Inventory
	settings    *Settings

	provisioning *Provisioning
}

// Open opens the database file, and makes it if there is none; its directory
// must exist. key opens the sealed passwords (see [LoadKey]). An error names
// the file and what to do.
func Open(ctx context.Context, path string, key []byte, log *slog.Logger) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{path: path, log: log.With("component", "store")}
	if err := db.open(ctx, key); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, db.withFix(err)), db.release())
	}
	return db, nil
}

// withFix adds what a person can do about an error at start.
func (db *DB) withFix(err error) error {
	switch {
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%w; restore a backup, or move %s with its -wal and -shm files away and start again: phones get new addresses and passwords, lines must be entered again", err, db.path)
	case errors.Is(err, ErrKey):
		return fmt.Errorf("%w; put the key file back that belongs to it, or restore key and database from the same backup", err)
	case errors.Is(err, ErrForeign):
		return fmt.Errorf("%w; choose another state directory", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; create the directory %s, or set box.state to one that exists", err, filepath.Dir(db.path))
	}
	return err
}

func (db *DB) open(ctx context.Context, key []byte) (err error) {
	if db.seal, err = newSealer(key); err != nil {
		return err
	}
	if db.lock, err = lockFile(db.path); err != nil {
		return err
	}
	// SQLite gives -wal and -shm the mode of the database.
	f, err := os.OpenFile(db.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if db.main, err = sql.Open("sqlite", dsn(db.path, false)); err != nil {
		return err
	}
	db.main.SetMaxOpenConns(1)
	conn, err := db.main.Conn(ctx)
	if err != nil {
		return explain("connect", err)
	}
	if err := prepare(ctx, conn); err != nil {
		return errors.Join(err, conn.Close())
	}
	if err := syncDir(filepath.Dir(db.path)); err != nil {
		return errors.Join(err, conn.Close())
	}
	db.writer = newWriter(conn)
	if db.read, err = sql.Open("sqlite", dsn(db.path, true)); err != nil {
		return err
	}
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	return db.tables(ctx)
}

// prepare asserts that the pragmas of the DSN arrived, because a misspelt one
// is ignored without a word, and brings the schema up to date.
func prepare(ctx context.Context, conn *sql.Conn) error {
	for _, p := range []struct{ pragma, want string }{
		{"journal_mode", "wal"},
		{"synchronous", "2"}, // FULL
		{"foreign_keys", "1"},
	} {
		var got string
		if err := conn.QueryRowContext(ctx, "PRAGMA "+p.pragma).Scan(&got); err != nil {
			return explain("pragma "+p.pragma, err)
		}
		if got != p.want {
			return fmt.Errorf("pragma %s is %s, want %s: the file system of the state directory can't hold the database", p.pragma, got, p.want)
		}
	}
	steps, err := migrations(migrationFiles)
	if err != nil {
		return err
	}
	return migrate(ctx, conn, steps)
}

// tables makes the parts of the database and checks the key.
func (db *DB) tables(ctx context.Context) (err error) {
	db.settings = &Settings{db}
	if err := db.settings.checkKey(ctx); err != nil {
		return err
	}
	db.leases = &Leases{db}
	db.bindings, db.whereabouts = newBindings(db), newWhereabouts(db)
	db.provisioning = &Provisioning{db: db, behind: make(map[[2]string]string)}
	db.calls = &Calls{db: db}
	db.inventory = newInventory(db)
	db.story, err = newStory(ctx, db)
	return err
}

// dsn names the file as a URI, so that no character of its path is taken for
// an option. Pragmas stand here because one that is run on a pool reaches one
// connection only.
func dsn(path string, readOnly bool) string {
	q := url.Values{"_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "foreign_keys(1)", "temp_store(memory)"}}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	} else {
		q.Add("_pragma", "journal_mode(WAL)")
		q.Add("_pragma", "synchronous(FULL)")
		q.Add("_pragma", "journal_size_limit(8388608)")
		q.Add("_txlock", "immediate")
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

// lockFile keeps a second process away from the database; the lock goes with
// the process, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("%w: %w", ErrReadOnly, err)
		}
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		who := make([]byte, 16)
		n, _ := f.ReadAt(who, 0)
		return nil, errors.Join(fmt.Errorf("%w (process %s); end it first", ErrLocked, strings.TrimSpace(string(who[:n]))), f.Close())
	}
	// Only for the message above.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f, nil
}

// release closes what is open and takes the lock off last.
func (db *DB) release() error {
	var errs []error
	if db.read != nil {
		errs = append(errs, db.read.Close())
	}
	if db.writer != nil {
		errs = append(errs, db.writer.close())
	}
	if db.main != nil {
		errs = append(errs, db.main.Close())
	}
	if db.lock != nil {
		errs = append(errs, db.lock.Close())
	}
	return errors.Join(errs...)
}

// closeTimeout is how long the last rows may take.
const closeTimeout = 5 * time.Second

// Close writes what is buffered and closes the file. Writes after it return
// ErrClosed. It is not called twice.
func (db *DB) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := db.flush(ctx)
	return errors.Join(err, db.release())
}

// Leases returns the table of leases, a dhcp.LeaseStore.
func (db *DB) Leases() *Leases { return db.leases }

// Bindings returns the table of bindings, a sipedge.BindingStore.
func (db *DB) Bindings() *Bindings { return db.bindings }

// Calls returns the call detail record, a sipedge.CallStore.
func (db *DB) Calls() *Calls { return db.calls }

// Story returns the stories of all phones.
func (db *DB) Story() *Story { return db.story }

// Inventory returns phones, accounts, lines and addresses, an enrol.Store.
func (db *DB) Inventory() *Inventory { return db.inventory }

// Settings returns the settings that are edited at the page.
func (db *DB) Settings() *Settings { return db.settings }

// Audit is the log of who changed what.
func (db *DB) Audit() *Audit { return &Audit{db} }

// Stats is how the database fares.
type Stats struct {
	Commits  uint64 // transactions on disk
	Writes   uint64 // changes in them
	Failures uint64 // changes that were not written
	// LastError is the newest failure, nil if there was none; LastFailure is
	// when it was.
	LastError   error
	LastFailure time.Time
	// What was lost because a buffer was full.
	StoryDropped, CallsDropped, BindingsDropped uint64
}

// Stats returns counters since the start. It does not touch the disk.
func (db *DB) Stats() Stats {
	s := Stats{
		Commits: db.commits.Load(), Writes: db.writes.Load(), Failures: db.failures.Load(),
		StoryDropped: db.story.dropped.Load(), CallsDropped: db.calls.dropped.Load(), BindingsDropped: db.bindings.dropped.Load(),
	}
	if f := db.last.Load(); f != nil {
		s.LastError, s.LastFailure = f.err, f.at
	}
	return s
}

// query runs a read and hands each row to scan.
func (db *DB) query(ctx context.Context, what string, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return db.blame(what, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return db.blame(what, err)
		}
	}
	return db.blame(what, rows.Err())
}

// blame explains an error of a read. Damage that shows only now names file
// and fix as it does in Open: it is an error of the start all the same.
func (db *DB) blame(what string, err error) error {
	err = explain("read "+what, err)
	if errors.Is(err, ErrCorrupt) {
		return fmt.Errorf("database %s: %w", db.path, db.withFix(err))
	}
	return err
}
