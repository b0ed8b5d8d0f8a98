package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"patchbay/dhcp"
	"patchbay/dhcp/mac"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(child(role))
	}
	goleak.VerifyTestMain(m)
}

var testKey = bytes.Repeat([]byte{7}, KeySize)

var compare = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}),
	cmpopts.EquateEmpty(),
}

func open(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), path, testKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// fresh opens a new file and closes it at the end of the test.
func fresh(t *testing.T) *DB {
	t.Helper()
	db := open(t, filepath.Join(t.TempDir(), "patchbay.db"))
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

// again closes a database and opens its file, as a restart does.
func again(t *testing.T, db *DB) *DB {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, db.path)
}

func phoneMAC(n byte) mac.Addr { return mac.Addr{0x00, 0x00, 0x5e, 0x00, 0x53, n} }

// noon is a time with the precision of the database.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func lease(n int) dhcp.Lease {
	return dhcp.Lease{
		IP:  netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}),
		MAC: mac.Addr{0x02, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}, State: dhcp.Bound,
		Granted: noon, Expires: noon.Add(12 * time.Hour),
	}
}

// TestPathIsTakenAsItIs opens a file whose name looks like a query.
func TestPathIsTakenAsItIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?mode=memory&c#d%41")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	db := open(t, filepath.Join(dir, "p?_pragma=synchronous(0).db"))
	if err := db.Leases().Put(t.Context(), lease(1)); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		info, err := os.Stat(db.path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", suffix, info.Mode(), err)
		}
	}
	db = again(t, db)
	defer db.Close()
	if got, err := db.Leases().Leases(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("after a restart: %d leases, %v", len(got), err)
	}
}

// TestPragmas asks the connections in use, not a new one.
func TestPragmas(t *testing.T) {
	db := fresh(t)
	for _, tc := range []struct{ pragma, writer, reader string }{
		{"journal_mode", "wal", "wal"},
		{"synchronous", "2", ""}, // FULL; a reader syncs nothing
		{"foreign_keys", "1", "1"},
		{"query_only", "0", "1"},
		{"busy_timeout", "5000", "5000"},
	} {
		var got string
		if err := db.conn.QueryRowContext(t.Context(), "PRAGMA "+tc.pragma).Scan(&got); err != nil || got != tc.writer {
			t.Errorf("writer: %s = %s, %v; want %s", tc.pragma, got, err, tc.writer)
		}
		for range 2 * readers {
			if err := db.read.QueryRowContext(t.Context(), "PRAGMA "+tc.pragma).Scan(&got); err != nil || (got != tc.reader && tc.reader != "") {
				t.Errorf("reader: %s = %s, %v; want %s", tc.pragma, got, err, tc.reader)
			}
		}
	}
	if _, err := db.read.ExecContext(t.Context(), "DELETE FROM leases"); !errors.Is(explain("", err), ErrReadOnly) {
		t.Errorf("a reader wrote: %v", err)
	}
}

// TestTablesAreStrict keeps SQLite from storing a MAC address as a number.
func TestTablesAreStrict(t *testing.T) {
	db := fresh(t)
	rows, err := db.read.QueryContext(t.Context(), "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	tables := 0
	for rows.Next() {
		var name string
		var strict bool
		if err := rows.Scan(&name, &strict); err != nil {
			t.Fatal(err)
		}
		if tables++; !strict {
			t.Errorf("table %s is not STRICT", name)
		}
	}
	if tables < 9 {
		t.Errorf("%d tables, want 9 at least", tables)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, db *DB, query string, args ...any) {
	t.Helper()
	err := db.write(t.Context(), func(x *tx) error {
		_, err := x.exec(query, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	db := fresh(t)
	_, err := Open(t.Context(), db.path, testKey, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "end it first") {
		t.Errorf("got %v, want ErrLocked", err)
	}
	if err := db.Leases().Put(t.Context(), lease(1)); err != nil {
		t.Errorf("the first one suffered: %v", err)
	}
}

func TestMigrationsAreNumbered(t *testing.T) {
	if _, err := migrations(migrationFiles); err != nil {
		t.Error(err)
	}
	file := &fstest.MapFile{Data: []byte("SELECT 1")}
	for name, files := range map[string]fstest.MapFS{
		"gap":       {"migrations/0001_a.sql": file, "migrations/0003_b.sql": file},
		"twice":     {"migrations/0001_a.sql": file, "migrations/0001_b.sql": file},
		"no number": {"migrations/first.sql": file},
	} {
		if _, err := migrations(files); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestMigrationIsWholeOrNot runs a step that fails after its first statement.
func TestMigrationIsWholeOrNot(t *testing.T) {
	db := fresh(t)
	steps, err := migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	bad := append(steps, migration{"0002_bad.sql", "CREATE TABLE extra (n INTEGER) STRICT; INSERT INTO nowhere VALUES (1);"})
	if err := migrate(t.Context(), db.conn, bad); err == nil || !strings.Contains(err.Error(), "0002_bad.sql") {
		t.Fatalf("got %v, want an error that names the step", err)
	}
	var n, version int
	if err := db.conn.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").Scan(&n); err != nil || n != 0 {
		t.Errorf("half a step stayed: %d, %v", n, err)
	}
	if err := db.conn.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&version); err != nil || version != len(steps) {
		t.Errorf("version %d, %v; want %d", version, err, len(steps))
	}
	good := append(steps, migration{"0002_good.sql", "CREATE TABLE extra (n INTEGER) STRICT;"})
	for range 2 { // the second time it has nothing to do
		if err := migrate(t.Context(), db.conn, good); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLeases(t *testing.T) {
	db := fresh(t)
	want := dhcp.Lease{
		IP: netip.MustParseAddr("192.0.2.10"), MAC: phoneMAC(1), ClientID: []byte{1, 0, 0xff, '\''},
		Hostname: "tisch'; DROP TABLE leases --", Vendor: "yealink", State: dhcp.Bound, Granted: noon, Expires: noon.Add(time.Hour),
	}
	first := want
	first.MAC, first.ClientID = phoneMAC(2), nil
	declined := dhcp.Lease{IP: netip.MustParseAddr("192.0.2.11"), MAC: phoneMAC(3), State: dhcp.Declined, Expires: noon}
	gone := lease(5)
	for _, l := range []dhcp.Lease{first, want, declined, gone} {
		if err := db.Leases().Put(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Leases().Delete(t.Context(), gone.IP); err != nil {
		t.Fatal(err)
	}
	db2 := open2(t, db)
	got, err := db2.Leases().Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]dhcp.Lease{want, declined}, got, compare); diff != "" {
		t.Errorf("leases after a restart (-want +got):\n%s", diff)
	}
	for _, bad := range []dhcp.Lease{{MAC: phoneMAC(1), State: dhcp.Bound}, {IP: want.IP, MAC: phoneMAC(1), State: dhcp.Offered}} {
		if err := db2.Leases().Put(t.Context(), bad); err == nil {
			t.Errorf("stored %+v", bad)
		}
	}
}

// open2 copies the files of a live database, as a power cut would leave them,
// and opens the copy.
func open2(t *testing.T, db *DB) *DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(db.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path+suffix, b)
	}
	copied := open(t, path)
	t.Cleanup(func() { copied.Close() })
	return copied
}

func TestSettings(t *testing.T) {
	db := fresh(t)
	ctx := t.Context()
	if _, found, err := db.Settings().Get(ctx, "page.language"); found || err != nil {
		t.Errorf("never set: %v, %v", found, err)
	}
	for _, err := range []error{
		db.Settings().Put(ctx, "page.language", "en"),
		db.Settings().Put(ctx, "page.language", "de"),
		db.Settings().Put(ctx, "page.empty", ""),
		db.Settings().PutSecret(ctx, "page.password", "$argon2id$topsecret"),
		db.Settings().Put(ctx, "page.gone", "x"),
		db.Settings().Delete(ctx, "page.gone"),
		db.Settings().Delete(ctx, "page.gone"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	copied := open2(t, db)
	for key, want := range map[string]string{"page.language": "de", "page.empty": "", "page.password": "$argon2id$topsecret"} {
		if got, found, err := copied.Settings().Get(ctx, key); got != want || !found || err != nil {
			t.Errorf("%s = %q, %v, %v; want %q", key, got, found, err, want)
		}
	}
	if _, found, _ := copied.Settings().Get(ctx, "page.gone"); found {
		t.Error("a deleted setting is there")
	}
	noSecretIn(t, db, "topsecret")
}

// noSecretIn reads the files of the database as a thief would.
func noSecretIn(t *testing.T, db *DB, secret string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(db.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s holds the secret %q in clear", suffix, secret)
		}
	}
}

func TestCloseRefusesWrites(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "patchbay.db"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Leases().Put(context.Background(), lease(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}
