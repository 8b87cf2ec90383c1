package system

import (
	"context"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Interrupts returns a context that ends with a signal that asks a program to
// stop, and what makes these signals deadly again. It listens from the first
// time that somebody asks for Done: until then such a signal is deadly, and a
// program that finds nothing to do need not pay for more. Whoever is about to
// change anything has to ask.
func Interrupts() (ctx context.Context, stop func()) {
	c := &interrupts{}
	c.listen = sync.OnceValue(func() context.Context {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		c.stop.Store(&stop)
		return ctx
	})
	return c, func() {
		if stop := c.stop.Load(); stop != nil {
			(*stop)()
		}
	}
}

type interrupts struct {
	listen func() context.Context
	stop   atomic.Pointer[context.CancelFunc] // nil as long as nobody listens
}

func (c *interrupts) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

func (c *interrupts) Done() <-chan struct{} { return c.listen().Done() }

func (c *interrupts) Err() error {
	if c.stop.Load() == nil {
		return nil
	}
	return c.listen().Err()
}

// Value leads [context.Cause] to the signal.
func (c *interrupts) Value(key any) any {
	if c.stop.Load() == nil {
		return nil
	}
	return c.listen().Value(key)
}
