//! The terminal, put back as it was however the program ends.

use std::io::{self, stdout};

use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::execute;
use ratatui::DefaultTerminal;

/// The terminal in raw mode on its alternate screen; restored when dropped, and by the panic hook.
pub struct Screen {
    /// Draws.
    pub terminal: DefaultTerminal,
}

impl Screen {
    /// Takes over the terminal.
    ///
    /// # Errors
    /// When it is none.
    pub fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        let restore_and_report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            execute!(stdout(), DisableBracketedPaste).ok();
            restore_and_report(panic);
        }));
        execute!(stdout(), EnableBracketedPaste)?;
        Ok(Self { terminal })
    }

    /// Puts a text into the terminal's clipboard (OSC 52); terminals that do not know it ignore it.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn copy(&self, text: &str) -> io::Result<()> {
        execute!(stdout(), CopyToClipboard::to_clipboard_from(text))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        execute!(stdout(), DisableBracketedPaste).ok();
        ratatui::restore();
    }
}
