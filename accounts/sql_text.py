"""SQL from people, parsed with sqlglot within limits. Pure; recipes and rule conditions are parsed by it.

The parser tries one reading after the other: `array[array[...`, `date(date(...` and joins without ON double its work at
every level. Eighteen of them take a minute. Here people's text is read in one step a word.
"""

import sqlglot
from sqlglot import TokenType
from sqlglot.dialects.postgres import Postgres

DIALECT = "postgres"
DEEPEST = 60  # brackets inside each other
STEPS = 20  # of the parser, for each word there is
_OPEN = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
_CLOSE = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}


class TooMuch(ValueError):
    """The text is not parsed: a reason such as `is nested too deeply`, the offset, and the line and column (from 1)."""

    def __init__(self, reason, token):
        self.reason, self.position, self.line, self.column = reason, token.start, token.line, token.col
        super().__init__(reason)


class _Parser(Postgres.Parser):
    """The parser with a budget: it gives up where it goes back again and again."""

    def parse(self, tokens, sql=None):
        self.left = STEPS * len(tokens) + 1_000
        return super().parse(tokens, sql)

    def _advance(self, times=1):
        self.left -= 1
        if self.left < 0:
            raise TooMuch("is nested too deeply", self._tokens[min(self._index, len(self._tokens) - 1)])
        super()._advance(times)


def tokens(text):
    """The words and signs of a text. Raises sqlglot's TokenError."""
    return sqlglot.Dialect.get_or_raise(DIALECT).tokenize(text)


def parse(words, text):
    """The trees of a tokenized text. Raises TooMuch, and sqlglot's ParseError."""
    depth = 0
    for word in words:
        depth += (word.token_type in _OPEN) - (word.token_type in _CLOSE)
        if depth > DEEPEST:
            raise TooMuch("is nested too deeply", word)
    try:
        return _Parser(dialect=DIALECT).parse(words, text)
    except RecursionError:
        raise TooMuch("is nested too deeply", words[0]) from None


def where(node):
    """` (line n, column m)` of the first name below the node that knows where it stands."""
    for below in node.walk():
        if "line" in below.meta:
            return f" (line {below.meta['line']}, column {below.meta['col']})"
    return ""
