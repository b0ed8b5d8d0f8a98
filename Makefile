# Patchbay. `make demo` shows the main job, `make test` passes the tests;
# neither needs root or anything but Go. The rest says what it needs.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  = -s -w -X main.version=$(VERSION)
BUILD    = CGO_ENABLED=0 $(GO) build -pgo=$(PROFILE) -trimpath -ldflags '$(LDFLAGS)'
TOOL     = $(GO) tool -modfile=.ci/tools/go.mod
# RACE=1 runs the tests under the race detector, which needs a C compiler.
RACE    ?=
TESTENV  = $(if $(RACE),CGO_ENABLED=1,CGO_ENABLED=0)
TESTFLAGS = $(if $(RACE),-race) -v -skip Corpora -timeout 5m
# No file is left out by a tag, so that all of them at once see everything.
ALLTAGS  = lab,bench,browser
# PROFILE=off compiles without it.
PROFILE ?= $(abspath packaging/patchbay.pgo)
COUNT    = awk -f .ci/testcount.awk

SOURCES = $(shell git ls-files '*.go' go.mod go.sum 'provision/vendors/*' 'provision/templates/*' 'appliance/web/*' 'media/prompt/audio/*' 'sipedge/plans.tsv' 'appliance/store/migrations/*' packaging/patchbay.toml packaging/patchbay.pgo)

.PHONY: profile prompts plans demo demo-once build test check lab lab-wan bench bench-dhcp bench-provision bench-sip bench-media bench-box soak-dhcp chaos soak corpora browser systemd clean

bin/patchbay: $(SOURCES)
	$(BUILD) -o $@ ./cmd/patchbay

# An authority that gives out certificates, for the lab only.
bin/pebble: .ci/tools/go.mod
	$(GO) build -modfile=.ci/tools/go.mod -o $@ github.com/letsencrypt/pebble/v2/cmd/pebble

build: bin/patchbay

demo: bin/patchbay
	bin/patchbay demo

demo-once: bin/patchbay
	bin/patchbay demo --once

test:
	@$(TESTENV) $(GO) test $(TESTFLAGS) ./... 2>&1 | $(COUNT)

# Formatting, vet, staticcheck, both architectures, static and small.
check:
	@unformatted="$$($(TOOL) gofumpt -l $$(git ls-files '*.go'))"; \
	  test -z "$$unformatted" || { echo "not gofumpt-clean:"; echo "$$unformatted"; exit 1; }
	$(GO) vet -tags $(ALLTAGS) ./...
	$(TOOL) staticcheck -tags $(ALLTAGS) ./...
	GOARCH=amd64 $(BUILD) -o bin/patchbay-amd64 ./cmd/patchbay
	GOARCH=arm64 $(BUILD) -o bin/patchbay-arm64 ./cmd/patchbay
	@for f in bin/patchbay-amd64 bin/patchbay-arm64; do \
	  size=$$(stat -c %s $$f); echo "$$f: $$size bytes"; \
	  test $$size -lt 41943040 || { echo "$$f: over 40 MiB"; exit 1; }; \
	  ! LC_ALL=C grep -qa 'ld-linux' $$f || { echo "$$f: not static"; exit 1; }; \
	done

# Root; network namespaces and foreign peers (see appliance/lab/netns).
lab: bin/patchbay bin/pebble
	@PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -tags lab -v -count=1 -skip 'Corpora|^TestWAN' -timeout 12m ./appliance/lab/netns ./dhcp 2>&1 | $(COUNT)
	@CGO_ENABLED=0 $(GO) test -tags lab -v -count=1 -run '^TestSipp$$' -timeout 5m ./sipedge 2>&1 | $(COUNT)
	@CGO_ENABLED=0 $(GO) test -tags lab -v -count=1 -timeout 2m ./appliance/switchport 2>&1 | $(COUNT)
	@CGO_ENABLED=0 $(GO) test -tags lab -v -count=1 -run '^TestFleet$$' -timeout 5m ./cmd/patchbay 2>&1 | $(COUNT)

# Root; Kea, dnsmasq, perfdhcp and strace (.ci/packages-bench). The machine
# should have two cores and little else to do; half an hour. BENCH_PAIRS,
# BENCH_SECONDS and BENCH_QUIET say how many pairs, how long each run is, and
# how long to wait for a quiet moment before it.
bench-dhcp: bin/patchbay
	PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -tags bench -v -count=1 -timeout 90m -run '^TestDHCP' ./appliance/lab/bench

# CPU per configuration served, beside nginx, dnsmasq and tftpd-hpa; a power
# return of 250 and of 1,000 phones; the doors besieged. The same needs, ten minutes.
bench-provision: bin/patchbay
	PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -tags bench -v -count=1 -timeout 60m -run '^TestProvision' ./appliance/lab/bench

# Root, Kamailio and the same machine. Twenty minutes.
bench-sip: bin/patchbay
	PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -pgo=$(PROFILE) -tags bench -v -count=1 -timeout 60m -run '^TestSIP' ./appliance/lab/bench

# Relaying RTP beside rtpengine in user space, and to SRTP: processor time per
# packet, latency, allocations, memory, pauses of the collector. The same needs
# and rtpengine; ten minutes. BENCH_CALLS says how many calls (500), BENCH_PROFILE
# names a file for a CPU profile of our relay.
bench-media: bin/patchbay
	PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -pgo=$(PROFILE) -tags bench -v -count=1 -timeout 60m -run '^TestMedia' ./appliance/lab/bench

# All of the box at once, on one core: 2,000 phones on TLS, 200 REGISTER/s, 20
# calls/s, 240 calls at once with SRTP through the box. The needs of bench-sip;
# two minutes, and up to twelve beside other work, whose seconds are left out.
# BENCH_CPS and BENCH_PHONES make it less, or more, which it says.
bench-box: bin/patchbay
	PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -tags bench -v -count=1 -timeout 30m -run '^TestBox' ./appliance/lab/bench

# What the compiler optimises for: processor profiles under the loads of the
# benches. Taken anew when the hot paths have changed much; the needs of bench-sip
# and bench-dhcp, three minutes.
profile: bin/patchbay
	rm -rf bin/profile && mkdir -p bin/profile
	PATCHBAY_PROFILE=$(abspath bin/profile) BENCH_PAIRS=1 PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -trimpath -tags bench -v -count=1 -run '^TestDHCPKea|^TestProvisionNginx|^TestSIPCalls|^TestSIPRegister' ./appliance/lab/bench || true
	$(GO) tool pprof -proto -output=bin/profile/all.pb.gz bin/profile/*.pprof
	# Where it was taken is nobody's business; lengths stand in the format.
	zcat bin/profile/all.pb.gz | LC_ALL=C perl -0pe 's{\Q$(CURDIR)\E|/tmp/go-build\d+}{"/" x length($$&)}ge' | gzip -9n >$(PROFILE)

# The same needs; a power return, a flood and a hundred kills; ten minutes.
soak-dhcp: bin/patchbay
	PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -tags bench -v -count=1 -timeout 15m -run '^TestSoak' ./appliance/lab/bench

# Ten thousand calls with CANCEL, BYE, transfers and loss at random moments:
# no goroutine, port, dialog or row is left or missing. CHAOS says how many;
# PATCHBAY_SEED repeats a run. Five minutes, nothing but Go.
CHAOS ?= 10000
chaos:
	PATCHBAY_CHAOS=$(CHAOS) CGO_ENABLED=0 $(GO) test -v -count=1 -timeout 60m -run '^TestChaos$$' ./sipedge

# An hour of such calls, 20 a second: memory stays flat.
SOAK ?= 1h
soak:
	PATCHBAY_SOAK=$(SOAK) CGO_ENABLED=0 $(GO) test -v -count=1 -timeout 3h -run '^TestChaos$$' ./sipedge

# The same needs as the lab, and a machine with little else to do: hundreds of
# calls over a bad line, a cut of a minute, an address that changes. Six minutes.
lab-wan: bin/patchbay
	@PATCHBAY_BIN=$(abspath bin/patchbay) CGO_ENABLED=0 $(GO) test -tags lab -v -count=1 -run '^TestWAN' -parallel 1 -timeout 15m ./appliance/lab/netns 2>&1 | $(COUNT)

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Third-party messages, read from the folder that PATCHBAY_CORPORA names.
corpora:
	@test -n "$(PATCHBAY_CORPORA)" || { echo "set PATCHBAY_CORPORA to the folder with sip/, dhcp/ and tftp/"; exit 1; }
	@PATCHBAY_CORPORA=$(abspath $(PATCHBAY_CORPORA)) $(TESTENV) $(GO) test -v -count=1 -run 'Corpora|Nonsense' ./... 2>&1 | $(COUNT)

# espeak-ng and sox; makes what the box says on the phone from media/prompt/texts.
prompts:
	media/prompt/generate

# The numbering plans and emergency numbers of all countries, from libphonenumber.
plans:
	cd .ci/plans && $(GO) run . > ../../sipedge/plans.tsv

# Headless Chromium; needs node, npm and /usr/bin/chromium.
browser: bin/patchbay
	appliance/web/browser/run

# Root; boots real systemd in a container (debootstrap, systemd-container).
systemd: bin/patchbay
	PATCHBAY_BIN=$(abspath bin/patchbay) systemd/nspawn-test.sh

clean:
	rm -rf bin dist
