// Package tap writes the Test Anything Protocol, https://testanything.org: the functions of
// mndrix/tap-go that the validation programs call, which is no package of Debian's.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts and writes one program's results.
type T struct {
	count *int
	todo  string
}

// New begins with no results.
func New() *T { return &T{count: new(int)} }

// Todo returns a T whose results are expected to fail.
func (t *T) Todo() *T { return &T{t.count, " # TODO"} }

// Header writes the version and, if it is known, the number of results.
func (t *T) Header(results int) {
	fmt.Println("TAP version 13")
	if results > 0 {
		fmt.Printf("1..%d\n", results)
	}
}

// Ok writes a result.
func (t *T) Ok(passed bool, what string) {
	*t.count++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	fmt.Printf("%s %d - %s%s\n", word, *t.count, what, t.todo)
}

// Pass and Fail write a result that is known.
func (t *T) Pass(what string) { t.Ok(true, what) }

// Fail see Pass
func (t *T) Fail(what string) { t.Ok(false, what) }

// Skip writes results that there will not be.
func (t *T) Skip(results int, why string) {
	for ; results > 0; results-- {
		*t.count++
		fmt.Printf("ok %d # SKIP %s\n", *t.count, why)
	}
}

// AutoPlan writes how many results there were.
func (t *T) AutoPlan() { fmt.Printf("1..%d\n", *t.count) }

// Diagnostic writes a comment.
func (t *T) Diagnostic(text string) {
	fmt.Println("# " + strings.ReplaceAll(text, "\n", "\n# "))
}

// Diagnosticf writes a comment.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML writes a value as JSON, which is YAML.
func (t *T) YAML(value interface{}) error {
	text, err := json.Marshal(value)
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}
