//! Connecting to a peer.

use crate::form::{Field, Form};
use crate::words::network as w;

/// Returns the form that asks for a peer's address.
pub fn form() -> Form {
    Form::new(w::CONNECT_BUTTON, vec![Field::text(w::PEER, "", w::PEER_HINT)])
}

/// Checks the form, marks what is wrong, and returns the address when nothing is. Whether it is one the node says.
pub fn check(form: &mut Form) -> Option<String> {
    let address = form.fields[0].value().trim().to_owned();
    if address.is_empty() {
        form.refuse(0, w::NO_PEER);
        return None;
    }
    Some(address)
}
