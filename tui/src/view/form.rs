//! Forms: label, field, and what helps or is wrong behind it.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::form::{Field, Form, Value};
use crate::format;
use crate::theme::{NO_POINTER, POINTER};

/// Columns of the labels.
const LABEL: u16 = 14;
/// Columns of the pointer.
const MARGIN: u16 = 2;
/// Columns of a field at least.
const BOX: u16 = 26;
/// Columns of the arrows around a choice.
const ARROWS: u16 = 4;
/// Columns between a field and what is behind it.
const GAP: u16 = 2;

/// Draws the fields, one a line, and the button below them. Returns how many lines they took.
pub fn draw(app: &App, form: &Form, revealed: bool, frame: &mut Frame, area: Rect) -> u16 {
    // Below a question or the help it takes no keys, and shows no cursor.
    let takes_keys = app.form().is_some_and(|active| std::ptr::eq(active, form));
    let mut y = area.y;
    for (at, field) in form.fields.iter().enumerate().filter(|(_, field)| field.shown) {
        if y >= area.bottom() {
            return area.height;
        }
        let row = Rect { y, height: 1, ..area };
        let cursor = draw_field(app, field, form.focus == Some(at), revealed, frame, row);
        if let Some(position) = cursor.filter(|_| takes_keys) {
            frame.set_cursor_position(position);
        }
        y += 1;
    }
    y += 1;
    if y < area.bottom() {
        let focused = form.focus == Some(form.fields.len());
        let button = Rect { x: area.x, y, width: area.width, height: 1 };
        frame.render_widget(button_line(app, form.button, focused), button);
    }
    y.saturating_add(1).saturating_sub(area.y)
}

fn button_line(app: &App, text: &'static str, focused: bool) -> Line<'static> {
    let pad = " ".repeat(usize::from(LABEL));
    let pointer = if focused { POINTER } else { NO_POINTER };
    let style = if focused { app.theme.selected() } else { app.theme.accent() };
    Line::from(vec![
        Span::raw(pad),
        Span::styled(pointer, app.theme.accent()),
        Span::styled(format!("[ {text} ]"), style),
    ])
}

/// Draws a field; returns where the cursor belongs when it is typed into.
fn draw_field(
    app: &App,
    field: &Field,
    focused: bool,
    revealed: bool,
    frame: &mut Frame,
    row: Rect,
) -> Option<Position> {
    let theme = app.theme;
    let pointer = if focused { POINTER } else { NO_POINTER };
    let label = Line::from(vec![
        Span::styled(pointer, theme.accent()),
        Span::styled(field.label, if focused { theme.strong() } else { theme.dim() }),
    ]);
    frame.render_widget(label, Rect { width: row.width.min(MARGIN + LABEL), ..row });
    let x = row.x + MARGIN + LABEL;
    let room = row.right().saturating_sub(x);
    let behind = match &field.error {
        Some(error) => Span::styled(format!("✗ {error}"), theme.bad()),
        None => Span::styled(field.hint.as_str(), theme.dim()),
    };
    let behind_width = u16::try_from(behind.width()).unwrap_or(u16::MAX).saturating_add(GAP);
    // A hint gives way to a long text; an error does not.
    let around = if matches!(field.value, Value::Choice { .. }) { ARROWS } else { 1 };
    let typed = count(field.value()).saturating_add(around).max(BOX);
    let gives_way = field.error.is_none() && typed.saturating_add(behind_width) > room;
    let width =
        if gives_way || behind_width == GAP { typed.min(room) } else { typed.min(room.saturating_sub(behind_width)) };
    let value = Rect { x, width, ..row };
    if !gives_way {
        let x = x + width + GAP;
        frame.render_widget(behind, Rect { x, width: row.right().saturating_sub(x), ..row });
    }
    match &field.value {
        Value::Text(input) => {
            let width = usize::from(value.width.max(2)) - 1;
            let scroll = input.visual_scroll(width);
            let shown: String = input.value().chars().skip(scroll).collect();
            draw_text(app, &shown, focused, frame, value);
            (focused && value.width > 0).then(|| place(value, input.visual_cursor().saturating_sub(scroll).min(width)))
        }
        Value::Secret(secret) => {
            let length = secret.as_str().chars().count();
            let shown = if revealed { secret.as_str().to_owned() } else { "•".repeat(length) };
            let width = usize::from(value.width.max(2)) - 1;
            let skip = length.saturating_sub(width);
            let shown: String = shown.chars().skip(skip).collect();
            draw_text(app, &shown, focused, frame, value);
            (focused && value.width > 0).then(|| place(value, length - skip))
        }
        Value::Choice { options, chosen } => {
            let option = options.get(*chosen).map_or("", String::as_str);
            let whole = Rect { width: row.right().saturating_sub(x), ..value };
            let area = if field.error.is_some() { value } else { whole };
            // The arrows stay, whatever the option says: they tell that there are others.
            let text = if options.len() > 1 {
                format!("‹ {} ›", format::cut(option, usize::from(area.width.saturating_sub(ARROWS))))
            } else {
                format::cut(option, usize::from(area.width))
            };
            frame.render_widget(Span::styled(text, if focused { theme.selected() } else { theme.strong() }), area);
            None
        }
    }
}

/// Text on a line that shows where one can type, even without colours.
fn draw_text(app: &App, text: &str, focused: bool, frame: &mut Frame, area: Rect) {
    let blank = if focused { "_" } else { "·" };
    let fill = usize::from(area.width).saturating_sub(usize::from(count(text)));
    let style = if focused { app.theme.strong() } else { ratatui::style::Style::new() };
    let spans = vec![Span::styled(text.to_owned(), style), Span::styled(blank.repeat(fill), app.theme.dim())];
    frame.render_widget(Line::from(spans), area);
}

fn place(area: Rect, column: usize) -> Position {
    let column = u16::try_from(column).unwrap_or(u16::MAX).min(area.width.saturating_sub(1));
    Position { x: area.x + column, y: area.y }
}

fn count(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}
