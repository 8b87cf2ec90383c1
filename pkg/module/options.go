package module

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Options are the parsed compress_gzip_opts, compress_xz_opts or
// compress_zstd_opts of an administrator. The zero value is the default for
// every compression. [ParseOptions] makes Options; they can be shared.
type Options struct {
	format Compression
	// level is the level of gzip or zstd; 0 means the default.
	level int
	// dict is the size of xz's dictionary; 0 means the default.
	dict int
	// noCheck omits the checksum.
	noCheck bool
	// tool says that only the tool supports the options.
	tool bool
	// args are the words for the tool, in order.
	args []string
}

// ParseOptions parses the options that matter. The order of xz's options
// counts: "--lzma2=dict=1MiB -6" is a dictionary of 8 MiB, because a preset
// drops the filters before it. Options about threads, files and messages are
// dropped, because they do not change the result. All other options go to the
// tool, and [Compress] checks whether a kernel can decode the tool's result.
// ParseOptions rejects only words that name files, and options without a
// result. Without any word the dictionary of xz is 1 MiB.
func ParseOptions(c Compression, opts string) (Options, error) {
	words := strings.Fields(opts)
	o := Options{format: c}
	if len(words) == 0 {
		return o, nil
	}
	if c == None {
		return Options{}, fmt.Errorf("%s: option %s: nothing is compressed", c, words[0])
	}
	if c == XZ {
		o.dict = presetDict(xzDefaultPreset)
	}
	for _, word := range words {
		if err := refused(word); err != nil {
			return Options{}, fmt.Errorf("%s: %w", c, err)
		}
		if slices.Contains(meaningless, word) || threads(word) {
			continue
		}
		word, ok := o.understand(word)
		o.tool = o.tool || !ok
		if word != "" {
			o.args = append(o.args, word)
		}
	}
	return o, nil
}

// meaningless are options about files and messages; all three tools have them.
var meaningless = []string{"-q", "--quiet", "-v", "--verbose", "-f", "--force", "-k", "--keep", "-c", "--stdout"}

// threads reports whether word sets the number of threads. The result would
// depend on the machine, so such words are dropped.
func threads(word string) bool {
	number, ok := strings.CutPrefix(word, "--threads=")
	if !ok {
		number, ok = strings.CutPrefix(word, "-T")
	}
	_, err := strconv.ParseUint(number, 10, 16)
	return ok && err == nil
}

// refused returns why a word must not reach the tool. The tool reads one file
// and writes one; a word could make it read or write a second file as root.
func refused(word string) error {
	name, _, _ := strings.Cut(word, "=")
	switch {
	case word == "-" || word == "--":
		return fmt.Errorf("%s is not an option", word)
	case slices.Contains([]string{"-o", "-S", "--suffix", "--files", "--files0", "--filelist", "--output-dir-flat", "--output-dir-mirror", "--trace"}, name):
		return fmt.Errorf("option %s: it takes other files or names than the module's", name)
	case slices.Contains([]string{"-d", "--decompress", "--uncompress", "-t", "--test", "-l", "--list"}, name):
		return fmt.Errorf("option %s: it does not compress", name)
	}
	return nil
}

// understand stores the meaning of word in o if this program supports the
// option, and returns the words to pass to the tool.
func (o *Options) understand(word string) (args string, ok bool) {
	switch o.format {
	case Gzip:
		return word, o.gzipWord(word)
	case XZ:
		return word, o.xzWord(word)
	default:
		return o.zstdWord(word)
	}
}

func (o *Options) gzipWord(word string) bool {
	switch word {
	case "--fast":
		o.level = 1
		return true
	case "--best":
		o.level = 9
		return true
	case "-n", "--no-name":
		return true
	}
	level, ok := levelOf(word, 9)
	if ok && level > 0 {
		o.level = level
		return true
	}
	return false
}

const (
	xzDefaultPreset = 6
	xzMinDict       = 4 << 10
)

func (o *Options) xzWord(word string) bool {
	if preset, ok := levelOf(word, 9); ok {
		o.dict = presetDict(preset)
		return true
	}
	if check, ok := strings.CutPrefix(word, "--check="); ok {
		o.noCheck = check == "none"
		return check == "none" || check == "crc32"
	}
	value, ok := strings.CutPrefix(word, "--lzma2=dict=")
	if !ok {
		return false
	}
	dict, ok := dictSize(value)
	if ok {
		o.dict = dict
	}
	return ok
}

// presetDict returns the dictionary size of xz -0 to -9, in bytes.
func presetDict(preset int) int {
	exponents := [...]int{18, 20, 21, 22, 22, 23, 23, 24, 25, 26}
	return 1 << exponents[preset]
}

// dictSize parses a number of bytes, KiB or MiB as xz does.
func dictSize(value string) (int, bool) {
	shift := 0
	for suffix, n := range map[string]int{"KiB": 10, "MiB": 20} {
		if number, ok := strings.CutSuffix(value, suffix); ok {
			value, shift = number, n
		}
	}
	n, err := strconv.ParseUint(value, 10, 30)
	size := n << shift
	return int(size), err == nil && size >= xzMinDict && size <= maxDict
}

// zstdMaxLevel is the highest ordinary level: the kernel has no memory for the
// windows of higher levels.
const zstdMaxLevel = 19

// zstdWord also returns the word for the tool. --ultra and --long are accepted,
// but the window stays at 8 MiB or less.
func (o *Options) zstdWord(word string) (string, bool) {
	switch word {
	case "--ultra", "--long", "--rm", "--progress", "--no-progress", "--content-size":
		return "", true
	case "--check", "--no-check":
		o.noCheck = word == "--no-check"
		return word, true
	}
	if strings.HasPrefix(word, "--long=") {
		return "", true
	}
	level, ok := levelOf(word, 22)
	if !ok || level == 0 {
		return word, false
	}
	o.level = min(level, zstdMaxLevel)
	return "-" + strconv.Itoa(o.level), true
}

// levelOf parses an option such as -9.
func levelOf(word string, highest int) (int, bool) {
	number, ok := strings.CutPrefix(word, "-")
	level, err := strconv.ParseUint(number, 10, 8)
	return int(level), ok && err == nil && int(level) <= highest
}

// OptionsError is the tool's refusal of options, or a result that a kernel
// cannot decode.
type OptionsError struct{ err error }

func (e *OptionsError) Error() string { return e.err.Error() }

func (e *OptionsError) Unwrap() error { return e.err }
