//go:build fault

package fault

import "time"

// stride is how far apart the points are that are tried.
const stride = 1

// guardStride is the same for the boot guard, whose runs are short.
const guardStride = 1

// soak is how long the processes of the soak run.
const soak = 20 * time.Second
