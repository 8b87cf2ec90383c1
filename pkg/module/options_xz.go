package module

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/ulikunitz/xz/lzma"
)

const (
	xzDefaultPreset = 6
	xzMinDict       = 4 << 10
	xzMaxDict       = 1536 << 20
)

// xzState is what the options of xz have said so far.
type xzState struct {
	preset  int
	extreme bool
	chain   *xzChain // nil: the preset's
	foreign string   // the last filter that is not LZMA2
	check   string
}

// xzChain is the LZMA2 filter that an option asked for.
type xzChain struct {
	dict   int
	props  lzma.Properties
	effort bool // asks for a way of searching that only xz has
}

// parseXZ knows the options of xz.
func parseXZ(o *Options, words []string) error {
	st := xzState{preset: xzDefaultPreset, check: "crc32"}
	g := grammar{maxDigits: 1, abbreviations: true, options: xzOptions(&st)}
	g.level = func(n int) error {
		st.preset, st.chain, st.foreign = n, nil, ""
		return nil
	}
	if err := g.parse(words); err != nil {
		return err
	}
	if st.foreign != "" {
		return fmt.Errorf("option --%s: %s everywhere", st.foreign, noDecode)
	}
	o.noCheck = st.check == "none"
	o.dict = presetDict(st.preset)
	o.tool = g.need || st.chain == nil && st.extreme
	if st.chain != nil {
		o.dict, o.props = st.chain.dict, &st.chain.props
		o.tool = o.tool || st.chain.effort
	}
	o.args = g.kept
	return nil
}

func xzOptions(st *xzState) []option {
	list := []option{
		{name: "extreme", short: 'e', set: func(string) error {
			st.extreme, st.chain, st.foreign = true, nil, ""
			return nil
		}},
		{name: "fast", set: func(string) error { st.preset, st.chain, st.foreign = 0, nil, ""; return nil }},
		{name: "best", set: func(string) error { st.preset, st.chain, st.foreign = 9, nil, ""; return nil }},
		{name: "check", short: 'C', arg: needArg, set: st.setCheck},
		{name: "lzma2", arg: optArg, set: st.setChain},
		{name: "format", short: 'F', arg: needArg, set: func(v string) error {
			if v != "xz" && v != "auto" {
				return errors.New("that is not xz")
			}
			return nil
		}},
		{name: "threads", short: 'T', arg: needArg, set: nil},
		{name: "flush-timeout", arg: needArg},
		{name: "block-size", arg: needArg, keep: true},
		{name: "block-list", arg: needArg, keep: true},
		{name: "memlimit-compress", arg: needArg, keep: true},
		{name: "memlimit", short: 'M', arg: needArg, keep: true},
		{name: "memory", arg: needArg, keep: true},
		{name: "no-adjust", keep: true},
		{name: "memlimit-decompress", arg: needArg},
		{name: "memlimit-mt-decompress", arg: needArg},
		{name: "compress", short: 'z'},
		{name: "keep", short: 'k'},
		{name: "force", short: 'f'},
		{name: "stdout", short: 'c'},
		{name: "to-stdout"},
		{name: "quiet", short: 'q'},
		{name: "verbose", short: 'v'},
		{name: "no-warn", short: 'Q'},
		{name: "robot", no: noCompress},
		{name: "no-sparse"},
		{name: "single-stream"},
		{name: "ignore-check"},
		{name: "suffix", short: 'S', arg: needArg, no: noOther},
		{name: "files", arg: optArg, no: noOther},
		{name: "files0", arg: optArg, no: noOther},
		{name: "lzma1", arg: optArg, no: noDecode},
		{name: "decompress", short: 'd', no: noCompress},
		{name: "uncompress", no: noCompress},
		{name: "test", short: 't', no: noCompress},
		{name: "list", short: 'l', no: noCompress},
		{name: "info-memory", no: noCompress},
		{name: "help", short: 'h', no: noCompress},
		{name: "long-help", short: 'H', no: noCompress},
		{name: "version", short: 'V', no: noCompress},
	}
	for _, name := range []string{"x86", "powerpc", "ia64", "arm", "armthumb", "arm64", "sparc", "riscv", "delta"} {
		list = append(list, option{name: name, arg: optArg, set: func(string) error {
			st.foreign = name
			return nil
		}})
	}
	return list
}

// presetDict is the dictionary of xz -0 to -9, in bytes.
func presetDict(preset int) int {
	exponents := [...]int{18, 20, 21, 22, 22, 23, 23, 24, 25, 26}
	return 1 << exponents[preset]
}

// setCheck takes --check. The kernel's decoder knows no check but CRC32.
func (st *xzState) setCheck(v string) error {
	switch v {
	case "crc32", "none":
		st.check = v
		return nil
	case "crc64", "sha256":
		return errors.New("the kernel cannot decode that check, only crc32")
	default:
		return errors.New("unknown check")
	}
}

// setChain takes the value of --lzma2. A second LZMA2 filter is none that xz
// would take.
func (st *xzState) setChain(v string) error {
	if st.chain != nil {
		return errors.New("there can be only one LZMA2 filter")
	}
	c := &xzChain{dict: presetDict(xzDefaultPreset), props: defaultProps()}
	for part := range strings.SplitSeq(v, ",") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		if err := c.set(name, value); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	if c.props.LC+c.props.LP > 4 {
		return errors.New("the sum of lc and lp must not exceed 4")
	}
	st.chain = c
	return nil
}

func defaultProps() lzma.Properties { return lzma.Properties{LC: 3, LP: 0, PB: 2} }

func (c *xzChain) set(name, value string) (err error) {
	switch name {
	case "preset":
		return c.setPreset(value)
	case "dict":
		c.dict, err = xzNumber(value, xzMinDict, xzMaxDict)
	case "lc":
		c.props.LC, err = xzNumber(value, 0, 4)
	case "lp":
		c.props.LP, err = xzNumber(value, 0, 4)
	case "pb":
		c.props.PB, err = xzNumber(value, 0, 4)
	case "mode":
		c.effort = true
		err = oneOf(value, "fast", "normal")
	case "mf":
		c.effort = true
		err = oneOf(value, "hc3", "hc4", "bt2", "bt3", "bt4")
	case "nice":
		c.effort = true
		_, err = xzNumber(value, 2, 273)
	case "depth":
		c.effort = true
		_, err = xzNumber(value, 0, math.MaxUint32)
	default:
		err = errors.New("no such setting")
	}
	return err
}

func (c *xzChain) setPreset(value string) error {
	level, extreme := strings.CutSuffix(value, "e")
	if len(level) != 1 || digits(level) != 1 {
		return errors.New("no such preset")
	}
	*c = xzChain{dict: presetDict(int(level[0] - '0')), props: defaultProps(), effort: extreme}
	return nil
}

func oneOf(value string, names ...string) error {
	for _, name := range names {
		if value == name {
			return nil
		}
	}
	return fmt.Errorf("not one of %s", strings.Join(names, ", "))
}

// xzNumber reads a number with xz's suffixes: K, Ki, KiB and KB are all 1024.
func xzNumber(value string, low, high uint64) (int, error) {
	if value == "max" {
		return int(high), nil
	}
	n := digits(value)
	number, err := strconv.ParseUint(value[:n], 10, 64)
	if err != nil {
		return 0, errNoNumber
	}
	shift, ok := xzSuffix(value[n:])
	if !ok {
		return 0, errNoNumber
	}
	if number > high>>shift || number<<shift < low {
		return 0, fmt.Errorf("not in the range from %d to %d", low, high)
	}
	return int(number << shift), nil
}

// xzSuffix is the power of two that a suffix stands for.
func xzSuffix(s string) (shift int, ok bool) {
	if s == "" {
		return 0, true
	}
	shift = 10 * (1 + strings.IndexByte("kmg", s[0]|0x20))
	return shift, shift > 0 && oneOf(s[1:], "", "i", "iB", "B") == nil
}
