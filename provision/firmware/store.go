package firmware

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The errors that callers tell apart.
var (
	ErrUnknown  = errors.New("no such image")
	ErrInvalid  = errors.New("not accepted")         // wrapped by every fault of an edit
	ErrTooLarge = errors.New("larger than is taken") // wrapped with ErrInvalid
	ErrFull     = errors.New("no room for it")       // nothing was kept
)

// Limits bound what is kept, in bytes.
type Limits struct {
	File  int64 // of one file
	Total int64 // of all
	Spare int64 // of the disk, that stay free
}

// Default are the limits of a box: the largest images, of phones with Android,
// have some 500 MB.
var Default = Limits{File: 1 << 30, Total: 8 << 30, Spare: 256 << 20}

// maxFiles bounds the files of an image: one for each part number, at most.
const maxFiles = 64

// Image is what phones of one vendor load: a folder of files that never change.
type Image struct {
	ID      string    `json:"id"` // the name of its folder: vendor, version and label
	Vendor  string    `json:"vendor"`
	Version string    `json:"version"` // as the phones that run it write it
	Label   string    `json:"label"`   // tells images of one version apart; may be empty
	Files   []File    `json:"files"`   // by name
	Added   time.Time `json:"added"`   // of the newest file
}

// File is one file of an image.
type File struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"`    // bytes
	SHA256  string `json:"sha256"`  // in lower-case hexadecimal
	Checked string `json:"checked"` // algorithm of the vendor's checksum that it has; empty: none was given
}

// Names lists the files.
func (i Image) Names() []string {
	names := make([]string, len(i.Files))
	for n, f := range i.Files {
		names[n] = f.Name
	}
	return names
}

// What may stand in the parts of an image's name: they are parts of paths and
// of configurations.
var (
	versionText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	labelText   = regexp.MustCompile(`^[A-Za-z0-9_-]{0,32}$`)
	nameText    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

// manifest is the name of the list of the files of an image, in its folder. A
// file counts once it is in the list.
const manifest = ".image.json"

// goneFolder is before the name of an image that is being removed.
const goneFolder = ".gone-"

// Store keeps images in a directory. Its methods may be called from any
// goroutine; they wait for the disk.
type Store struct {
	dir    string
	limits Limits
	now    func() time.Time
	free   func(dir string) (int64, error)
	turn   chan struct{} // held by who changes something

	mu     sync.Mutex
	images map[string]Image
}

// Open reads what is kept in a directory and makes it if there is none. What is
// left of an upload that a power cut broke off is removed.
func Open(dir string, limits Limits, now func() time.Time) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("firmware: %w", err)
	}
	s := &Store{dir: dir, limits: limits, now: now, free: freeBytes, turn: make(chan struct{}, 1), images: make(map[string]Image)}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("firmware: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if strings.HasPrefix(e.Name(), goneFolder) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("firmware: %w", err)
			}
			continue
		}
		if err := s.read(e.Name()); err != nil {
			return nil, fmt.Errorf("firmware %s: %w", e.Name(), err)
		}
	}
	return s, nil
}

// read takes a folder in. One without a list was never finished, or is not
// ours: it is removed only if nothing of somebody else is in it.
func (s *Store) read(id string) error {
	dir := filepath.Join(s.dir, id)
	text, err := os.ReadFile(filepath.Join(dir, manifest))
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	var image Image
	if !missing {
		if err := json.Unmarshal(text, &image); err != nil {
			return err
		}
		if image.ID != id {
			return fmt.Errorf("its list is of %q", image.ID)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		left := strings.HasPrefix(e.Name(), ".new-")
		if !missing { // everything else in it was put there by us
			left = left || e.Name() != manifest && !slices.Contains(image.Names(), e.Name())
		}
		if left {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if missing {
		_ = os.Remove(dir) // fails if it is not empty, as it should
		return nil
	}
	if len(image.Files) > 0 {
		s.images[id] = image
	}
	return nil
}

// List returns all images by vendor, then the newest first.
func (s *Store) List() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Image, 0, len(s.images))
	for _, i := range s.images {
		i.Files = slices.Clone(i.Files)
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Image) int {
		return cmp.Or(strings.Compare(a.Vendor, b.Vendor), b.Added.Compare(a.Added), strings.Compare(a.ID, b.ID))
	})
	return out
}

// Image returns one image.
func (s *Store) Image(id string) (Image, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.images[id]
	i.Files = slices.Clone(i.Files)
	return i, ok
}

// Upload is a file that is to be added to an image, which is made if there is
// none of that vendor, version and label.
type Upload struct {
	Vendor, Version, Label string
	Name                   string
	Size                   int64  // bytes; below 0: not known
	Checksum               string // of the vendor, in hexadecimal: MD5, SHA-1, SHA-256 or SHA-512; empty: none
}

// hashes are the checksums that vendors give, by how many digits they have.
var hashes = map[int]struct {
	name string
	make func() hash.Hash
}{
	32: {"MD5", md5.New}, 40: {"SHA-1", sha1.New}, 64: {"SHA-256", sha256.New}, 128: {"SHA-512", sha512.New},
}

func (u *Upload) validate(limits Limits) error {
	u.Checksum = strings.ToLower(strings.TrimSpace(u.Checksum))
	bad := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, ErrInvalid)...)
	}
	switch _, err := hex.DecodeString(u.Checksum); {
	case !nameText.MatchString(u.Vendor):
		return bad("vendor %q: write it as the catalogue does", u.Vendor)
	case !versionText.MatchString(u.Version) || strings.Contains(u.Version, ".."):
		return bad("version %q: write it as the phones do, with letters, digits, dots and dashes", u.Version)
	case !labelText.MatchString(u.Label):
		return bad("label %q: at most 32 letters, digits and dashes", u.Label)
	case !nameText.MatchString(u.Name) || strings.Contains(u.Name, ".."):
		return bad("file %q: phones ask for names of letters, digits, dots and dashes", u.Name)
	case u.Checksum != "" && (err != nil || hashes[len(u.Checksum)].make == nil):
		return bad("checksum: write the MD5, SHA-1, SHA-256 or SHA-512 that the vendor gives, in hexadecimal")
	case u.Size > limits.File:
		return fmt.Errorf("%s has %d bytes, at most %d are taken: %w: %w", u.Name, u.Size, limits.File, ErrTooLarge, ErrInvalid)
	}
	return nil
}

func (u *Upload) id() string {
	id := u.Vendor + "-" + u.Version
	if u.Label != "" {
		id += "-" + u.Label
	}
	return id
}

// Put adds a file to an image and returns when it is on disk, whole. A file
// that the image has already is taken only if it is the same. One upload runs
// at a time; the others wait until ctx ends.
func (s *Store) Put(ctx context.Context, u Upload, body io.Reader) (Image, error) {
	if err := u.validate(s.limits); err != nil {
		return Image{}, err
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return Image{}, ctx.Err()
	}
	defer func() { <-s.turn }()
	image, known := s.Image(u.id())
	if !known {
		image = Image{ID: u.id(), Vendor: u.Vendor, Version: u.Version, Label: u.Label}
	}
	if image.Vendor != u.Vendor || image.Version != u.Version {
		return Image{}, fmt.Errorf("%s is an image of %s %s already; give this one another label: %w", image.ID, image.Vendor, image.Version, ErrInvalid)
	}
	if !slices.Contains(image.Names(), u.Name) && len(image.Files) >= maxFiles {
		return Image{}, fmt.Errorf("an image has at most %d files: %w", maxFiles, ErrInvalid)
	}
	dir := filepath.Join(s.dir, image.ID)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return Image{}, fmt.Errorf("firmware: %w", full(err))
	}
	image, err := s.take(u, image, dir, body)
	if err != nil {
		if !known {
			_ = os.Remove(dir)
		}
		return Image{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images[image.ID] = image
	image.Files = slices.Clone(image.Files)
	return image, nil
}

// take writes a file and the new list of its image.
func (s *Store) take(u Upload, image Image, dir string, body io.Reader) (Image, error) {
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return Image{}, fmt.Errorf("firmware: %w", full(err))
	}
	defer os.Remove(tmp.Name())
	file, err := s.copy(u, tmp, body)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return Image{}, fmt.Errorf("%s: %w", u.Name, full(err))
	}
	at := slices.IndexFunc(image.Files, func(f File) bool { return f.Name == u.Name })
	switch {
	case at >= 0 && image.Files[at].SHA256 != file.SHA256:
		return Image{}, fmt.Errorf("%s of %s is another file already; an image does not change, so give this one another label: %w", u.Name, image.ID, ErrInvalid)
	case at >= 0:
		image.Files[at].Checked = cmp.Or(file.Checked, image.Files[at].Checked)
	default:
		if err := os.Rename(tmp.Name(), filepath.Join(dir, u.Name)); err != nil {
			return Image{}, fmt.Errorf("%s: %w", u.Name, err)
		}
		image.Files = append(image.Files, file)
		slices.SortFunc(image.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	}
	image.Added = s.now().UTC()
	if err := s.list(dir, image); err != nil {
		return Image{}, fmt.Errorf("%s: %w", image.ID, full(err))
	}
	return image, nil
}

// checkEvery is after how many bytes the room on the disk is looked at again:
// other parts of the box write too.
const checkEvery = 8 << 20

// copy streams a file to disk, within the limits.
func (s *Store) copy(u Upload, to io.Writer, body io.Reader) (File, error) {
	own := sha256.New()
	sums := io.MultiWriter(to, own)
	kind := hashes[len(u.Checksum)]
	var theirs hash.Hash
	if u.Checksum != "" {
		theirs = kind.make()
		sums = io.MultiWriter(to, own, theirs)
	}
	var size int64
	for {
		if err := s.room(size, max(u.Size-size, 0)); err != nil {
			return File{}, err
		}
		n, err := io.CopyN(sums, body, checkEvery)
		size += n
		if size > s.limits.File {
			return File{}, fmt.Errorf("more than %d bytes: %w: %w", s.limits.File, ErrTooLarge, ErrInvalid)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return File{}, err
		}
	}
	switch {
	case size == 0:
		return File{}, fmt.Errorf("the file is empty: %w", ErrInvalid)
	case u.Size >= 0 && size != u.Size:
		return File{}, fmt.Errorf("%d of %d bytes came: %w", size, u.Size, ErrInvalid)
	case theirs != nil && hex.EncodeToString(theirs.Sum(nil)) != u.Checksum:
		return File{}, fmt.Errorf("its %s is %x, not the one that was given: the download is damaged, or it is another file: %w", kind.name, theirs.Sum(nil), ErrInvalid)
	}
	f := File{Name: u.Name, Size: size, SHA256: hex.EncodeToString(own.Sum(nil))}
	if theirs != nil {
		f.Checked = kind.name
	}
	return f, nil
}

// Room is how many more bytes can be kept now.
func (s *Store) Room() (int64, error) {
	used := int64(0)
	for _, i := range s.List() {
		for _, f := range i.Files {
			used += f.Size
		}
	}
	free, err := s.free(s.dir)
	return max(0, min(s.limits.Total-used, free-s.limits.Spare)), err
}

// room says if there is none for a file of which so many bytes are written, and
// so many are known to come.
func (s *Store) room(written, expected int64) error {
	total := written + expected
	for _, i := range s.List() {
		for _, f := range i.Files {
			total += f.Size
		}
	}
	if total > s.limits.Total {
		return fmt.Errorf("the images would have more than %d MiB together; remove some: %w", s.limits.Total>>20, ErrFull)
	}
	free, err := s.free(s.dir)
	if err != nil {
		return err
	}
	if free-max(expected, checkEvery) < s.limits.Spare {
		return fmt.Errorf("the disk has %d MiB free, of which %d stay for the box: %w", free>>20, s.limits.Spare>>20, ErrFull)
	}
	return nil
}

// list writes the list of an image, which makes its files count.
func (s *Store) list(dir string, image Image) error {
	text, err := json.Marshal(image)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil { // the file before the list
		return err
	}
	if err := os.Rename(tmp.Name(), filepath.Join(dir, manifest)); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(s.dir))
}

// Remove removes an image, or one file of it.
func (s *Store) Remove(ctx context.Context, id, name string) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	image, ok := s.Image(id)
	if !ok {
		return ErrUnknown
	}
	dir := filepath.Join(s.dir, id)
	if name != "" {
		at := slices.Index(image.Names(), name)
		if at < 0 {
			return ErrUnknown
		}
		if image.Files = slices.Delete(image.Files, at, at+1); len(image.Files) > 0 {
			if err := s.list(dir, image); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			s.mu.Lock()
			s.images[id] = image
			s.mu.Unlock()
			return os.Remove(filepath.Join(dir, name))
		}
	}
	gone := filepath.Join(s.dir, goneFolder+id) // all of it goes at once
	if err := os.Rename(dir, gone); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	s.mu.Lock()
	delete(s.images, id)
	s.mu.Unlock()
	if err := errors.Join(syncDir(s.dir), os.RemoveAll(gone)); err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	return nil
}

// Verify reads an image and compares it with what was once written. It is asked
// before phones are told of the image.
func (s *Store) Verify(ctx context.Context, id string) error {
	image, ok := s.Image(id)
	if !ok {
		return ErrUnknown
	}
	for _, f := range image.Files {
		file, err := os.Open(filepath.Join(s.dir, id, f.Name))
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, contextReader{ctx, file})
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
			return fmt.Errorf("%s is damaged on the disk; remove it and upload it again: %w", f.Name, ErrInvalid)
		}
	}
	return nil
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// full says in our words that the disk is.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// freeBytes is what this user can still write to the disk of a directory.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("room on the disk: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
