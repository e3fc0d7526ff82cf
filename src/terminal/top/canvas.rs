//! Writes lines onto the screen, from the top down.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use crate::terminal::cell::Tone;
use crate::terminal::facts::Pieces;

/// The part of the screen that is still empty.
pub(super) struct Canvas<'b> {
    pub(super) buffer: &'b mut Buffer,
    pub(super) theme: Theme,
    pub(super) area: Rect,
}

impl Canvas<'_> {
    /// Writes the next line, if there is room.
    pub(super) fn line(&mut self, line: &Line<'_>) {
        if self.area.height == 0 {
            return;
        }
        let (x, y, columns) = (self.area.x, self.area.y, self.area.width);
        self.buffer.set_line(x, y, line, columns);
        if line.style != Style::new() {
            let whole = Rect::new(x, y, columns, 1);
            self.buffer.set_style(whole, line.style);
        }
        self.skip(1);
    }

    pub(super) fn text(&mut self, text: &str, tone: Tone) {
        self.line(&Line::from(self.span(text, tone)));
    }

    pub(super) fn pieces(&mut self, pieces: &Pieces) {
        let spans = pieces.iter().map(|(text, tone)| self.span(text, *tone));
        self.line(&Line::from(spans.collect::<Vec<_>>()));
    }

    pub(super) fn span<'t>(&self, text: &'t str, tone: Tone) -> Span<'t> {
        Span::styled(text, self.theme.style(tone))
    }

    pub(super) fn skip(&mut self, lines: u16) {
        let lines = lines.min(self.area.height);
        self.area.y += lines;
        self.area.height -= lines;
    }

    pub(super) fn width(&self) -> usize {
        usize::from(self.area.width)
    }

    pub(super) fn height(&self) -> usize {
        usize::from(self.area.height)
    }
}
