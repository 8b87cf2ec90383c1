package tree

import "strconv"

// decode reads a manifest in the form in which [Manifest.Save] writes it, in a
// fifth of the time of encoding/json: every boot reads all manifests. ok is false
// for any other form, and for what few manifests have: encoding/json has to read
// those. What decode reads, encoding/json would read the same.
func (m *Manifest) decode(text string) (ok bool) {
	d := decoder{rest: text}
	d.object(func(key string) {
		switch key {
		case "schema":
			schema := d.integer()
			m.Schema = int(schema)
			d.bad = d.bad || int64(m.Schema) != schema
		case "module":
			m.Module = d.text()
		case "version":
			m.Version = d.text()
		case "kernel":
			m.Kernel = d.text()
		case "arch":
			m.Arch = d.text()
		case "built":
			d.bad = m.Built.UnmarshalText([]byte(d.text())) != nil || d.bad
		case "used":
			d.bad = m.Used.UnmarshalText([]byte(d.text())) != nil || d.bad
		case "compiler":
			m.Compiler = d.text()
		case "fingerprint":
			m.Fingerprint = d.text()
		case "headers":
			m.Headers = d.text()
		case "headers_stamp":
			n := 0
			d.array(func() {
				if value := d.integer(); n < len(m.HeadersStamp) {
					m.HeadersStamp[n] = value
				}
				n++
			})
			d.bad = d.bad || n != len(m.HeadersStamp)
		case "source_digest":
			m.SourceDigest = d.text()
		case "sources":
			m.Sources = d.text()
		case "sources_stamp":
			m.SourcesStamp = d.quoted()
		case "fits":
			m.Fits = d.boolean()
		case "signer":
			m.Signer = d.text()
		case "sign_later":
			m.SignLater = d.boolean()
		case "post_remove":
			m.PostRemove = d.text()
		case "no_weak_modules":
			m.NoWeakModules = d.boolean()
		case "files":
			d.bad = d.bad || m.Files != nil // encoding/json merges lists that come twice
			m.Files = []File{}
			d.array(func() { m.Files = append(m.Files, d.file()) })
		case "installed":
			d.bad = d.bad || m.Installed != nil
			m.Installed = []Installed{}
			d.array(func() { m.Installed = append(m.Installed, d.installed()) })
		default:
			d.bad = true
		}
	})
	return d.end()
}

func (d *decoder) file() (f File) {
	d.object(func(key string) {
		switch key {
		case "name":
			f.Name = d.text()
		case "location":
			f.Location = d.text()
		case "sha256":
			f.SHA256 = d.text()
		case "size":
			f.Size = d.integer()
		default:
			d.bad = true
		}
	})
	return f
}

func (d *decoder) installed() (i Installed) {
	d.object(func(key string) {
		switch key {
		case "path":
			i.Path = d.text()
		case "sha256":
			i.SHA256 = d.text()
		case "size":
			i.Size = d.integer()
		case "mtime":
			i.ModTime = d.integer()
		case "link":
			i.Link = d.boolean()
		default:
			d.bad = true
		}
	})
	return i
}

// decoder reads the JSON that this program writes: texts of printable ASCII
// without escapes, integers and booleans.
type decoder struct {
	rest string
	bad  bool // the text has another form
}

// next skips white space and reads one character.
func (d *decoder) next() byte {
	for i := range len(d.rest) {
		switch c := d.rest[i]; c {
		case ' ', '\n', '\t', '\r':
		default:
			d.rest = d.rest[i+1:]
			return c
		}
	}
	d.rest, d.bad = "", true
	return 0
}

func (d *decoder) expect(c byte) { d.bad = d.next() != c || d.bad }

// end tells whether all of the text was read.
func (d *decoder) end() bool {
	good := !d.bad
	d.next()
	return good && d.bad
}

// list reads what is between two brackets, an item at a time.
func (d *decoder) list(first, last byte, item func()) {
	d.expect(first)
	before := d.rest
	if d.next() == last {
		return
	}
	d.rest = before
	for !d.bad {
		item()
		switch d.next() {
		case ',':
		case last:
			return
		default:
			d.bad = true
		}
	}
}

func (d *decoder) array(item func()) { d.list('[', ']', item) }

func (d *decoder) object(field func(key string)) {
	d.list('{', '}', func() {
		key := d.text()
		d.expect(':')
		field(key)
	})
}

func (d *decoder) text() string {
	d.expect('"')
	for i := range len(d.rest) {
		switch c := d.rest[i]; {
		case c == '"':
			text := d.rest[:i]
			d.rest = d.rest[i+1:]
			return text
		case c < ' ' || c > '~' || c == '\\':
			d.bad = true
			return ""
		}
	}
	d.bad = true
	return ""
}

// word reads up to the next delimiter.
func (d *decoder) word() string {
	before := d.rest
	d.next()
	start := len(before) - len(d.rest) - 1
	for i := range len(d.rest) {
		switch d.rest[i] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			d.rest = d.rest[i:]
			return before[start : len(before)-len(d.rest)]
		}
	}
	d.bad = true
	return ""
}

func (d *decoder) integer() int64 {
	word := d.word()
	value, err := strconv.ParseInt(word, 10, 64)
	d.bad = d.bad || err != nil || strconv.FormatInt(value, 10) != word
	return value
}

// quoted reads an integer that is written as a text.
func (d *decoder) quoted() uint64 {
	text := d.text()
	value, err := strconv.ParseUint(text, 10, 64)
	d.bad = d.bad || err != nil || strconv.FormatUint(value, 10) != text
	return value
}

func (d *decoder) boolean() bool {
	word := d.word()
	d.bad = d.bad || word != "true" && word != "false"
	return word == "true"
}
