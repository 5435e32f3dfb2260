//! Why a key does nothing now.

pub const NO_OFFER: &str = "no offer is selected";
pub const OWN_OFFER: &str = "this offer is your own";
pub const NOT_OWN_OFFER: &str = "this offer is not yours";
pub const NO_IDENTITY: &str = "needs your identity: press i";
pub const HAS_IDENTITY: &str = "you have it";
pub const MAKING_KEYS: &str = "your keys are being made";
pub const OWN_PASSWORD: &str = "you chose a password of your own";
pub const NO_TRADE: &str = "no trade is selected";
pub const NOT_YOUR_TURN: &str = "it is not your turn";
pub const NOT_NOW: &str = "not at this point";
pub const NOT_A_PARTY: &str = "only buyer and seller can";
pub const IS_OVER: &str = "the trade is over";
pub const NOT_AGREED: &str = "nothing is agreed on yet";
pub const NOT_HERE: &str = "not here yet";
pub const NOTHING_TO_PAY: &str = "nothing is to be paid now";
pub const NO_COIN: &str = "no coin is selected: press o for the coins";
pub const NOT_SPENDABLE: &str = "this coin cannot be spent now";
pub const NOTHING_TO_LABEL: &str = "nothing is selected";
pub const NO_TRANSACTION: &str = "no transaction is selected";
pub const IS_CONFIRMED: &str = "it is confirmed";
pub const NOTHING_TO_CANCEL: &str = "no payment of yours waits here";
pub const NOTHING_WAITS: &str = "nothing waits";
pub const STILL_TRYING: &str = "this is still being tried";
