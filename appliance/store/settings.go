package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
)

// Settings holds what is edited at the page, as words under constant keys.
type Settings struct{ db *DB }

// keyCheck is the setting that tells at start whether the key fits.
const keyCheck = "store.key-check"

// checkKey makes sure that secrets can be opened before anybody counts on it.
func (s *Settings) checkKey(ctx context.Context) error {
	_, found, err := s.Get(ctx, keyCheck)
	if err != nil || found {
		return err
	}
	return s.PutSecret(ctx, keyCheck, rand.Text())
}

// Get returns a setting, secret or not; found is false if it was never set.
func (s *Settings) Get(ctx context.Context, key string) (value string, found bool, err error) {
	var (
		plain  sql.NullString
		sealed []byte
	)
	err = s.db.read.QueryRowContext(ctx, "SELECT value, sealed FROM settings WHERE key = ?", key).Scan(&plain, &sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, explain("read setting "+key, err)
	}
	if plain.Valid {
		return plain.String, true, nil
	}
	value, err = s.db.seal.open(settingRow(key), sealed)
	return value, err == nil, err
}

// Put writes a setting; it is on disk when Put returns.
func (s *Settings) Put(ctx context.Context, key, value string) error {
	return s.put(ctx, key, value, nil)
}

// PutSecret writes a setting that is sealed: a password, a code, a hash.
func (s *Settings) PutSecret(ctx context.Context, key, value string) error {
	return s.put(ctx, key, nil, s.db.seal.seal(settingRow(key), value))
}

// put writes one of value and sealed; the other is an untyped nil.
func (s *Settings) put(ctx context.Context, key string, value, sealed any) error {
	err := s.db.write(ctx, func(t *tx) error {
		_, err := t.exec("INSERT OR REPLACE INTO settings (key, value, sealed) VALUES (?, ?, ?)", key, value, sealed)
		return err
	})
	if err != nil {
		return fmt.Errorf("write setting %s: %w", key, err)
	}
	return nil
}

// Delete forgets a setting; one that is not there is no error.
func (s *Settings) Delete(ctx context.Context, key string) error {
	err := s.db.write(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM settings WHERE key = ?", key)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget setting %s: %w", key, err)
	}
	return nil
}

func settingRow(key string) string { return "settings/" + key + "/sealed" }
