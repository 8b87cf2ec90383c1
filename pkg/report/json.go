package report

import (
	"encoding/json"
	"io"
	"strings"
	"time"

	"dkms/pkg/exit"
)

// JSONLines is the sink for programs. It writes one JSON object on a line for
// each event and for each result.
type JSONLines struct {
	W   io.Writer
	Now func() time.Time
	// Verbose adds details.
	Verbose bool
}

// eventSchema is the schema version of the objects.
const eventSchema = 1

// record is an event as a JSON object; the names are an interface, see dkms-json(5).
type record struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	// Event is detail, progress, done, warning, failure or result.
	Event   string `json:"event"`
	Module  string `json:"module,omitempty"`
	Version string `json:"version,omitempty"`
	Kernel  string `json:"kernel,omitempty"`
	Arch    string `json:"arch,omitempty"`
	Step    string `json:"step,omitempty"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
	// Status is the exit status that a failure stands for.
	Status  int     `json:"status,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

// Event writes e.
func (j *JSONLines) Event(e Event) {
	if e.Kind == Detail && !j.Verbose {
		return
	}
	names := [...]string{"detail", "progress", "done", "warning", "failure"}
	r := record{
		Event: names[e.Kind], Kernel: e.Kernel, Arch: e.Arch, Step: e.Step, Text: e.Text,
		Hint: exit.Hint(e.Err), Status: int(exit.Status(e.Err)), Seconds: e.Elapsed.Seconds(),
	}
	r.Module, r.Version, _ = strings.Cut(e.Module, "/")
	j.write(r)
}

// Write writes a result as a JSON object.
func (j *JSONLines) Write(p []byte) (int, error) {
	j.write(record{Event: "result", Text: strings.TrimSuffix(string(p), "\n")})
	return len(p), nil
}

func (j *JSONLines) write(r record) {
	r.Schema, r.Time = eventSchema, j.Now().UTC()
	if data, err := json.Marshal(r); err == nil {
		j.W.Write(append(data, '\n'))
	}
}
