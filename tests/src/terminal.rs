//! A terminal of 80 columns and 24 lines with a program in it: keys go in, a screen comes out.

use std::io::{Read as _, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use vt100::Parser;

use crate::wait_until;

/// The smallest terminal that the programs promise to serve.
const SIZE: PtySize = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };

/// A key that is no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// The arrow upwards.
    Up,
    /// The arrow downwards.
    Down,
    /// The arrow to the left.
    Left,
    /// The arrow to the right.
    Right,
    /// To the beginning.
    Home,
    /// Control and a letter.
    Ctrl(char),
}

/// A running program and what it shows.
pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    parser: Arc<Mutex<Parser>>,
    // Closing it would hang up on the program.
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    /// Runs a program in a terminal of its own.
    ///
    /// # Panics
    /// When the system has no terminal to give, or refuses to run the program.
    #[must_use]
    pub fn run(program: &Path, args: &[&str]) -> Self {
        let pair = native_pty_system().openpty(SIZE).expect("a terminal can be opened");
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).expect("the program can be run");
        drop(pair.slave); // so that reading ends with the program
        let mut output = pair.master.try_clone_reader().expect("the terminal can be read");
        let keyboard = pair.master.take_writer().expect("the terminal can be written to");
        let [rows, columns] = [SIZE.rows, SIZE.cols].map(|n| NonZero::new(n).expect("the size is not zero"));
        let parser = Arc::new(Mutex::new(Parser::new(rows, columns, 0)));
        let screen = Arc::clone(&parser);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
                screen.process(&buffer[..read]);
            }
        });
        Self { child, keyboard, parser, _master: pair.master }
    }

    /// Returns the program's process id.
    ///
    /// # Panics
    /// When the system does not know it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.process_id().expect("it was started as a process")
    }

    /// Presses a key.
    pub fn press(&mut self, key: Key) {
        match key {
            Key::Enter => self.send(b"\r"),
            Key::Escape => self.send(b"\x1b"),
            Key::Tab => self.send(b"\t"),
            Key::BackTab => self.send(b"\x1b[Z"),
            Key::Up => self.send(b"\x1b[A"),
            Key::Down => self.send(b"\x1b[B"),
            Key::Right => self.send(b"\x1b[C"),
            Key::Left => self.send(b"\x1b[D"),
            Key::Home => self.send(b"\x1b[H"),
            // Control clears the upper bits of a letter: ctrl-a is 1.
            Key::Ctrl(letter) => self.send(&[u8::try_from(letter).unwrap_or_default() & 0x1f]),
        }
    }

    /// Types text.
    pub fn types(&mut self, text: &str) {
        self.send(text.as_bytes());
    }

    /// Returns what is on the screen, line by line.
    #[must_use]
    pub fn screen(&self) -> String {
        self.with_screen(vt100::Screen::contents)
    }

    /// Waits until a text is on the screen, and returns the screen.
    pub fn shows(&self, text: &str) -> String {
        self.shows_that(&format!("“{text}”"), |screen| screen.contains(text))
    }

    /// Waits until the screen is as described, and returns it.
    pub fn shows_that(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        wait_until(&format!("the screen shows {what}"), || {
            let screen = self.screen();
            if is_so(&screen) { Ok(screen) } else { Err(format!("\n{screen}")) }
        })
    }

    /// Waits until the program ends and checks that it left the terminal as it found it.
    ///
    /// # Panics
    /// When it fails or leaves the terminal in disorder.
    pub fn ends_cleanly(mut self) {
        let status = wait_until("the program ends", || {
            let status = self.child.try_wait().expect("a child can be waited for");
            status.ok_or_else(|| format!("\n{}", self.screen()))
        });
        assert!(status.success(), "{status:?}\n{}", self.screen());
        wait_until("the terminal is as before", || {
            self.with_screen(|screen| match (screen.alternate_screen(), screen.hide_cursor()) {
                (false, false) => Ok(()),
                disorder => Err(format!("(alternate screen, hidden cursor) = {disorder:?}")),
            })
        });
    }

    fn with_screen<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.parser.lock().unwrap_or_else(PoisonError::into_inner).screen())
    }

    fn send(&mut self, bytes: &[u8]) {
        let sent = self.keyboard.write_all(bytes).and_then(|()| self.keyboard.flush());
        sent.unwrap_or_else(|error| panic!("the program no longer listens: {error}\n{}", self.screen()));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
