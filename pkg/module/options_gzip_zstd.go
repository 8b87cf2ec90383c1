package module

import (
	"errors"
	"strconv"
)

var errNoNumber = errors.New("not a number")

// parseGzip knows the options of GNU gzip.
func parseGzip(o *Options, words []string) error {
	level := func(n int) func(string) error {
		return func(string) error { o.level = n; return nil }
	}
	g := grammar{
		maxDigits: 1, abbreviations: true,
		level: func(n int) error {
			if n == 0 {
				return errors.New("levels are 1 to 9")
			}
			o.level = n
			return nil
		},
		options: []option{
			{name: "fast", set: level(1)},
			{name: "best", set: level(9)},
			{name: "ascii", short: 'a'},
			{name: "stdout", short: 'c'},
			{name: "to-stdout"},
			{name: "force", short: 'f'},
			{name: "keep", short: 'k'},
			{name: "no-name", short: 'n'},
			{name: "name", short: 'N'}, // there is no name: the data comes from memory
			{name: "quiet", short: 'q'},
			{name: "silent"},
			{name: "recursive", short: 'r'},
			{name: "synchronous"},
			{name: "verbose", short: 'v'},
			{name: "m", short: 'm'},
			{name: "M", short: 'M'},
			{name: "rsyncable", keep: true},
			{name: "suffix", short: 'S', arg: needArg, no: noOther},
			{name: "decompress", short: 'd', no: noCompress},
			{name: "uncompress", no: noCompress},
			{name: "test", short: 't', no: noCompress},
			{name: "list", short: 'l', no: noCompress},
			{name: "help", short: 'h', no: noCompress},
			{name: "license", short: 'L', no: noCompress},
			{name: "version", short: 'V', no: noCompress},
		},
	}
	err := g.parse(words)
	o.tool, o.args = g.need, g.kept
	return err
}

// Zstd's levels: those above the highest ordinary one need windows that the
// kernel does not have the memory for, --ultra or not.
const (
	zstdMaxLevel = 19
	zstdMinLevel = -(1 << 17)
)

// parseZstd knows the options of zstd. --long and --ultra are taken but reach
// no further than a window of 8 MiB.
func parseZstd(o *Options, words []string) error {
	g := grammar{maxDigits: 9, options: zstdOptions(o)}
	g.level = func(n int) error {
		o.level = min(n, zstdMaxLevel)
		return nil
	}
	err := g.parse(words)
	o.tool, o.args = g.need, g.kept
	return err
}

func zstdOptions(o *Options) []option {
	check := func(no bool) func(string) error {
		return func(string) error { o.noCheck = no; return nil }
	}
	list := []option{
		{name: "check", short: 'C', set: check(false)},
		{name: "no-check", set: check(true)},
		{name: "fast", arg: optArg, set: o.zstdFast},
		{name: "long", arg: optArg, set: nil},
		{name: "stdout", short: 'c'},
		{name: "force", short: 'f'},
		{name: "keep", short: 'k'},
		{name: "quiet", short: 'q'},
		{name: "verbose", short: 'v'},
		{name: "compress", short: 'z'},
		{name: "n", short: 'n'},
		{name: "r", short: 'r'},
		{name: "p", short: 'p', arg: digitArg},
		{name: "threads", short: 'T', arg: digitArg},
		{name: "memory", short: 'M', arg: digitArg},
		{name: "memlimit", arg: digitArg},
		{name: "memlimit-decompress", arg: digitArg},
		{name: "stream-size", arg: digitArg},
		{name: "size-hint", arg: digitArg},
		{name: "auto-threads", arg: needArg},
		{name: "adapt", arg: optArg},
		{name: "trace", arg: needArg, no: noOther},
		{name: "format", arg: needArg, set: func(v string) error {
			if v != "zstd" {
				return errors.New("that is not zstd")
			}
			return nil
		}},
		{name: "block-size", short: 'B', arg: digitArg, keep: true},
		{name: "zstd", arg: needArg, keep: true},
		{name: "target-compressed-block-size", arg: digitArg, keep: true},
		{name: "patch-from", arg: needArg, no: noDecode},
		{name: "D", short: 'D', no: noDecode},
	}
	for _, name := range []string{"rm", "ultra", "single-thread", "progress", "no-progress", "asyncio", "no-asyncio",
		"sparse", "no-sparse", "pass-through", "no-pass-through", "mmap-dict", "no-mmap-dict", "no-dictID",
		"exclude-compressed", "content-size", "no-content-size"} {
		list = append(list, option{name: name})
	}
	for _, name := range []string{"rsyncable", "compress-literals", "no-compress-literals", "row-match-finder", "no-row-match-finder"} {
		list = append(list, option{name: name, keep: true})
	}
	for _, name := range []string{"decompress", "uncompress", "test", "list", "help", "version", "train",
		"train-cover", "train-fastcover", "train-legacy"} {
		list = append(list, option{name: name, arg: optArg, no: noCompress})
	}
	for _, letter := range []byte("dtlhHVbeiS") {
		list = append(list, option{name: string(letter), short: letter, no: noCompress})
	}
	for _, name := range []string{"filelist", "output-dir-flat", "output-dir-mirror"} {
		list = append(list, option{name: name, arg: needArg, no: noOther})
	}
	return append(list, option{name: "o", short: 'o', no: noOther})
}

func (o *Options) zstdFast(v string) error {
	n := 1
	if v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n <= 0 {
			return errNoNumber
		}
	}
	o.level = max(-n, zstdMinLevel)
	return nil
}
