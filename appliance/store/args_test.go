package store

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay/appliance/story"
	"patchbay/dhcp/mac"
)

// TestAppendArgs holds the encoder against the one of the standard library.
func TestAppendArgs(t *testing.T) {
	phone := mac.Addr{0, 0, 0x5e, 0, 0x53, 1}
	cases := map[string]story.Args{
		"empty":    {},
		"discover": {IP: netip.MustParseAddr("192.0.2.1"), Vendor: "Yealink", Model: "T46U", Options: []byte{1, 3, 66}, Detail: "yealink"},
		"ack":      {IP: netip.MustParseAddr("192.0.2.1"), Seconds: 43200, URL: "http://192.0.2.1/"},
		"texts":    {Firmware: "1", File: "/a", Number: "2", Name: "3", Call: "4", Via: "5", Reason: "6", Peer: netip.MustParseAddr("2001:db8::1"), MAC: phone},
		"escapes":  {Detail: "a\"b\\c<d>&e\x00\x7f\u2028 ü\xff", Name: "日本", Vendor: "\n"},
		"no bytes": {Options: []byte{}},
		"a call":   {Account: mac.Account{MAC: phone, Slot: 1}, Evidence: mac.OwnLease, Status: 200, Bytes: 1, Duration: time.Second, Name: "x"},
	}
	// Each field alone, so that a new one can't be forgotten.
	for i := range reflect.TypeFor[story.Args]().NumField() {
		var args story.Args
		field := reflect.ValueOf(&args).Elem().Field(i)
		switch v := field.Interface().(type) {
		case netip.Addr:
			field.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.7")))
		case mac.Addr:
			field.Set(reflect.ValueOf(phone))
		case mac.Account:
			field.Set(reflect.ValueOf(mac.Account{MAC: phone, Slot: 2}))
		case []byte:
			field.SetBytes([]byte{7})
		default:
			switch field.Kind() {
			case reflect.String:
				field.SetString("seven")
			case reflect.Int, reflect.Int64:
				field.SetInt(7)
			case reflect.Uint8, reflect.Uint16:
				field.SetUint(1)
			default:
				t.Fatalf("no example of %T", v)
			}
		}
		cases[reflect.TypeFor[story.Args]().Field(i).Name] = args
	}
	for name, args := range cases {
		t.Run(name, func(t *testing.T) {
			want, err := json.Marshal(args)
			if err != nil {
				t.Fatal(err)
			}
			got, err := appendArgs(nil, &args)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
