//! Forms: fields of text, secrets and choices, and one button. A form knows how to be filled in, not what it means.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use tui_input::Input;
use tui_input::backend::crossterm::EventHandler;
use zeroize::Zeroizing;

/// The longest text that a field takes, in bytes: the API's longest is a thousand, but for a page of talk, which nobody
/// types into one line.
const MAX_TEXT_BYTES: usize = 1000;
/// The longest secret, in bytes; room for it is reserved at once, so that no copy stays behind when it grows.
const MAX_SECRET_BYTES: usize = 256;

/// A form. The focus is on a field, or on the button after the last one, or nowhere.
#[derive(Debug)]
pub struct Form {
    /// The fields, from top to bottom.
    pub fields: Vec<Field>,
    /// What has the focus; `fields.len()` is the button.
    pub focus: Option<usize>,
    /// What the button says.
    pub button: &'static str,
    /// Whether it stands as it did when the node was last asked something: nobody typed, chose or went on since.
    waits: bool,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    /// What is asked.
    pub label: &'static str,
    /// A word of help behind the field.
    pub hint: String,
    /// What is wrong with it; shown instead of the hint.
    pub error: Option<String>,
    /// What it holds.
    pub value: Value,
    /// Whether it is asked at all at present.
    pub shown: bool,
    /// Whether the text in it is a suggestion that nobody has touched: then what is typed takes its place.
    is_suggested: bool,
}

/// What a field holds.
#[derive(Debug)]
pub enum Value {
    /// A line of text.
    Text(Input),
    /// A password.
    Secret(Secret),
    /// One of several.
    Choice {
        /// The options.
        options: Vec<String>,
        /// Which is chosen.
        chosen: usize,
    },
}

/// What is focused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Nothing.
    Nowhere,
    /// A field that takes letters.
    Typing,
    /// A choice.
    Choice,
    /// The button.
    Button,
}

/// A password being typed: at its end only, wiped when dropped, never in `Debug`.
pub struct Secret(Zeroizing<String>);

impl Default for Secret {
    fn default() -> Self {
        Self(Zeroizing::new(String::with_capacity(MAX_SECRET_BYTES)))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Secret {
    /// Returns what was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn push(&mut self, c: char) -> bool {
        let fits = self.0.len() + c.len_utf8() <= MAX_SECRET_BYTES;
        if fits {
            self.0.push(c);
        }
        fits
    }
}

impl Field {
    /// A line of text.
    pub fn text(label: &'static str, value: &str, hint: impl Into<String>) -> Self {
        Self::new(label, hint, Value::Text(Input::from(value)))
    }

    /// A line of text that begins with a suggestion.
    pub fn suggestion(label: &'static str, value: &str, hint: impl Into<String>) -> Self {
        Self { is_suggested: !value.is_empty(), ..Self::text(label, value, hint) }
    }

    /// A password.
    pub fn secret(label: &'static str, hint: impl Into<String>) -> Self {
        Self::new(label, hint, Value::Secret(Secret::default()))
    }

    /// One of several.
    pub fn choice(label: &'static str, options: Vec<String>, hint: impl Into<String>) -> Self {
        Self::new(label, hint, Value::Choice { options, chosen: 0 })
    }

    /// Any field.
    pub fn new(label: &'static str, hint: impl Into<String>, value: Value) -> Self {
        Self { label, hint: hint.into(), error: None, value, shown: true, is_suggested: false }
    }

    /// Returns what was typed or chosen.
    pub fn value(&self) -> &str {
        match &self.value {
            Value::Text(input) => input.value(),
            Value::Secret(secret) => secret.as_str(),
            Value::Choice { options, chosen } => options.get(*chosen).map_or("", String::as_str),
        }
    }

    /// Returns which option is chosen; 0 for other fields.
    pub fn chosen(&self) -> usize {
        match &self.value {
            Value::Choice { chosen, .. } => *chosen,
            Value::Text(_) | Value::Secret(_) => 0,
        }
    }
}

impl Form {
    /// Returns a form whose first field has the focus.
    pub fn new(button: &'static str, fields: Vec<Field>) -> Self {
        Self { fields, focus: Some(0), button, waits: false }
    }

    /// Returns what is focused.
    pub fn focused(&self) -> Focus {
        match self.focus {
            None => Focus::Nowhere,
            Some(at) => match self.fields.get(at).map(|field| &field.value) {
                None => Focus::Button,
                Some(Value::Choice { .. }) => Focus::Choice,
                Some(Value::Text(_) | Value::Secret(_)) => Focus::Typing,
            },
        }
    }

    /// Notes that the node is asked about what it says.
    pub const fn wait(&mut self) {
        self.waits = true;
    }

    /// Tells whether nobody has touched it since the node was asked.
    pub const fn waits(&self) -> bool {
        self.waits
    }

    /// Takes the focus from it; what was typed stays.
    pub const fn leave(&mut self) {
        self.focus = None;
        self.waits = false;
    }

    /// Moves the focus to the next field that is shown, and from the button to the first.
    pub fn next(&mut self) {
        self.step(|at, count| (at + 1) % count);
    }

    /// Moves the focus back.
    pub fn previous(&mut self) {
        self.step(|at, count| (at + count - 1) % count);
    }

    fn step(&mut self, step: fn(usize, usize) -> usize) {
        let count = self.fields.len() + 1;
        let mut at = match self.focus {
            Some(at) => step(at, count),
            None => 0,
        };
        // The button is always shown, so this ends.
        while self.fields.get(at).is_some_and(|field| !field.shown) {
            at = step(at, count);
        }
        self.focus = Some(at);
        self.waits = false;
    }

    /// Turns a choice to the next or previous option.
    pub fn choose(&mut self, forward: bool) {
        self.waits = false;
        let Some(field) = self.focus.and_then(|at| self.fields.get_mut(at)) else {
            return;
        };
        if let Value::Choice { options, chosen } = &mut field.value
            && !options.is_empty()
        {
            *chosen = (*chosen + if forward { 1 } else { options.len() - 1 }) % options.len();
            field.error = None;
        }
    }

    /// Gives a key to the focused text field; tells whether it changed anything.
    pub fn type_key(&mut self, key: KeyEvent) -> bool {
        let Some(field) = self.focus.and_then(|at| self.fields.get_mut(at)) else {
            return false;
        };
        let changed = match &mut field.value {
            Value::Text(input) => {
                if std::mem::take(&mut field.is_suggested) && grows(key) {
                    input.reset();
                }
                type_text(input, key)
            }
            Value::Secret(secret) => type_secret(secret, key),
            Value::Choice { .. } => false,
        };
        if changed {
            field.error = None;
            self.waits = false;
        }
        changed
    }

    /// Types a pasted text, its line breaks as spaces.
    pub fn paste(&mut self, text: &str) -> bool {
        let keys = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut changed = false;
        for c in keys {
            changed |= self.type_key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
        }
        changed
    }

    /// Tells whether any text was typed, so that leaving would lose it.
    pub fn has_text(&self) -> bool {
        self.fields.iter().any(|field| match &field.value {
            Value::Text(input) => !input.value().is_empty(),
            Value::Secret(secret) => !secret.as_str().is_empty(),
            Value::Choice { .. } => false,
        })
    }

    /// Marks a field as wrong.
    pub fn refuse(&mut self, at: usize, error: impl Into<String>) {
        if let Some(field) = self.fields.get_mut(at) {
            field.error = Some(error.into());
        }
    }

    /// Moves the focus to the first wrong field and tells whether there is none.
    pub fn is_right(&mut self) -> bool {
        match self.fields.iter().position(|field| field.shown && field.error.is_some()) {
            Some(at) => {
                self.focus = Some(at);
                false
            }
            None => true,
        }
    }

    /// Replaces a text.
    pub fn set_text(&mut self, at: usize, text: &str) {
        self.waits = false;
        if let Some(Value::Text(input)) = self.fields.get_mut(at).map(|field| &mut field.value) {
            *input = Input::from(text);
        }
    }
}

fn type_text(input: &mut Input, key: KeyEvent) -> bool {
    if grows(key) && input.value().len() + 4 > MAX_TEXT_BYTES {
        return false;
    }
    input.handle_event(&Event::Key(key)).is_some_and(|state| state.value)
}

/// Tells whether a key adds to a text.
fn grows(key: KeyEvent) -> bool {
    matches!(key.code, KeyCode::Char(_)) && !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
}

fn type_secret(secret: &mut Secret, key: KeyEvent) -> bool {
    match (key.code, key.modifiers) {
        (KeyCode::Char('u'), KeyModifiers::CONTROL) => {
            *secret = Secret::default();
            true
        }
        (KeyCode::Char(c), modifiers) if !modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
            secret.push(c)
        }
        (KeyCode::Backspace, _) => secret.0.pop().is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        let mut form = Form::new(
            "Go",
            vec![
                Field::text("Name", "", ""),
                Field::secret("Password", ""),
                Field::choice("Side", vec!["buy".into(), "sell".into()], ""),
            ],
        );
        form.fields[1].shown = false;
        form
    }

    #[test]
    fn the_focus_goes_round_and_skips_what_is_hidden() {
        let mut form = form();
        form.next();
        assert_eq!(form.focused(), Focus::Choice);
        form.next();
        assert_eq!(form.focused(), Focus::Button);
        form.next();
        assert_eq!(form.focus, Some(0));
        form.previous();
        form.previous();
        form.previous();
        assert_eq!(form.focus, Some(0));
    }

    #[test]
    fn fields_are_bounded_and_errors_go_when_one_types() {
        let mut form = form();
        form.refuse(0, "missing");
        assert!(!form.is_right());
        assert!(form.paste(&"x".repeat(5000)));
        assert!(form.is_right());
        assert!(form.fields[0].value().len() <= MAX_TEXT_BYTES);
        form.focus = Some(1);
        form.paste(&"ü".repeat(5000));
        assert_eq!(form.fields[1].value().len(), MAX_SECRET_BYTES);
        assert!(!format!("{form:?}").contains('ü'), "a password in Debug");
    }

    #[test]
    fn what_is_typed_takes_the_place_of_a_suggestion_that_nobody_touched() {
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let mut form = Form::new("Go", vec![Field::suggestion("Amount", "0.01", "")]);
        for c in "0.02".chars() {
            form.type_key(key(KeyCode::Char(c)));
        }
        assert_eq!(form.fields[0].value(), "0.02");
        // Whoever goes into it wants to change it.
        let mut form = Form::new("Go", vec![Field::suggestion("Amount", "0.01", "")]);
        form.type_key(key(KeyCode::Left));
        form.type_key(key(KeyCode::Char('2')));
        assert_eq!(form.fields[0].value(), "0.021");
        let mut form = Form::new("Go", vec![Field::text("Details", "Ann", "")]);
        form.type_key(key(KeyCode::Char('a')));
        assert_eq!(form.fields[0].value(), "Anna");
    }

    #[test]
    fn a_form_waits_for_an_answer_until_somebody_touches_it() {
        let key = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
        let touches: [fn(&mut Form); 6] = [
            Form::next,
            Form::previous,
            |form| form.choose(true),
            Form::leave,
            |form| form.set_text(0, "Bea"),
            |form| {
                form.paste("y");
            },
        ];
        for touch in touches {
            let mut form = form();
            assert!(!form.waits(), "nobody was asked");
            form.wait();
            assert!(form.waits());
            touch(&mut form);
            assert!(!form.waits());
        }
        let mut form = form();
        form.focus = Some(form.fields.len());
        form.wait();
        form.type_key(key('y'));
        assert!(form.waits(), "a button takes no letters");
    }

    #[test]
    fn a_choice_turns_both_ways() {
        let mut form = form();
        form.focus = Some(2);
        form.choose(false);
        assert_eq!(form.fields[2].value(), "sell");
        form.choose(true);
        assert_eq!(form.fields[2].value(), "buy");
    }
}
