package capture

// A word is one token of a filter expression.
type word struct {
	text string
	pos  int
}

// lex splits an expression at blanks and around ( ) ! && ||.
func lex(expr string) []word {
	var words []word
	for i := 0; i < len(expr); {
		n := 1
		switch c := expr[i]; {
		case blank(c):
			i++
			continue
		case c == '(' || c == ')' || c == '!':
		case (c == '&' || c == '|') && i+1 < len(expr) && expr[i+1] == c:
			n = 2
		default:
			for i+n < len(expr) && !breaks(expr[i+n]) {
				n++
			}
		}
		words = append(words, word{expr[i : i+n], i})
		i += n
	}
	return words
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func breaks(c byte) bool {
	return blank(c) || c == '(' || c == ')' || c == '!' || c == '&' || c == '|'
}
