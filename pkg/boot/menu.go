package boot

import "strings"

// menu is what is read of a grub.cfg; nothing of it is run.
type menu struct {
	items []item
	// defaults are the values that the variable default is given, in order.
	defaults []string
	// entriesAt is how many items come before those of the Boot Loader
	// Specification's entries; -1 is without them.
	entriesAt int
	// custom says that custom.cfg is read, too.
	custom bool
	// uses are the variables that conditions and values name.
	uses map[string]bool
}

// reads reports whether the default can come from a variable.
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
	// linux is the path of the image, as GRUB is told it.
	linux string
	// items are those of a submenu; an empty one has nil.
	items []item
	// perhaps says that a condition decides whether the item is there.
	perhaps bool
	// entry is the Boot Loader Specification's entry that it stands for.
	entry *entry
}

// parseMenu reads the menu entries and defaults of a grub.cfg.
func parseMenu(text string) menu {
	p := &menuParser{text: text, menu: menu{entriesAt: -1, uses: map[string]bool{}}}
	p.menu.items = p.block(nil)
	return p.menu
}

// menuParser walks through a script by its words. It knows quotes, comments,
// blocks and conditions, and no more of the language.
type menuParser struct {
	text  string
	pos   int
	depth int // of conditions
	menu  menu
}

// block reads commands until the brace that ends the block. body, if set, is
// the entry that they belong to.
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

// run reads one command; ok says that it makes an item of the menu.
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
		if strings.TrimPrefix(name, "linux") != name && body.linux == "" && len(words) > 1 {
			body.linux = words[1]
		}
	default:
		p.note(words, before)
	}
	return item{}, false
}

// note keeps what decides about the menu as a whole.
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

// titleAndID takes the words of a menuentry apart; the id follows an option
// that old GRUBs do not know, and that is in a variable for their sake.
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

// command reads the words up to the end of a command: a newline, a semicolon, or
// the brace that opens a block, which belongs to it. closed says that the block
// or the text ends there. then, else and do are no commands of their own.
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

// word reads a word; quoted says that some of it was in quotes.
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

// double reads the rest of a word in double quotes: a backslash escapes only
// what means something there.
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
