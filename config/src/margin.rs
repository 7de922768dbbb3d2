//! How much of a line comes before every value on it, and so can be shown where no type has said yet
//! which value is a secret.

use granit_parser::{Span, StructureStyle};

/// What a parser has come across, as far as it takes to tell values from what stands before them.
#[derive(Default)]
pub(crate) struct Margin {
    brackets: Brackets,
    /// The line of the last key that is in no brackets, and the column behind it (from 0).
    key: Option<(usize, usize)>,
}

/// The lists and maps in brackets and braces that are open.
#[derive(Clone, Copy, Default)]
pub(crate) struct Brackets {
    /// The line and column (from 0) of the outermost.
    begin: Option<(usize, usize)>,
    /// Whether there are braces among them.
    has_map: bool,
}

impl Margin {
    /// Goes into a list or map; what is returned leads out of it again.
    pub(crate) fn enter(&mut self, style: StructureStyle, is_map: bool, span: Span) -> Brackets {
        let around = self.brackets;
        if style == StructureStyle::Flow {
            let here = (span.start.line(), span.start.col());
            self.brackets.begin.get_or_insert(here);
            self.brackets.has_map |= is_map;
        }
        around
    }

    /// Is again where it was before.
    pub(crate) fn leave_to(&mut self, around: Brackets) {
        self.brackets = around;
    }

    /// Remembers where a key ends.
    pub(crate) fn pass_key(&mut self, span: Span) {
        let (start, end) = (span.start, span.end);
        let is_plain = self.brackets.begin.is_none() && start.line() == end.line();
        self.key = is_plain.then_some((end.line(), end.col()));
    }

    /// Whether it is in brackets or braces.
    pub(crate) fn is_inside(&self) -> bool {
        self.brackets.begin.is_some()
    }

    /// Whether other values, of other types, may stand on the same line.
    pub(crate) fn is_crowded(&self) -> bool {
        self.brackets.has_map
    }

    /// How much comes before every value on the line of a value that begins in this column (from 0).
    pub(crate) fn before(&self, line: usize, column: usize) -> usize {
        match self.brackets.begin {
            Some((begin, column)) if begin == line => column,
            Some(_) => 0,
            None => column,
        }
    }

    /// The same on a line that cannot be read: nothing but a key that was read before.
    pub(crate) fn before_a_fault(&self, line: usize, text: &str) -> usize {
        let Some((_, end)) = self.key.filter(|(of, _)| *of == line) else {
            return self.before(line, 0);
        };
        let text = text.lines().nth(line - 1).unwrap_or_default();
        let behind = text.chars().skip(end);
        let between = behind.take_while(|c| matches!(c, ':' | ' ')).count();
        self.before(line, end + between)
    }
}
