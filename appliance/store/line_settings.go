package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"patchbay/sipedge"
)

// LineSettings is the table of what the users of lines want.
type LineSettings struct{ db *DB }

var _ sipedge.SettingsStore = (*LineSettings)(nil)

// LineSettings returns the table.
func (d *DB) LineSettings() *LineSettings { return &LineSettings{d} }

// All implements [sipedge.SettingsStore].
func (s *LineSettings) All(ctx context.Context) ([]sipedge.LineSettings, error) {
	var out []sipedge.LineSettings
	err := s.db.query(ctx, "settings of lines", func(rows *sql.Rows) error {
		var (
			l     sipedge.LineSettings
			after int64
		)
		err := rows.Scan(&l.LineID, &l.DoNotDisturb, &l.Number, &l.Always, &l.NoAnswer, &l.Simultaneous, &after)
		l.After = time.Duration(after) * time.Second
		out = append(out, l)
		return err
	}, "SELECT line_id, dnd, number, always, no_answer, simultaneous, after_s FROM line_settings ORDER BY line_id")
	return out, err
}

// Put implements [sipedge.SettingsStore].
func (s *LineSettings) Put(ctx context.Context, l sipedge.LineSettings) error {
	err := s.db.share(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO line_settings (line_id, dnd, number, always, no_answer, simultaneous, after_s) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (line_id) DO UPDATE SET dnd = excluded.dnd, number = excluded.number, always = excluded.always,
			no_answer = excluded.no_answer, simultaneous = excluded.simultaneous, after_s = excluded.after_s`,
			l.LineID, flag(l.DoNotDisturb), l.Number, flag(l.Always), flag(l.NoAnswer), flag(l.Simultaneous), int64(l.After/time.Second))
		return err
	})
	if err != nil {
		return fmt.Errorf("settings of line %d: %w", l.LineID, err)
	}
	return nil
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
