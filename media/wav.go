package media

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The formats of a WAV file that are read (RFC 2361).
const (
	wavLinear = 1
	wavA      = 6
	wavMu     = 7
)

// ReadAudio turns the content of an audio file into a [Prompt]: a WAV file with
// G.711 or 16 bit linear samples, mono, at 8000 Hz, or else raw µ-law. The
// error says what such a file should be. b is not kept.
func ReadAudio(b []byte) (Prompt, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		if len(b) < frameSize {
			return nil, errors.New("less than 20 ms of audio in it")
		}
		return append(Prompt(nil), b...), nil
	}
	var format uint16
	for rest := b[12:]; len(rest) >= 8; {
		size := int64(binary.LittleEndian.Uint32(rest[4:]))
		body := rest[8:]
		if size > int64(len(body)) {
			size = int64(len(body)) // a recorder that was cut off
		}
		body = body[:size]
		switch string(rest[:4]) {
		case "fmt ":
			if len(body) < 16 {
				return nil, errors.New("its format can't be read")
			}
			format = binary.LittleEndian.Uint16(body)
			channels, rate, bits := binary.LittleEndian.Uint16(body[2:]), binary.LittleEndian.Uint32(body[4:]), binary.LittleEndian.Uint16(body[14:])
			if channels != 1 || rate != 8000 || !(format == wavLinear && bits == 16 || (format == wavA || format == wavMu) && bits == 8) {
				return nil, fmt.Errorf("it has %d channels, %d Hz, %d bits, format %d; convert it to mono, 8000 Hz, 16 bits", channels, rate, bits, format)
			}
		case "data":
			return fromWAV(format, body)
		}
		rest = rest[8+size:]
		if size%2 == 1 && len(rest) > 0 {
			rest = rest[1:]
		}
	}
	return nil, errors.New("no audio in it")
}

func fromWAV(format uint16, body []byte) (Prompt, error) {
	var out Prompt
	switch format {
	case wavMu:
		out = append(out, body...)
	case wavA:
		for _, a := range body {
			out = append(out, encodeMu(decodeA(a)))
		}
	case wavLinear:
		for ; len(body) >= 2; body = body[2:] {
			out = append(out, encodeMu(int(int16(binary.LittleEndian.Uint16(body)))))
		}
	default:
		return nil, errors.New("its format is not told before its audio")
	}
	if len(out) < frameSize {
		return nil, errors.New("less than 20 ms of audio in it")
	}
	return out, nil
}
