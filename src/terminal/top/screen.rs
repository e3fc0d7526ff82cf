//! The terminal: opened for drawing, and restored whatever happens.

use std::io::{self, Stdout, Write, stdout};
use std::mem::ManuallyDrop;
use std::sync::Once;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};

use super::draw::draw;
use super::state::State;
use super::theme::Theme;

/// The terminal in raw mode, on its alternate screen. Restored when dropped, and on a panic.
#[derive(Debug)]
pub(super) struct Screen {
    /// Never dropped: if the terminal is gone, dropping it panics, because it reports that to the terminal.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    theme: Theme,
}

impl Screen {
    pub(super) fn open(theme: Theme) -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        let opened = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match opened {
            Ok(terminal) => Ok(Self {
                terminal: ManuallyDrop::new(terminal),
                theme,
            }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Writes what differs from the last frame. Terminals that can do so show it at once.
    pub(super) fn draw(&mut self, state: &mut State) -> io::Result<()> {
        execute!(stdout(), BeginSynchronizedUpdate)?;
        let theme = self.theme;
        self.terminal.draw(|frame| draw(frame, state, theme))?;
        execute!(stdout(), EndSynchronizedUpdate)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal before a panic is reported, so that its message can be read.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}

/// Restores the terminal. There is nobody to report a failure to.
fn restore() {
    let _ = execute!(stdout(), EndSynchronizedUpdate, LeaveAlternateScreen, Show);
    let _ = stdout().flush();
    let _ = disable_raw_mode();
}
