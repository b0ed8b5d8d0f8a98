# Reads `go test -v`: prints one line per package, the whole text of each
# failed test, and the counts at the end. Exits 1 if anything failed.
# What the lab counted and measured is worth reading of a test that passed, too.
/^lab: / || /: measured: / { print; next }
/^=== (RUN|PAUSE|CONT|NAME)/ { held = held $0 "\n"; next }
/^ *--- PASS/ { passed++; held = ""; next }
/^ *--- SKIP/ { skipped++; print held $0; held = ""; next }
/^ *--- FAIL/ { failed++; print held $0; held = ""; next }
/^(ok|\?) / { print; held = ""; next }
/^(FAIL|panic:|fatal error:|WARNING: DATA RACE)/ { bad = 1; print held $0; held = ""; failing = 1; next }
/^(PASS|testing:)/ { held = ""; next }
{ held = held $0 "\n"; if (length(held) > 200000) held = substr(held, 100000) }
END {
	if (held != "") printf "%s", held
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
	exit (bad || failed > 0) ? 1 : 0
}
