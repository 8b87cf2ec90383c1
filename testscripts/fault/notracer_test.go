//go:build !linux || !amd64

package fault

import "errors"

// tracing says whether programs can be traced here.
const tracing = false

func trace(injection, []string) error { return errors.New("no tracer for this architecture") }
