// Package upload keeps what phones write to the box: logs, the overrides of
// their users, directories. Each phone keeps its newest files up to a count
// and a size, and all together are bounded, so that no phone can fill the
// disk. The files are for administrators; they may hold secrets, and only the
// box can read them.
//
// One directory for each phone, one file for each upload; its name is the time
// and the name that the phone gave, escaped. There is no goroutine.
package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"patchbay/dhcp/mac"
)

// Limits bound what is kept; what is over is removed, oldest first.
type Limits struct {
	Files      int   // of one phone
	Bytes      int64 // of one phone
	TotalBytes int64 // of all phones
}

// Default are the limits of a box with a small disk.
var Default = Limits{Files: 20, Bytes: 8 << 20, TotalBytes: 256 << 20}

// ErrUnknown means that there is no such file, or no more.
var ErrUnknown = errors.New("no such upload")

// File is one upload.
type File struct {
	ID   string // names it among those of its phone; safe in a URL
	Name string // that the phone gave
	Size int64  // in bytes
	Time time.Time
}

// Store keeps uploads in a directory. Its methods may be called from any
// goroutine; they wait for the disk.
type Store struct {
	dir    string
	limits Limits
	now    func() time.Time

	mu    sync.Mutex
	files map[mac.Addr][]File // oldest first
	total int64
	last  int64 // Unix time in nanoseconds of the newest file: no two are the same
}

// Open reads what is kept in a directory and makes it if there is none. What
// is left of an upload that a power cut broke off is removed.
func Open(dir string, limits Limits, now func() time.Time) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("uploads: %w", err)
	}
	s := &Store{dir: dir, limits: limits, now: now, files: make(map[mac.Addr][]File)}
	phones, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("uploads: %w", err)
	}
	for _, p := range phones {
		m, err := mac.Parse(p.Name())
		if err != nil || !p.IsDir() {
			continue
		}
		if err := s.read(m); err != nil {
			return nil, fmt.Errorf("uploads of %v: %w", m, err)
		}
	}
	return s, nil
}

func (s *Store) folder(m mac.Addr) string { return filepath.Join(s.dir, m.Hex()) }

// read lists the folder of a phone.
func (s *Store) read(m mac.Addr) error {
	entries, err := os.ReadDir(s.folder(m)) // by name, so by time
	if err != nil {
		return err
	}
	for _, e := range entries {
		f, at, ok := parseID(e.Name())
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !ok || !info.Mode().IsRegular() {
			if strings.HasPrefix(e.Name(), ".") {
				_ = os.Remove(filepath.Join(s.folder(m), e.Name()))
			}
			continue
		}
		f.Size = info.Size()
		s.files[m] = append(s.files[m], f)
		s.total += f.Size
		s.last = max(s.last, at)
	}
	return nil
}

// parseID takes the name of a file apart.
func parseID(id string) (f File, at int64, ok bool) {
	stamp, name, ok := strings.Cut(id, "-")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if !ok || err != nil || len(stamp) != 19 {
		return File{}, 0, false
	}
	name, err = url.PathUnescape(name)
	return File{ID: id, Name: name, Time: time.Unix(0, at)}, at, err == nil
}

// Keep writes a file and returns when it is on disk. The oldest files that
// do not fit beside it are removed.
func (s *Store) Keep(_ context.Context, m mac.Addr, name string, content []byte) error {
	if int64(len(content)) > s.limits.Bytes {
		return fmt.Errorf("upload of %v: %d bytes are more than is kept", m, len(content))
	}
	s.mu.Lock()
	s.last = max(s.last+1, s.now().UnixNano())
	id := fmt.Sprintf("%019d-%s", s.last, url.PathEscape(short(name)))
	s.mu.Unlock()
	if err := os.MkdirAll(s.folder(m), 0o700); err != nil {
		return fmt.Errorf("upload of %v: %w", m, err)
	}
	if err := write(filepath.Join(s.folder(m), id), content); err != nil {
		return fmt.Errorf("upload of %v: %w", m, err)
	}
	f, _, _ := parseID(id)
	f.Size = int64(len(content))
	for _, old := range s.enter(m, f) {
		_ = os.Remove(old)
	}
	return nil
}

// short bounds a name: escaped it must fit the file system.
func short(name string) string {
	for len(url.PathEscape(name)) > 200 {
		name = name[:len(name)*3/4]
	}
	return strings.ToValidUTF8(cmp.Or(name, "unnamed"), "")
}

// enter notes a file and returns the paths of those that must go.
func (s *Store) enter(m mac.Addr, f File) (gone []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[m] = append(s.files[m], f)
	slices.SortFunc(s.files[m], func(a, b File) int { return cmp.Compare(a.ID, b.ID) })
	s.total += f.Size
	for len(s.files[m]) > s.limits.Files || size(s.files[m]) > s.limits.Bytes {
		gone = append(gone, s.drop(m))
	}
	for s.total > s.limits.TotalBytes {
		gone = append(gone, s.drop(s.oldest()))
	}
	return gone
}

func size(files []File) (n int64) {
	for _, f := range files {
		n += f.Size
	}
	return n
}

// oldest is the phone with the oldest file. s.mu is held.
func (s *Store) oldest() (found mac.Addr) {
	first := ""
	for m, files := range s.files {
		if first == "" || files[0].ID < first {
			found, first = m, files[0].ID
		}
	}
	return found
}

// drop forgets the oldest file of a phone and returns its path. s.mu is held.
func (s *Store) drop(m mac.Addr) string {
	f := s.files[m][0]
	s.total -= f.Size
	if s.files[m] = s.files[m][1:]; len(s.files[m]) == 0 {
		delete(s.files, m)
	}
	return filepath.Join(s.folder(m), f.ID)
}

// List returns the uploads of a phone, newest first.
func (s *Store) List(m mac.Addr) []File {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.files[m])
	slices.Reverse(out)
	return out
}

// Read returns one upload with its content.
func (s *Store) Read(m mac.Addr, id string) (File, []byte, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.files[m], func(f File) bool { return f.ID == id })
	var f File
	if i >= 0 {
		f = s.files[m][i]
	}
	s.mu.Unlock()
	if i < 0 {
		return File{}, nil, ErrUnknown
	}
	content, err := os.ReadFile(filepath.Join(s.folder(m), f.ID)) // a name that was listed, so no path
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, nil, ErrUnknown
	}
	return f, content, err
}

// Forget removes all uploads of a phone.
func (s *Store) Forget(m mac.Addr) error {
	s.mu.Lock()
	for len(s.files[m]) > 0 {
		s.drop(m)
	}
	s.mu.Unlock()
	return os.RemoveAll(s.folder(m))
}

// write puts a file on disk, whole or not at all.
func write(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
