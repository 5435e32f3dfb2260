//! Colours by meaning. Without colour (`NO_COLOR`) nothing is styled at all, not even reversed, because terminals lose
//! attributes then: whatever matters is marked with a sign in both themes.

use ratatui::style::{Color, Modifier, Style};

/// The sign before what is selected or focused.
pub const POINTER: &str = "▸ ";
/// What stands there otherwise.
pub const NO_POINTER: &str = "  ";

/// Styles by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// The terminal's own sixteen colours, so that it fits light and dark ones.
    Colour,
    /// No styles at all.
    Mono,
}

impl Theme {
    /// Returns the theme for an environment: `NO_COLOR` set to anything but nothing means without colour.
    pub fn from_no_color(no_color: Option<&std::ffi::OsStr>) -> Self {
        if no_color.is_some_and(|value| !value.is_empty()) { Self::Mono } else { Self::Colour }
    }

    fn style(self, style: Style) -> Style {
        match self {
            Self::Colour => style,
            Self::Mono => Style::new(),
        }
    }

    /// What explains, and what cannot be used now.
    pub fn dim(self) -> Style {
        self.style(Style::new().fg(Color::DarkGray))
    }

    /// Titles and keys.
    pub fn accent(self) -> Style {
        self.style(Style::new().fg(Color::Cyan))
    }

    /// What must be read.
    pub fn strong(self) -> Style {
        self.style(Style::new().add_modifier(Modifier::BOLD))
    }

    /// Done, received, safe.
    pub fn good(self) -> Style {
        self.style(Style::new().fg(Color::Green))
    }

    /// Needs attention.
    pub fn warn(self) -> Style {
        self.style(Style::new().fg(Color::Yellow))
    }

    /// Failed, or cannot be undone.
    pub fn bad(self) -> Style {
        self.style(Style::new().fg(Color::Red))
    }

    /// What is selected or focused.
    pub fn selected(self) -> Style {
        self.style(Style::new().fg(Color::White).bg(Color::Indexed(24)).add_modifier(Modifier::BOLD))
    }

    /// The badge of a network whose coins are worth nothing.
    pub fn badge_play(self) -> Style {
        self.style(Style::new().fg(Color::Black).bg(Color::Yellow).add_modifier(Modifier::BOLD))
    }

    /// The badge of the network whose coins are money.
    pub fn badge_real(self) -> Style {
        self.style(Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD))
    }

    /// Frames and rules.
    pub fn border(self) -> Style {
        self.dim()
    }

    /// A QR code: dark on light, whatever the terminal's colours.
    pub fn qr(self) -> Style {
        self.style(Style::new().fg(Color::Black).bg(Color::White))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_nothing_is_styled() {
        let theme = Theme::from_no_color(Some("1".as_ref()));
        assert_eq!(theme.selected(), Style::new());
        assert_eq!(theme.badge_real(), Style::new());
        assert_eq!(Theme::from_no_color(Some("".as_ref())), Theme::Colour);
        assert_eq!(Theme::from_no_color(None), Theme::Colour);
    }
}
