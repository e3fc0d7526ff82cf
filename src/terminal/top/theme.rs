//! Tones as styles of the terminal.

use ratatui::style::{Color, Modifier, Style};

use crate::terminal::cell::Tone;

/// Which styles may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// The sixteen colours of the terminal's palette.
    Palette,
    /// Bold, underlined and so on, but no colours (`NO_COLOR`).
    Monochrome,
}

impl Theme {
    pub(super) fn style(self, tone: Tone) -> Style {
        let colour = |colour| match self {
            Self::Palette => Style::new().fg(colour),
            Self::Monochrome => Style::new(),
        };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Good => colour(Color::Green),
            Tone::Warning => colour(Color::Yellow),
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
        }
    }

    /// A selected row, and the view that is shown.
    pub(super) const fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
