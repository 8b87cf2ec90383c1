package boot

import (
	"path"
	"strings"
)

// menu is the part of a grub.cfg that this program reads; it runs nothing of
// the script.
type menu struct {
	items []item
	// defaults are the values that the script assigns to the variable default,
	// in order.
	defaults []string
	// entriesAt is how many items come before the Boot Loader Specification's
	// entries, or -1 without such entries.
	entriesAt int
	// custom says that the script also reads custom.cfg.
	custom bool
	// uses has the variables that conditions and values refer to.
	uses map[string]bool
}

// reads reports whether the default entry can come from a variable.
func (m menu) reads(variable string) bool {
	for _, d := range m.defaults {
		if strings.Contains(d, variable) {
			return true
		}
	}
	return false
}

// item is a menuentry or, with items of its own, a submenu.
type item struct {
	title, id string
	// linux is the path of the image in GRUB's terms.
	linux string
	// items are the items of a submenu; an empty submenu has nil, like a
	// menuentry.
	items []item
	// perhaps says that the item depends on a condition.
	perhaps bool
	// entry is the Boot Loader Specification's entry behind the item.
	entry *entry
}

// start records the image that a command of an entry loads: the commands are
// linux and its variants, or the first module of a hypervisor.
func (it *item) start(words []string) {
	module := strings.HasPrefix(words[0], "module")
	if it.linux != "" || !module && !strings.HasPrefix(words[0], "linux") {
		return
	}
	for _, w := range words[1:] {
		switch {
		case strings.HasPrefix(w, "--"):
			continue
		case !module || isImageName(path.Base(w)):
			it.linux = w
		}
		return
	}
}

// parseMenu parses the menu entries and defaults of a grub.cfg.
func parseMenu(text string) menu {
	p := &menuParser{text: text, menu: menu{entriesAt: -1, uses: map[string]bool{}}}
	p.menu.items = p.block(nil)
	return p.menu
}

// menuParser parses a script word by word. It understands quotes, comments,
// blocks and conditions, and nothing else of the language.
type menuParser struct {
	text  string
	pos   int
	depth int // nesting of conditions
	menu  menu
}

// block parses commands up to the brace that ends the block. body, if set, is
// the entry that the commands belong to.
func (p *menuParser) block(body *item) []item {
	var items []item
	for {
		words, closed := p.command()
		if len(words) > 0 {
			if it, ok := p.run(words, body, len(items)); ok {
				items = append(items, it)
			}
		}
		if closed {
			return items
		}
	}
}

// run parses one command; ok says that the command adds an item to the menu.
func (p *menuParser) run(words []string, body *item, before int) (it item, ok bool) {
	opens := words[len(words)-1] == "{"
	switch name := words[0]; {
	case name == "menuentry" || name == "submenu":
		it = item{perhaps: p.depth > 0}
		it.title, it.id = titleAndID(words[1:])
		if !opens {
			return it, false
		}
		if name == "menuentry" {
			p.block(&it)
			return it, true
		}
		it.items = p.block(nil)
		return it, true
	case opens: // a function or a bare block
		p.block(&item{})
	case body != nil:
		body.start(words)
	default:
		p.note(words, before)
	}
	return item{}, false
}

// note records a command that affects the menu as a whole.
func (p *menuParser) note(words []string, before int) {
	switch words[0] {
	case "if":
		p.depth++
	case "fi":
		p.depth--
	case "blscfg":
		p.menu.entriesAt = before
	}
	for i, w := range words {
		if value, ok := strings.CutPrefix(w, "default="); ok && (i == 0 || words[i-1] == "set") {
			p.menu.defaults = append(p.menu.defaults, value)
		}
		if strings.HasSuffix(w, "/custom.cfg") {
			p.menu.custom = true
		}
		if _, name, ok := strings.Cut(w, "${"); ok {
			name, _, _ = strings.Cut(name, "}")
			p.menu.uses[name] = true
		}
	}
}

// titleAndID parses the words of a menuentry. The id follows an option that old
// GRUBs do not know, so scripts keep the option in a variable.
func titleAndID(words []string) (title, id string) {
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case (w == "--id" || w == "$menuentry_id_option" || w == "${menuentry_id_option}") && i+1 < len(words):
			i++
			id = words[i]
		case strings.HasPrefix(w, "--id="):
			id = w[len("--id="):]
		case (w == "--class" || w == "--users" || w == "--hotkey") && i+1 < len(words):
			i++
		case title == "" && w != "{" && !strings.HasPrefix(w, "--"):
			title = w
		}
	}
	return title, id
}

// command reads the words of one command. A command ends at a newline or a
// semicolon, or with the brace that opens a block, which belongs to the
// command. closed says that the enclosing block or the text ends there. then,
// else and do are not commands of their own.
func (p *menuParser) command() (words []string, closed bool) {
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '\n' || c == ';':
			p.pos++
			if words = trimKeywords(words); len(words) > 0 {
				return words, false
			}
		case c == ' ' || c == '\t' || c == '\r':
			p.pos++
		case c == '#':
			for p.pos < len(p.text) && p.text[p.pos] != '\n' {
				p.pos++
			}
		default:
			w, quoted := p.word()
			if !quoted && w == "}" {
				return trimKeywords(words), true
			}
			words = append(words, w)
			if !quoted && w == "{" {
				return trimKeywords(words), false
			}
		}
	}
	return trimKeywords(words), true
}

func trimKeywords(words []string) []string {
	for len(words) > 0 && (words[0] == "then" || words[0] == "else" || words[0] == "do") {
		words = words[1:]
	}
	return words
}

// word reads a word; quoted says that a part of the word was in quotes.
func (p *menuParser) word() (w string, quoted bool) {
	var b strings.Builder
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == '\'':
			quoted = true
			p.pos++
			i := strings.IndexByte(p.text[p.pos:], '\'')
			if i < 0 {
				i = len(p.text) - p.pos
			}
			b.WriteString(p.text[p.pos : p.pos+i])
			p.pos = min(p.pos+i+1, len(p.text))
		case c == '"':
			quoted = true
			p.double(&b)
		case c == '\\' && p.pos+1 < len(p.text):
			if p.text[p.pos+1] != '\n' {
				b.WriteByte(p.text[p.pos+1])
			}
			p.pos += 2
		case strings.IndexByte(" \t\r\n;", c) >= 0:
			return b.String(), quoted
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
	return b.String(), quoted
}

// double reads the rest of a word in double quotes. A backslash escapes only
// characters that have a meaning there.
func (p *menuParser) double(b *strings.Builder) {
	for p.pos++; p.pos < len(p.text); p.pos++ {
		c := p.text[p.pos]
		switch {
		case c == '"':
			p.pos++
			return
		case c == '\\' && p.pos+1 < len(p.text) && strings.IndexByte(`\"$`, p.text[p.pos+1]) >= 0:
			p.pos++
			c = p.text[p.pos]
		}
		b.WriteByte(c)
	}
}
