//go:build !fault

package fault

import "time"

// stride is how far apart the points are that are tried; the build tag "fault"
// tries them all.
const stride = 23

// guardStride is the same for the boot guard, whose runs are short.
const guardStride = 3

// soak is how long the processes of the soak run.
const soak = 3 * time.Second
