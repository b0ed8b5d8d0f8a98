package tftp

import (
	"bytes"
	"io"
)

// maxASCII is the largest file that is converted to netascii, which takes it
// into memory. Configurations are far smaller; images are never text.
const maxASCII = 1 << 20

// Bytes is a file in memory. It is shared by all transfers and not changed.
func Bytes(b []byte) Content { return inMemory{bytes.NewReader(b)} }

type inMemory struct{ *bytes.Reader }

// Close implements io.Closer.
func (inMemory) Close() error { return nil }

// asciiContent reads a file and gives it the line ends of netascii.
func asciiContent(c Content, size int64) (Content, int64, error) {
	defer c.Close()
	if size > maxASCII {
		return nil, 0, &Error{Illegal, "file is too large for netascii, use octet"}
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(c, 0, size), text); err != nil {
		return nil, 0, err
	}
	text = toASCII(text)
	return Bytes(text), int64(len(text)), nil
}
