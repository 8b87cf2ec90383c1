package kernel

import (
	"errors"
	"io/fs"
	"strings"

	"dkms/pkg/module"
	"dkms/pkg/system"
)

// Config is a kernel configuration: .config or include/config/auto.conf.
type Config struct {
	found  bool
	err    error
	values map[string]string
}

// maxConfig bounds a configuration file, in bytes; real ones are 300 KB.
const maxConfig = 16 << 20

func readConfig(file string) *Config {
	c := &Config{values: map[string]string{}}
	data, err := system.ReadRegular(file, maxConfig)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.err = err
		}
		return c
	}
	c.found = true
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if ok && strings.HasPrefix(name, "CONFIG_") {
			c.values[name] = value
		}
	}
	return c
}

// Err returns why an existing configuration file could not be read.
func (c *Config) Err() error { return c.err }

// Found reports whether there was a configuration file.
func (c *Config) Found() bool { return c.found }

// Get returns the value of a symbol such as CONFIG_MODULES as the file spells
// it, quotes included, or "" for an unset symbol.
func (c *Config) Get(symbol string) string { return c.values[symbol] }

// Text returns the value of a string symbol without its quotes.
func (c *Config) Text(symbol string) string { return strings.Trim(c.values[symbol], `"`) }

// Is reports whether a symbol is set to y.
func (c *Config) Is(symbol string) bool { return c.values[symbol] == "y" }

// Compression returns the compression of module files that the configuration
// sets.
func (c *Config) Compression() module.Compression {
	switch {
	case c.Is("CONFIG_MODULE_COMPRESS_ZSTD"):
		return module.Zstd
	case c.Is("CONFIG_MODULE_COMPRESS_XZ"):
		return module.XZ
	case c.Is("CONFIG_MODULE_COMPRESS_GZIP"):
		return module.Gzip
	}
	return module.None
}

// SignHash returns the digest of module signatures, or "" where the kernel does
// not support module signatures.
func (c *Config) SignHash() string { return c.Text("CONFIG_MODULE_SIG_HASH") }
