// Command plans writes the numbering plans of all countries, one a line, from
// the metadata of libphonenumber (Apache License 2.0):
//
//	cd .ci/plans && go run . > ../../sipedge/plans.tsv
//
// Columns: ISO 3166-1 alpha-2, country code, international prefix, national
// prefix, national prefix for parsing, what that is replaced with, national
// numbers (the last four are regular expressions, but for the replacement),
// emergency numbers.
package main

import (
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

func main() {
	all, err := phonenumbers.MetadataCollection()
	if err != nil {
		log.Fatal(err)
	}
	short, err := phonenumbers.ShortNumberMetadataCollection()
	if err != nil {
		log.Fatal(err)
	}
	emergency := map[string][]string{}
	for _, m := range short.GetMetadata() {
		list := numbers(m.GetEmergency().GetNationalNumberPattern())
		if m.GetId() == "GA" { // the pattern is a whole block; those that are published
			list = []string{"18", "1300", "1730"}
		}
		if len(list) > 20 {
			log.Fatalf("%s: %d emergency numbers: look what is wrong", m.GetId(), len(list))
		}
		emergency[m.GetId()] = list
	}
	var lines []string
	for _, m := range all.GetMetadata() {
		if len(m.GetId()) != 2 {
			continue // 001: services of no country
		}
		lines = append(lines, strings.Join([]string{
			m.GetId(), strconv.Itoa(int(m.GetCountryCode())), m.GetInternationalPrefix(), m.GetNationalPrefix(),
			squeeze(m.GetNationalPrefixForParsing()), m.GetNationalPrefixTransformRule(),
			squeeze(m.GetGeneralDesc().GetNationalNumberPattern()), strings.Join(emergency[m.GetId()], ","),
		}, "\t"))
	}
	slices.Sort(lines)
	fmt.Println("# Made by .ci/plans from the metadata of libphonenumber (Apache License 2.0), " + version() + ". Do not edit.")
	fmt.Println(strings.Join(lines, "\n"))
}

func version() string {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		log.Fatal(err)
	}
	return regexp.MustCompile(`nyaruka/phonenumbers v\S+`).FindString(string(b))
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), "") }

// numbers lists what a pattern matches, up to six digits.
func numbers(pattern string) (out []string) {
	if squeeze(pattern) == "" || pattern == "NA" {
		return nil
	}
	re := regexp.MustCompile("^(?:" + squeeze(pattern) + ")$")
	for length := 2; length <= 6; length++ {
		most := 1
		for range length {
			most *= 10
		}
		for n := range most {
			if s := fmt.Sprintf("%0*d", length, n); re.MatchString(s) {
				out = append(out, s)
			}
		}
	}
	return out
}
