package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// KeySize is the length of the key of [Open] in bytes: AES-256.
const KeySize = 32

// sealVersion is the first byte of a sealed value.
const sealVersion = 1

// sealer encrypts the secrets of the database (AES-256-GCM). Each value has a
// random nonce and is bound to the row that it stands in, so that a value
// copied to another row does not open.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (*sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("key of %d bytes: want %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	// The nonce is drawn and put in front by the standard library.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead}, nil
}

// seal encrypts a secret for one row, named as "table/key/column".
func (s *sealer) seal(row, secret string) []byte {
	return s.aead.Seal([]byte{sealVersion}, nil, []byte(secret), []byte(row))
}

// open returns the secret of a row, or an error that wraps ErrKey and says
// nothing about what was in it.
func (s *sealer) open(row string, sealed []byte) (string, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return "", fmt.Errorf("%s: sealed in an unknown way: %w", row, ErrKey)
	}
	plain, err := s.aead.Open(nil, nil, sealed[1:], []byte(row))
	if err != nil {
		return "", fmt.Errorf("%s: %w", row, ErrKey)
	}
	return string(plain), nil
}

// LoadKey reads the key file, and makes one with a fresh key if there is none:
// readable by its owner only, and on disk when LoadKey returns. A file of the
// wrong length is an error, never replaced: the secrets of the database would
// be lost with it.
func LoadKey(path string) ([]byte, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, KeySize)
	rand.Read(key)
	if err := writeKey(path, key); err != nil {
		return nil, fmt.Errorf("make key file: %w", err)
	}
	return key, nil
}

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	defer f.Close()
	key, err := io.ReadAll(io.LimitReader(f, KeySize+1))
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("key file %s: it should have %d bytes, so it is damaged; put it back from a backup", path, KeySize)
	}
	return key, nil
}

// writeKey leaves a whole key file or none, even if the power goes.
func writeKey(path string, key []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	// A link never replaces a key that another process made meanwhile.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
