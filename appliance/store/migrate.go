package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// applicationID marks a file as ours in its header: "PBay".
const applicationID = 0x50426179

// migration is one step of the schema.
type migration struct {
	name string
	sql  string
}

// migrations reads the numbered files of a directory: 0001_…, 0002_…, without
// a gap.
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var out []migration
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s: want number %04d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		out = append(out, migration{path.Base(name), string(text)})
	}
	return out, nil
}

// migrate brings a database to the newest schema, each step in a transaction
// with its number. It refuses a file that a newer version or another program
// wrote, before it changes anything.
func migrate(ctx context.Context, conn *sql.Conn, steps []migration) error {
	var version, app, tables int
	for _, q := range []struct {
		query string
		to    *int
	}{
		{"PRAGMA user_version", &version},
		{"PRAGMA application_id", &app},
		{"SELECT count(*) FROM sqlite_schema", &tables},
	} {
		if err := conn.QueryRowContext(ctx, q.query).Scan(q.to); err != nil {
			return explain("read the schema", err)
		}
	}
	if app != applicationID && (tables > 0 || app != 0) {
		return ErrForeign
	}
	if version > len(steps) {
		return fmt.Errorf("%w: its schema is %d, this version knows %d; install the newer version again, or restore the backup from before", ErrNewer, version, len(steps))
	}
	for i := version; i < len(steps); i++ {
		if err := step(ctx, conn, steps[i], i+1); err != nil {
			return explain("migration "+steps[i].name, err)
		}
	}
	return nil
}

func step(ctx context.Context, conn *sql.Conn, m migration, number int) error {
	t, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }() // no effect after Commit
	for _, text := range []string{
		m.sql,
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", number),
	} {
		if _, err := t.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return t.Commit()
}
