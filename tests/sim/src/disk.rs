//! A node's disk: what survives a crash. It can be full, and the power can fail at any write, before or after it took.
//!
//! As in the node, a write is whole or not at all, and synced before it returns; the note of the own head is in one write
//! with the record.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bitcoin::{OutPoint, ScriptBuf};
use exchange_ledger::ids::{AuthorId, MailboxId, TradeId};
use exchange_ledger::record::Head;
use exchange_ledger::storage::{Batch, MemoryStorage, Storage, StorageError, Wrapper};
use exchange_ledger::trade::Local;

use exchange_ledger::trade::pins::Pin;

use crate::mailbox::{Kept, Sent, Slot};
use crate::wallet::Share;

/// When the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fuse {
    /// After so many writes.
    pub writes: u32,
    /// Whether the last of them is kept.
    pub kept: bool,
}

/// What the disk holds besides the ledger.
#[derive(Debug, Clone, Default)]
pub struct Private {
    /// The end of the log that this machine has written.
    pub own_head: Option<Head>,
    /// What only this node knows of its trades.
    pub locals: BTreeMap<TradeId, Local>,
    /// The records on which its trades rest.
    pub pins: BTreeMap<TradeId, Pin>,
    /// Coins that the wallet has promised.
    pub promised: BTreeSet<OutPoint>,
    /// Coins that the wallet has set aside for outputs of fundings from two wallets, by their scripts.
    pub shares: BTreeMap<ScriptBuf, Share>,
    /// Mail that was sent, in its order.
    pub outbox: BTreeMap<TradeId, Vec<Sent>>,
    /// Mail that is kept for whomever it is for.
    pub mail: BTreeMap<Slot, Kept>,
    /// How much mail ever arrived.
    pub arrivals: u64,
}

impl Private {
    /// Returns what is kept for a mailbox.
    pub fn mail_of(&self, mailbox: &MailboxId) -> impl Iterator<Item = (&Slot, &Kept)> {
        let (first, last) = (AuthorId([0; 32]), AuthorId([0xff; 32]));
        self.mail.range((*mailbox, first, 0, 0)..=(*mailbox, last, u32::MAX, u32::MAX))
    }
}

#[derive(Debug, Default)]
struct Platter {
    ledger: MemoryStorage,
    private: Private,
    full: bool,
    fuse: Option<Fuse>,
    dead: bool,
}

/// A handle to a disk. All handles see the same.
#[derive(Debug, Clone, Default)]
pub struct Disk(Rc<RefCell<Platter>>);

impl Disk {
    /// Returns what is there besides the ledger.
    pub fn private(&self) -> Ref<'_, Private> {
        Ref::map(self.0.borrow(), |platter| &platter.private)
    }

    /// Fills the disk up, or makes room.
    pub fn set_full(&self, full: bool) {
        self.0.borrow_mut().full = full;
    }

    /// Sets when the power fails.
    pub fn set_fuse(&self, fuse: Option<Fuse>) {
        self.0.borrow_mut().fuse = fuse;
    }

    /// Tells whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// Power is back.
    pub fn revive(&self) {
        let mut platter = self.0.borrow_mut();
        (platter.dead, platter.fuse) = (false, None);
    }

    /// Loses everything.
    pub fn wipe(&self) {
        *self.0.borrow_mut() = Platter::default();
    }

    /// Writes besides the ledger.
    ///
    /// # Errors
    /// When the disk is full or without power.
    pub fn write(&self, change: impl FnOnce(&mut Private)) -> Result<(), StorageError> {
        self.attempt(|platter| {
            change(&mut platter.private);
            Ok(())
        })
    }

    /// Keeps an own record and the note of its head with one write.
    ///
    /// # Errors
    /// When the disk is full or without power.
    pub fn commit_own(&self, batch: &Batch, head: Head) -> Result<(), StorageError> {
        self.attempt(|platter| {
            platter.ledger.commit(batch)?;
            platter.private.own_head = Some(head);
            Ok(())
        })
    }

    fn attempt(&self, write: impl FnOnce(&mut Platter) -> Result<(), StorageError>) -> Result<(), StorageError> {
        let mut platter: RefMut<'_, Platter> = self.0.borrow_mut();
        if platter.dead {
            return Err(StorageError::Io("no power".into()));
        }
        if platter.full {
            return Err(StorageError::Full("as planned".into()));
        }
        match platter.fuse {
            Some(Fuse { writes: 0, kept }) => {
                platter.dead = true;
                if kept {
                    write(&mut platter)?;
                }
                Err(StorageError::Io("the power failed".into()))
            }
            Some(fuse) => {
                platter.fuse = Some(Fuse { writes: fuse.writes - 1, ..fuse });
                write(&mut platter)
            }
            None => write(&mut platter),
        }
    }
}

impl Wrapper for Disk {
    fn ask<T>(&self, question: impl FnOnce(&dyn Storage) -> Result<T, StorageError>) -> Result<T, StorageError> {
        question(&self.0.borrow().ledger)
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut dyn Storage) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.attempt(|platter| change(&mut platter.ledger))
    }
}
